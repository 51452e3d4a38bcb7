"""`receiver videos`: what a provider has, page by page; removing one, making one anew."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.acceptance.conftest import Receiver
from tests.acceptance.stage import GATEWAY, Sandbox, asking, sandboxed


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with sandboxed("--delay", "0s") as running:
        yield running


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox) -> Receiver:
    """A receiver without a server, with five videos at its provider."""
    configured = asking(tmp_path_factory.mktemp("videos") / "receiver", sandbox.url)
    for number in range(5):
        configured.look("submit", "openai", "--prompt", f"Rain {number}")
    return configured


def ids(receiver: Receiver, *options: str) -> list[str]:
    return [one["video"]["id"] for one in receiver.look("videos", "openai", *options)]


def test_all_pages_are_read_to_the_last_and_each_video_comes_once(
    receiver: Receiver, sandbox: Sandbox
) -> None:
    made = [job["video_id"] for job in sandbox.jobs()]

    everything = ids(receiver, "--all", "--limit", "2")

    assert sorted(everything) == sorted(made)
    assert ids(receiver, "--all", "--limit", "2", "--order", "asc") == everything[::-1]
    assert ids(receiver, "--limit", "2", "--after", everything[1]) == everything[2:4]
    assert ids(receiver, "--limit", "100") == everything


def test_people_see_a_table_and_how_to_go_on(receiver: Receiver) -> None:
    newest, second = ids(receiver, "--limit", "2")

    page = receiver.run("videos", "openai", "--limit", "2")
    last = receiver.run("videos", "openai", "--all", "--limit", "2")

    assert page.status == 0
    assert all(word in page.stdout for word in (newest, second, "720x1280", "sora-2", "Rain"))
    assert page.stderr == f"there are more: --after {second}, or --all\n"
    assert last.stderr == ""


def test_what_a_provider_says_is_there_in_its_normal_form_and_as_it_came(receiver: Receiver) -> None:
    (one,) = receiver.look("videos", "openai", "--limit", "1")

    assert one["source"] == "openai"
    assert one["video"]["model"] == one["payload"]["model"] == "sora-2"
    assert one["payload"]["object"] == "video"


def test_a_video_is_removed_when_that_is_said_twice_and_nobody_waits_for_it_any_more(
    receiver: Receiver,
) -> None:
    chosen = ids(receiver)[2]
    assert chosen in [watch["video_id"] for watch in receiver.look("watch")]

    unsure = receiver.run("videos", "openai", "--delete", chosen)
    assert unsure.status == 2
    assert "--yes" in unsure.stderr
    assert chosen in ids(receiver)
    removed = receiver.run("videos", "openai", "--delete", chosen, "--yes")

    assert (removed.status, removed.stdout) == (0, f"video {chosen} was removed\n")
    assert chosen not in ids(receiver)
    assert chosen not in [watch["video_id"] for watch in receiver.look("watch")]
    again = receiver.run("videos", "openai", "--delete", chosen, "--yes")
    assert (again.status, again.stderr) == (1, "receiver: openai: there is no such video (404)\n")


def test_a_remix_is_recorded_watched_and_refused_the_second_time(receiver: Receiver) -> None:
    original = ids(receiver)[0]

    (told,) = receiver.look("videos", "openai", "--remix", original, "Rain at night")
    again = receiver.run("videos", "openai", "--remix", original, "Rain at night")

    (newest,) = receiver.look("videos", "openai", "--limit", "1")
    assert newest["payload"]["remixed_from_video_id"] == original
    assert newest["video"]["id"] == told["video_id"]
    assert told["video_id"] in [watch["video_id"] for watch in receiver.look("watch")]
    assert again.status == 1
    assert re.search(rf"the same was submitted .* it is video {told['video_id']}", again.stderr)
    assert receiver.run("videos", "openai", "--remix", original, "Rain at night", "--again").status == 0
    missing = receiver.run("videos", "openai", "--remix", "video_nobody", "Rain")
    assert missing.status == 1
    assert missing.stderr.startswith("receiver: openai: 404 Not Found")


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("opennote",), 2, "Opennote has no list of videos; see `receiver submit --list`"),
        (("ope",), 1, "ope: this gateway has no list of videos (405)"),
        (
            ("ope", "--remix", "video_1", "x"),
            2,
            "--remix: gateways make a remix of a whole order: receiver submit",
        ),
        (("openai", "--remix", "video_1", ""), 2, "--prompt: String should have at least 1 character"),
        (("openai", "--delete", "video_1", "--all"), 2, "a list, --delete and --remix: one at a time"),
        (("nobody",), 2, "no source 'nobody' is configured"),
    ],
)
def test_what_is_not_to_be_had_is_said(
    receiver: Receiver, words: tuple[str, ...], status: int, said: str
) -> None:
    ended = receiver.run("videos", *words)

    assert (ended.status, ended.stdout) == (status, "")
    assert ended.stderr.startswith(f"receiver: {said}")


def test_a_gateway_makes_a_remix_of_a_whole_order(receiver: Receiver) -> None:
    (first,) = receiver.look("submit", "ope", "--prompt", "Snow", *GATEWAY)

    options = ("--prompt", "Snow at night", "--remix", first["video_id"], *GATEWAY)
    (remixed,) = receiver.look("submit", "ope", *options)

    assert remixed["state"] == "accepted"
