"""Odd titles, equal titles, and videos that can't be had: own files inside the folder, and clear reasons."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import FileHost, Receiver, a_video, callback, hosting, until

TITLES = {
    "slash": "a/b/c",
    "absolute": "/etc/passwd",
    "parent": "../../../up",
    "dots": "..",
    "dot": ".",
    "brace": "{id}{title.__class__}{",
    "percent": "%s%n%(x)s",
    "backslash": "..\\..\\windows",
    "emoji": "🎬 Fotosynthèse 光合作用 🌱",
    "long": "x" * 300,
    "long-emoji": "🎬" * 300,
    "empty": "",
    "blank": " \t\n ",
    "control": "a\x01b\x1b[31mc\r\nd",
    "bidi": "abc\u202egpm.exe",
    "reserved": "CON",
    "dash": "-rf --help",
    "hidden": ".bashrc",
    "extension": "movie.exe",
    "colon": 'C:<>|?*"',
    "json": "notes.json",
    "home": "~root",
    "shell": "$(touch pwned); `id`",
}


@pytest.fixture(scope="module")
def host() -> Iterator[FileHost]:
    """The file host of this module's receiver."""
    with hosting() as host:
        yield host


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, host: FileHost) -> Iterator[Receiver]:
    """A running receiver that takes videos of a mebibyte; each test has videos of its own."""
    receiver = Receiver(tmp_path_factory.mktemp("titles"))
    with receiver.configure('[worker]\nmax_video = "1MiB"\n', s3_base_url=host.base):
        yield receiver.start()


def files_of(receiver: Receiver, video_ids: Collection[str]) -> dict[str, Path]:
    """The file of each video, as the log says, once all jobs are done."""
    events = receiver.settled(count=len(video_ids), of=video_ids)
    assert [job["last_error"] for event in events for job in event["jobs"] if job["state"] != "done"] == []
    saved = {line["video"]: Path(line["path"]) for line in receiver.log("video.saved")}
    return {video_id: saved[video_id] for video_id in video_ids}


def test_every_title_gives_a_sane_file_of_its_own_inside_the_folder(shared: Receiver) -> None:
    receiver = shared
    for name, title in TITLES.items():
        receiver.accepted(callback(name, video=a_video(name), title=title))
    receiver.accepted(callback("none", video=a_video("none"), title=None))
    receiver.accepted(callback("number", video=a_video("number"), title=7))
    paths = files_of(receiver, [*TITLES, "none", "number"])
    assert len(set(paths.values())) == len(TITLES) + 2
    outside = {path.name for path in receiver.folder.iterdir()} - {
        "receiver.toml",
        "data",
        "videos",
        "serve.log",
    }
    assert outside == set()
    for name, path in paths.items():
        assert path.parent == receiver.videos, name
        assert path.read_bytes() == a_video(name)
        assert path.name.endswith(".mp4")
        assert path.name.isprintable()
        assert len(path.name.encode()) <= 255
        assert not path.name.startswith((".", "-", " "))
        assert not set(path.name) & set('/\\:*?"<>|\0')
    for name in ("none", "number", "empty", "blank", "dots", "dot"):
        assert paths[name].name == f"{name}.mp4", "a title that is none is left out"
    assert paths["brace"].name.startswith("{id}{title.__class__}{"), "what a title holds is not interpreted"
    assert paths["emoji"].name == "🎬 Fotosynthèse 光合作用 🌱-emoji.mp4"


def test_equal_titles_and_identical_videos_are_a_file_for_each_event(
    receivers: Callable[..., Receiver],
) -> None:
    receiver = receivers('[handlers.save_video]\ntemplate = "{title}"\n').start()
    for number in range(6):
        receiver.accepted(callback(f"v{number}", video=a_video(), title="Twins"))
    receiver.accepted(callback("v6", video=a_video(), title="TWINS"))
    paths = files_of(receiver, [f"v{number}" for number in range(7)])
    assert len({path.name.casefold() for path in paths.values()}) == 7
    assert list(receiver.files().values()) == [a_video()] * 7
    assert {"Twins.mp4", "TWINS.mp4"} & {path.name for path in paths.values()}, (
        "the first one needs no suffix"
    )
    descriptions = [json.loads(path.read_text()) for path in receiver.videos.glob("*.json")]
    assert {text["video"]: text["file"] for text in descriptions} == {
        video_id: path.name for video_id, path in paths.items()
    }


def test_odd_ids_of_videos_stay_inside_too(shared: Receiver) -> None:
    ids = ["../../up", "a/b", "x" * 256, "{event}", "..", "✨"]
    for video_id in ids:
        shared.accepted(callback(video_id, video=a_video(str(ids.index(video_id)))))
    paths = files_of(shared, ids)
    assert {path.parent for path in paths.values()} == {shared.videos}
    assert len(set(paths.values())) == len(ids)


def test_what_is_hopeless_is_dead_at_once_with_a_clear_reason_and_no_half_file(
    shared: Receiver, host: FileHost, file_host: FileHost
) -> None:
    receiver, ours, other = shared, host, file_host
    before = set(receiver.videos.glob("[!.]*"))
    ours.give("page.mp4", b"<!DOCTYPE html><html><body>Sign in to see the video</body></html>")
    ours.give("no-bytes.mp4", b"")
    ours.give("huge.mp4", a_video(padding=2**20))
    ours.statuses["/videofs/forbidden.mp4"] = 403
    ours.statuses["/videofs/moved.mp4"] = 302
    root = ours.base.removesuffix("/videofs")
    good = callback("x", video=a_video())["response"]["b64_video"]
    cases = {
        "other-host": ({"url": other.give("v.mp4", a_video())}, "does not lead to the host"),
        "other-path": ({"url": f"{root}/private/v.mp4"}, "does not lie under the base URL"),
        "look-alike": ({"url": f"{ours.base}-evil/v.mp4"}, "does not lie under the base URL"),
        "dots": ({"url": f"{ours.base}/../private/v.mp4"}, "dot segments"),
        "user": ({"url": ours.base.replace("//", "//user@") + "/v.mp4"}, "user name"),
        "scheme": ({"url": "file:///etc/passwd"}, "not https"),
        "metadata": ({"url": "http://169.254.169.254/latest"}, "plain http"),
        "missing": ({"url": f"{ours.base}/nowhere.mp4"}, "404"),
        "forbidden": ({"url": f"{ours.base}/forbidden.mp4"}, "403"),
        "moved": ({"url": f"{ours.base}/moved.mp4"}, "redirects are not followed"),
        "page": ({"url": f"{ours.base}/page.mp4"}, "not a video (HTML)"),
        "no-bytes": ({"url": f"{ours.base}/no-bytes.mp4"}, "empty"),
        "huge": ({"url": f"{ours.base}/huge.mp4"}, "larger than the limit"),
        "alphabet": ({"b64_video": good[:5000] + "*" + good[5001:]}, "base64"),
        "length": ({"b64_video": good[:5001]}, "base64"),
        "late": ({"b64_video": good * 3 + "*"}, "base64"),
        "words": ({"b64_video": "this is no video"}, ""),
        "nothing": ({}, "no video"),
    }
    for name, (response, _) in cases.items():
        payload = callback(f"hopeless-{name}", url=response.get("url"))
        payload["response"] |= {key: value for key, value in response.items() if key != "url"}
        receiver.accepted(payload)
    events = {
        event["video_id"]: event
        for event in receiver.settled(count=len(cases), of=[f"hopeless-{name}" for name in cases])
    }
    for name, (_, reason) in cases.items():
        (job,) = events[f"hopeless-{name}"]["jobs"]
        assert (job["state"], job["attempts"]) == ("dead", 1), (name, job)
        assert reason in job["last_error"], (name, job["last_error"])
        assert len(job["last_error"]) < 300
    assert set(receiver.videos.glob("[!.]*")) == before, "neither videos nor descriptions"
    assert receiver.halves() == []
    assert other.asked == []
    assert not [path for path in ours.asked if "private" in path]


def test_a_wrong_base_url_is_dead_at_once_and_names_the_setting(
    receivers: Callable[..., Receiver], file_host: FileHost
) -> None:
    receiver = receivers(s3_base_url="https://videos.example.com/bucket").start()
    receiver.accepted(callback("v1", url=file_host.give("v1.mp4", a_video())))
    [event] = receiver.settled(count=1)
    (job,) = event["jobs"]
    assert (job["state"], job["attempts"]) == ("dead", 1)
    assert "configured for its source" in job["last_error"]
    assert file_host.asked == []


def test_a_truncated_download_is_retried_until_it_is_whole(shared: Receiver, host: FileHost) -> None:
    content = a_video(padding=500_000)
    link = host.give("cut.mp4", content)
    host.cut["/videofs/cut.mp4"] = 1
    event = shared.accepted(callback("cut", url=link))
    until(lambda: "cut" in {line["video"] for line in shared.log("job.retried")})
    assert shared.files("cut") == {}, "no half file under a final name"
    [settled] = shared.settled(count=1, of=["cut"])
    assert [(job["state"], job["attempts"]) for job in settled["jobs"]] == [("done", 2)]
    assert list(shared.files("cut").values()) == [content]
    assert [attempt["outcome"] for attempt in shared.show(event)["attempts"]] == ["retry", "done"]
    assert shared.halves() == []


def test_a_file_host_that_is_away_is_tried_again(shared: Receiver, host: FileHost) -> None:
    host.statuses["/videofs/away.mp4"] = 503
    shared.accepted(callback("away", url=host.give("away.mp4", a_video())))

    def reasons() -> list[str]:
        return [line["reason"] for line in shared.log("job.retried") if line["video"] == "away"]

    assert "503" in until(reasons)[0]
    [event] = shared.events("--video", "away")
    assert event["jobs"][0]["run_at"] is not None
    assert "503" in event["jobs"][0]["last_error"]
    del host.statuses["/videofs/away.mp4"]
    [event] = shared.settled(count=1, of=["away"])
    assert event["jobs"][0]["state"] == "done"
