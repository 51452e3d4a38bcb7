"""Watches in the real program: what nobody tells is found by asking, within bounds, whatever is killed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import KEY, FileHost, Receiver, a_video, callback, peak_memory, until
from tests.acceptance.providers import Provider, Reply, asking, ok, pending, providing
from tests.invariant import Ledger, assert_balanced

ROUNDS = 100
RATE = 100


@pytest.fixture
def provider() -> Iterator[Provider]:
    """A provider's API that ends with the test."""
    with providing() as provider:
        yield provider


@pytest.fixture
def make(
    receivers: Callable[..., Receiver], provider: Provider, file_host: FileHost
) -> Callable[..., Receiver]:
    """Configure receivers that may ask the provider, and fetch from the file host."""
    return lambda **watch: receivers(asking(provider, **watch), s3_base_url=file_host.base)


def watched(receiver: Receiver, *options: str) -> dict[str, dict[str, object]]:
    """What `receiver watch` lists, by video."""
    return {str(row["video_id"]): row for row in receiver.look("watch", *options)}


def ends_after(asked: int, link: str, provider: Provider) -> Callable[[str], Reply]:
    """A video is completed when it is asked about for the nth time."""

    def answer(video: str) -> Reply:
        if len(provider.times(video)) >= asked:
            return ok(callback(video, url=link))
        return ok(pending(video, 10.0 * len(provider.times(video))))

    return answer


def test_a_video_that_never_calls_is_asked_about_until_it_is_on_disk(
    make: Callable[..., Receiver], provider: Provider, file_host: FileHost
) -> None:
    provider.answer = ends_after(3, file_host.give("v.mp4", a_video("v")), provider)
    receiver = make().start()
    (added,) = receiver.look("watch", "opennote", "v1")
    assert (added["source"], added["video_id"], added["result"]) == ("opennote", "v1", "new")
    events = receiver.settled(count=2)
    assert [event["type"] for event in events] == ["video.completed", "video.progress"]
    assert list(receiver.files().values()) == [a_video("v")]
    assert len(provider.times("v1")) == 3
    assert watched(receiver) == {}
    (ended,) = receiver.look("watch", "--all")
    assert (ended["ending"], ended["status"], ended["last_error"]) == ("completed", "completed", None)
    shown = receiver.show(events[0]["id"])
    assert [delivery["via"] for delivery in shown["deliveries"]] == ["poll"]
    assert shown["watch"]["asked"] == 3
    (again,) = receiver.look("watch", "opennote", "v1")
    assert again["result"] == "over"
    assert KEY not in receiver.log_file.read_text()


def test_a_callback_that_does_not_come_after_progress_is_asked_for(
    make: Callable[..., Receiver], provider: Provider, file_host: FileHost
) -> None:
    provider.answer = ends_after(2, file_host.give("v.mp4", a_video("v")), provider)
    receiver = make(missed_after="1s").start()
    began = time.monotonic()
    event = receiver.accepted(pending("v1", 5.0))
    assert watched(receiver)["v1"]["status"] == "pending"
    receiver.settled(count=2)
    assert provider.times("v1")[0] - began >= 1.0
    assert list(receiver.files().values()) == [a_video("v")]
    assert receiver.show(event)["status"] == "pending"
    assert [line["ending"] for line in receiver.log("watch.ended")] == ["completed"]


def test_a_callback_that_comes_in_time_is_not_asked_for(
    make: Callable[..., Receiver], provider: Provider, file_host: FileHost
) -> None:
    receiver = make(missed_after="700ms").start()
    link = file_host.give("v.mp4", a_video("v"))
    for progress in (10.0, 20.0, 30.0, 40.0):  # for longer than missed_after, but never silent for so long
        receiver.post(pending("v1", progress))
        time.sleep(0.3)
    receiver.accepted(callback("v1", url=link))
    receiver.settled(count=2)
    time.sleep(1.0)
    assert provider.asked == []
    (ended,) = receiver.look("watch", "--all")
    assert (ended["ending"], ended["asked"]) == ("completed", 0)


def test_what_is_seen_last_is_shown_wherever_a_video_is(
    make: Callable[..., Receiver], provider: Provider
) -> None:
    receiver = make().start()
    receiver.look("watch", "opennote", "v1")
    (progress,) = until(lambda: receiver.events())
    provider.answer = lambda video: ok(pending(video, 64.0, "processing"))
    until(lambda: watched(receiver)["v1"]["status"] == "processing")
    (event,) = receiver.events()
    assert (event["type"], event["status"]) == ("video.progress", "processing")
    assert "watched: processing 64 %" in receiver.run("events").stdout
    assert "last seen processing 64 %" in receiver.run("show", progress["id"]).stdout
    assert receiver.show(progress["id"])["watch"]["progress"] == 64.0
    listed = receiver.run("watch").stdout
    assert "processing 64 %" in listed
    provider.answer = lambda video: ok(pending(video, 70.0, "meditating"))  # unknown, and no end
    until(lambda: watched(receiver)["v1"]["status"] == "meditating")
    assert len(receiver.events()) == 1


# Both at the same moment.


@pytest.mark.fault("D1")
@pytest.mark.parametrize("first", ["callback", "answer"])
def test_a_video_that_completes_by_callback_and_by_poll_at_once_is_one_event_and_one_file(
    make: Callable[..., Receiver], provider: Provider, file_host: FileHost, first: str
) -> None:
    link = file_host.give("v.mp4", a_video("v"))
    receiver = make(requests_per_second=500, concurrency=16)
    callers: list[threading.Thread] = []
    ledger = Ledger()

    def call(video: str) -> None:
        answer = receiver.post(callback(video, url=link))
        assert ledger.told(answer.status_code, answer.content) == 200

    def answer(video: str) -> Reply:
        caller = threading.Thread(target=call, args=(video,))
        callers.append(caller)
        caller.start()
        if first == "callback":
            caller.join()
        return ok(callback(video, url=link))

    provider.answer = answer
    receiver.start()
    videos = [f"v{number}" for number in range(ROUNDS)]
    receiver.look("watch", "opennote", *videos)
    until(lambda: not watched(receiver), seconds=60)
    for caller in callers:
        caller.join()
    events = receiver.settled(count=ROUNDS, seconds=60)
    assert Counter(event["video_id"] for event in events) == dict.fromkeys(videos, 1)
    assert {event["type"] for event in events} == {"video.completed"}
    assert not any(event["conflict"] for event in events)
    assert {event["duplicates"] for event in events} <= {1, 2}
    assert sorted(receiver.files()) == sorted(f"A title-{video}.mp4" for video in videos)
    assert_balanced(receiver.folder / "data" / "receiver.db", ledger)


# Bounds.


def test_a_thousand_watches_cost_so_many_requests_a_second_and_no_memory_of_their_own(
    make: Callable[..., Receiver], provider: Provider
) -> None:
    receiver = make(requests_per_second=RATE, first_interval="10ms", longest_interval="10ms").start()
    poller = receiver.child("receiver.poll")
    receiver.look("watch", "opennote", *(f"few{number}" for number in range(10)))
    until(lambda: len(provider.asked) > 200)
    before = peak_memory(poller)
    receiver.look("watch", "opennote", *(f"v{number}" for number in range(1000)))
    began = time.monotonic()
    until(lambda: len({video for _, video in list(provider.asked)}) == 1010, seconds=60)
    took = time.monotonic() - began
    times = [at for at, _ in provider.asked]
    most = max(sum(at <= other < at + 1 for other in times) for at in times[::10])
    assert most <= 1.1 * RATE
    assert took >= 1000 / (1.1 * RATE)
    assert peak_memory(poller) - before < 6 * 2**20
    assert len(watched(receiver, "--limit", "2000")) == 1010


# Whatever is killed.


def test_watches_survive_that_everything_is_killed(
    make: Callable[..., Receiver], provider: Provider, file_host: FileHost
) -> None:
    receiver = make().start()
    receiver.look("watch", "opennote", *(f"v{number}" for number in range(5)))
    until(lambda: len(provider.asked) >= 8)
    os.kill(receiver.pid, signal.SIGKILL)
    receiver.wait()
    before = len(provider.asked)
    link = file_host.give("v.mp4", a_video("v"))
    provider.answer = lambda video: ok(callback(video, url=link))
    receiver.look("watch", "opennote", "v5")  # while no server runs
    assert len(provider.asked) == before
    receiver.start()
    receiver.settled(count=11)
    until(lambda: len(receiver.files()) == 6)
    assert len(provider.asked) - before <= 7


def test_a_poller_that_is_killed_has_a_successor_that_goes_on(
    make: Callable[..., Receiver], provider: Provider, file_host: FileHost
) -> None:
    link = file_host.give("v.mp4", a_video("v"))
    hanging = threading.Event()

    def hang(video: str) -> Reply:
        hanging.set()
        time.sleep(5)
        return ok(callback(video, url=link))

    provider.answer = hang
    receiver = make().start()
    receiver.look("watch", "opennote", "v1")
    assert hanging.wait(20)
    provider.answer = lambda video: ok(callback(video, url=link))
    os.kill(receiver.child("receiver.poll"), signal.SIGKILL)
    (event,) = receiver.settled(count=1)
    assert (event["duplicates"], len(receiver.files())) == (0, 1)
    assert [line["name"] for line in receiver.log("process.died")] == ["poller"]


def test_a_stop_does_not_wait_for_an_answer(make: Callable[..., Receiver], provider: Provider) -> None:
    release = threading.Event()

    def hang(video: str) -> Reply:
        release.wait(30)
        return ok(pending(video))

    provider.answer = hang
    receiver = make().start()
    receiver.look("watch", "opennote", "v1")
    until(lambda: provider.asked)
    began = time.monotonic()
    assert receiver.stop(signal.SIGTERM) == 0
    assert time.monotonic() - began < 5
    release.set()
    assert receiver.log("poller.stopped")


# What providers do.


def test_a_wrong_key_is_shown_and_mended_without_a_restart(
    make: Callable[..., Receiver], provider: Provider, file_host: FileHost
) -> None:
    link = file_host.give("v.mp4", a_video("v"))
    provider.answer = lambda video: ok(callback(video, url=link))
    provider.keys = {"another-key-0123456789"}
    receiver = make().start()
    receiver.look("watch", "opennote", "v1")
    until(lambda: watched(receiver)["v1"]["last_error"])
    assert str(watched(receiver)["v1"]["last_error"]).startswith("401 Unauthorized")
    assert "401 Unauthorized" in receiver.run("watch").stdout
    text = receiver.config.read_text()
    receiver.config.write_text(text.replace("api_keys = [", 'api_keys = ["another-key-0123456789", '))
    os.kill(receiver.pid, signal.SIGHUP)
    receiver.settled(count=1)
    assert len(receiver.log("watch.refused")) == 1


def test_a_provider_that_wants_peace_has_it(
    make: Callable[..., Receiver], provider: Provider, file_host: FileHost
) -> None:
    link = file_host.give("v.mp4", a_video("v"))

    def answer(video: str) -> Reply:
        if len(provider.asked) <= 2:
            return 429, {"error": "slow down"}, {"Retry-After": "2"}
        return ok(callback(video, url=link))

    provider.answer = answer
    receiver = make(concurrency=1).start()
    receiver.look("watch", "opennote", "v1", "v2", "v3")
    receiver.settled(count=3)
    times = [at for at, _ in provider.asked]
    assert times[1] - times[0] >= 1.9
    assert times[2] - times[1] >= 1.9


def test_a_video_without_an_end_fails_at_its_deadline_and_a_late_callback_counts(
    make: Callable[..., Receiver], provider: Provider, file_host: FileHost
) -> None:
    provider.answer = lambda _: (404, {"error": "Video not found"}, {})
    receiver = make().start()
    receiver.look("watch", "opennote", "v1", "--deadline", "1s")
    (failed,) = receiver.settled(count=1)
    assert (failed["type"], failed["status"]) == ("video.failed", "watch_expired")
    shown = receiver.show(failed["id"])
    assert shown["video"]["error"]["code"] == "watch_expired"
    assert shown["payload"]["video_id"] == "v1"
    (ended,) = receiver.look("watch", "--all")
    assert (ended["ending"], str(ended["last_error"])[:3]) == ("expired", "404")
    assert receiver.log("watch.expired")
    receiver.accepted(callback("v1", url=file_host.give("v.mp4", a_video("v"))))
    completed, _ = receiver.settled(count=2)
    assert (completed["type"], completed["warnings"]) == ("video.completed", ["after_failure"])
    assert list(receiver.files().values()) == [a_video("v")]


def test_an_inline_video_of_any_size_is_recorded_from_the_answer(
    make: Callable[..., Receiver], provider: Provider
) -> None:
    large = a_video("large", padding=3_000_000)
    provider.answer = lambda video: ok(callback(video, video=large))
    receiver = make().start()
    receiver.look("watch", "opennote", "v1")
    receiver.settled(count=1)
    assert list(receiver.files().values()) == [large]


# The command.


def test_a_watch_can_be_ended_and_taken_up_again(make: Callable[..., Receiver], provider: Provider) -> None:
    receiver = make().start()
    receiver.look("watch", "opennote", "v1", "v2")
    (ended,) = receiver.look("watch", "opennote", "v1", "--end")
    assert ended["result"] == "stopped"
    assert set(watched(receiver)) == {"v2"}
    time.sleep(0.5)
    before = len(provider.times("v1"))
    time.sleep(1.0)
    assert len(provider.times("v1")) == before
    unknown = receiver.run("watch", "opennote", "v1", "v9", "--end")
    assert (unknown.status, unknown.complaints) == (1, ["receiver: not watched: v1, v9"])
    assert [row["result"] for row in receiver.look("watch", "opennote", "v1", "v2")] == ["new", "known"]


def test_mistakes_are_named(receiver: Receiver) -> None:
    unknown = receiver.run("watch", "elsewhere", "v1")
    assert unknown.status == 2
    assert unknown.complaints == ["receiver: there is no source 'elsewhere'; the configuration has: opennote"]
    odd = receiver.run("watch", "opennote", "x" * 300)
    assert (odd.status, "is no id of a video" in odd.stderr) == (2, True)
    assert receiver.run("watch", "opennote", "--end").status == 2
    assert receiver.run("watch", "opennote", "v1", "--deadline", "soon").status == 2
    empty = receiver.run("watch")
    assert (empty.status, empty.stdout, empty.stderr) == (0, "", "nothing is watched\n")
    without = receiver.run("watch", "opennote", "v1")
    assert (without.status, without.stdout) == (0, "v1 is watched\n")
    assert without.stderr == "no server is running now; the next `receiver serve` asks\n"
    receiver.config.write_text(receiver.config.read_text().replace("sources.opennote", "sources.other"))
    said = [line["text"] for line in receiver.look("check") if line["part"] == "watches"]
    assert said == ["nobody asks about 1 videos of opennote, which is not configured any more"]


def test_a_file_with_a_mistake_changes_nothing(make: Callable[..., Receiver], provider: Provider) -> None:
    receiver = make().start()
    receiver.look("watch", "opennote", "v1")
    until(lambda: provider.asked)
    receiver.config.write_text(receiver.config.read_text().replace("[watch]", "[wach]"))
    os.kill(receiver.pid, signal.SIGHUP)
    receiver.logged("settings.refused")
    before = len(provider.asked)
    until(lambda: len(provider.asked) > before + 1)


def test_pruning_says_how_many_watches_it_removes(receiver: Receiver, tmp_path: Path) -> None:
    (report,) = receiver.look("prune", "--dry-run")
    assert report["watches"] == 0
