"""A capture is made on one machine and replayed on another: the same results and bytes, and no network."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import (
    KEY,
    ORGANIZATION,
    PROGRAM,
    Ended,
    FileHost,
    Receiver,
    a_video,
    callback,
    run,
    sha256,
)

HANDLERS = """\
from receiver import Fail, Router
router = Router()

@router.on("video.completed")
async def save(event, context):
    saved = await context.save_video("{title}-{id}", directory="out")
    with event.open_body() as body:
        return {"name": saved.path.name, "sha256": saved.sha256, "body": len(body.read())}

@router.on("video.completed", after="hooks.save")
def describe(event, context):
    return {"of": context.results["hooks.save"]["name"], "id": event.id, "at": event.received_at.isoformat()}

@router.on("video.failed")
def tell(event):
    raise Fail(f"{event.video.error.code} is hopeless")
"""
SOMEBODY = 65534
_AS_SOMEBODY_ELSE = """
import importlib, os, pkgutil, sys
import receiver
for package in ("receiver", "rich", "encodings", "click"):
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
        if "sandbox" not in module.name and "__main__" not in module.name:
            try:
                importlib.import_module(module.name)
            except Exception:
                pass  # of another platform, or an extra that is not there
from receiver.store import migrate, queries
queries.load("sqlite"), migrate.available("sqlite")  # what reads them is imported late
os.setgroups([]), os.setgid({user}), os.setuid({user})
os.environ["HOME"] = os.getcwd()
from receiver.cli import main
main()
"""


def produced(receiver: Receiver, host: FileHost) -> dict[str, tuple[str, Any]]:
    """Let a receiver handle one of each, and give the result of every job."""
    receiver.handler(HANDLERS)
    receiver.start("--handlers", "hooks.py")
    receiver.accepted(callback("small", video=a_video(), title="Small"))
    receiver.accepted(callback("large", video=a_video("large", padding=300_000), title="Lärge"))
    receiver.accepted(callback("linked", url=host.give("l.mp4", a_video("linked")), title="Linked"))
    receiver.accepted(callback("broken", "failed"))
    assert receiver.post(callback("broken", "failed")).json()["status"] == "duplicate"
    receiver.settled(count=4)
    results: dict[str, tuple[str, str | None]] = {}
    for event in receiver.events():
        for job in receiver.show(event["id"])["jobs"]:
            results[f"{event['video_id']} {job['handler']}"] = (job["state"], job["result"])
    assert receiver.stop() == 0
    return {name: (state, json.loads(text) if text else None) for name, (state, text) in results.items()}


def rehearsed(ended: Ended) -> dict[str, tuple[str, Any]]:
    return {f"{one['video_id']} {one['handler']}": (one["state"], one["result"]) for one in ended.objects}


def checksums(folder: Path) -> set[str]:
    return {sha256(path.read_bytes()) for path in folder.iterdir() if path.suffix == ".mp4"}


def test_a_capture_is_replayed_elsewhere_with_the_same_results(
    receiver: Receiver, file_host: FileHost, tmp_path: Path
) -> None:
    receiver.configure(s3_base_url=file_host.base)
    results = produced(receiver, file_host)
    file = tmp_path / "yesterday.tar"
    assert receiver.run("export", file, "--with-videos").status == 0
    asked = len(file_host.asked)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for path in (file, receiver.folder / "hooks.py"):
        shutil.copy(path, elsewhere)

    ended = run("replay", "yesterday.tar", "--handlers", "hooks.py", "--json", folder=elsewhere)

    assert ended.status == 1, "the handler of the failed video has failed, there and here"
    assert rehearsed(ended) == results
    assert checksums(elsewhere / "out") == checksums(receiver.folder / "out")
    assert len(checksums(elsewhere / "out")) == 3
    assert len(file_host.asked) == asked, "the saved file was exported, and the exported one was used"
    left = {path.name for path in elsewhere.iterdir()} - {"__pycache__"}  # Python's own
    assert left == {"hooks.py", "yesterday.tar", "out"}


def test_another_user_in_another_folder_without_a_network_replays_it_too(
    receiver: Receiver, file_host: FileHost, tmp_path: Path
) -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root and util-linux, to be somebody else without a network")
    receiver.configure(s3_base_url=file_host.base)
    results = produced(receiver, file_host)
    file = tmp_path / "yesterday.tar.gz"
    assert receiver.run("export", file, "--with-videos").status == 0
    elsewhere = Path("/var/tmp") / f"receiver-test-{os.getpid()}"
    elsewhere.mkdir()
    try:
        for path in (file, receiver.folder / "hooks.py"):
            os.chown(shutil.copy(path, elsewhere), SOMEBODY, SOMEBODY)
        os.chown(elsewhere, SOMEBODY, SOMEBODY)
        program = _AS_SOMEBODY_ELSE.format(user=SOMEBODY)
        command = ["unshare", "--net", sys.executable, "-c", program]
        command += ["replay", "yesterday.tar.gz", "--handlers", "hooks.py", "--json"]
        done = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, check=False)

        ended = Ended(done.returncode, done.stdout, done.stderr)
        assert ended.status == 1, ended.stderr
        assert rehearsed(ended) == results
        assert checksums(elsewhere / "out") == checksums(receiver.folder / "out")
        assert (elsewhere / "out").stat().st_uid == SOMEBODY
    finally:
        shutil.rmtree(elsewhere)


def test_an_imported_capture_is_replayed_by_a_server(
    receiver: Receiver, file_host: FileHost, tmp_path: Path
) -> None:
    receiver.configure(s3_base_url=file_host.base)
    results = produced(receiver, file_host)
    file, again = tmp_path / "a.tar", tmp_path / "b.tar"
    assert receiver.run("export", file, "--with-videos").status == 0
    file_host.files.clear()
    with Receiver(tmp_path / "laptop") as laptop:
        laptop.configure().handler(HANDLERS)
        laptop.start("--handlers", "hooks.py")

        taken = laptop.look("import", file)
        assert taken == [{"events": 4, "deliveries": 5, "known": 0, "left": []}]
        assert all(event["jobs"] == [] for event in laptop.events())
        assert laptop.look("import", file)[0]["known"] == 5
        assert laptop.run("export", again, "--with-videos").status == 0
        assert again.read_bytes() == file.read_bytes()
        assert laptop.run("replay", "--all", "--yes").status == 0
        laptop.settled(count=4)

        for event in laptop.events():
            for job in laptop.show(event["id"])["jobs"]:
                state, result = results[f"{event['video_id']} {job['handler']}"]
                assert (job["state"], json.loads(job["result"] or "null")) == (state, result)
        assert checksums(laptop.folder / "out") == checksums(receiver.folder / "out")
        for video in ("small", "large"):
            (event,) = laptop.events("--video", video)
            (was,) = receiver.events("--video", video)
            assert {**event, "jobs": []} == {**was, "jobs": []}
            assert (
                laptop.run("show", event["id"], "--raw").stdout
                == receiver.run("show", was["id"], "--raw").stdout
            )


def test_a_video_that_was_not_saved_is_fetched_for_the_capture_or_named(
    receiver: Receiver, file_host: FileHost, tmp_path: Path
) -> None:
    receiver.configure(s3_base_url=file_host.base).start("--no-worker")
    receiver.accepted(callback("there", url=file_host.give("a.mp4", a_video("there"))))
    receiver.accepted(callback("gone", url=f"{file_host.base}/gone.mp4"))

    ended = receiver.run("export", tmp_path / "a.tar", "--with-videos")

    assert ended.status == 1
    assert "1 videos" in ended.stdout
    (complaint,) = ended.complaints
    assert "can't be had: 404 Not Found" in complaint
    names = subprocess.run(["tar", "-tf", tmp_path / "a.tar"], capture_output=True, text=True, check=True)
    (event,) = receiver.events("--video", "there")
    assert f"videos/{event['id']}" in names.stdout.split()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == [], (
        "nothing is left over"
    )


def test_some_events_are_exported_by_id_or_filter(receiver: Receiver, tmp_path: Path) -> None:
    receiver.start("--no-worker")
    first, second = (receiver.accepted(callback(name)) for name in ("v1", "v2"))
    receiver.accepted(callback("v3", "failed"))

    by_id = receiver.look("export", tmp_path / "a.tar", first[:24], second)[0]
    by_type = receiver.look("export", tmp_path / "b.tar", "--type", "video.failed")[0]
    shutil.copy(tmp_path / "a.tar", tmp_path / "d.tar")

    assert (by_id["events"], by_type["events"]) == (2, 1)
    said = subprocess.run(
        ["tar", "-xOf", tmp_path / "a.tar", "capture.json"], capture_output=True, check=True
    )
    assert json.loads(said.stdout)["filter"] == {"events": [first, second]}
    assert receiver.run("export", tmp_path / "a.tar").status == 1, "it is there already"
    assert receiver.run("export", tmp_path / "a.tar", "--force").status == 0
    assert receiver.run("export", tmp_path / "c.tar", first, "--type", "video.failed").status == 2
    streamed = receiver.run("export", "-", first, second)
    assert streamed.stdout.encode() == (tmp_path / "d.tar").read_bytes()
    assert streamed.stderr.startswith("-: ")
    nowhere = receiver.run("export", tmp_path / "none" / "a.tar")
    assert (nowhere.status, nowhere.stderr.count("\n")) == (1, 1)
    assert f"there is no folder {tmp_path / 'none'}" in nowhere.stderr


@pytest.mark.fault("W10")
def test_a_capture_holds_no_credential(receiver: Receiver, tmp_path: Path) -> None:
    receiver.start("--no-worker")
    canaries = {"Authorization": "canary-a1", "Cookie": "canary-a2", "X-Else": "canary-a3"}
    answer = receiver.post(callback("v1", video=a_video(padding=200_000)), **canaries)
    assert answer.json()["status"] == "accepted"
    receiver.post(callback("v2"), **canaries)
    file = tmp_path / "a.tar"

    assert receiver.run("export", file).status == 0

    content = file.read_bytes()
    assert b"canary-" not in content
    assert KEY.encode() not in content
    assert KEY.encode() not in receiver.run("show", answer.json()["event"], "--json").stdout.encode()
    assert content.count(b"redacted:") >= 8, "the search is not blind: the headers are there"
    assert ORGANIZATION.encode() in content
    assert oct(file.stat().st_mode)[-3:] == "600"


def test_a_damaged_capture_is_named_as_such_and_what_is_whole_can_be_used(
    receiver: Receiver, tmp_path: Path
) -> None:
    receiver.handler(HANDLERS)
    receiver.start("--no-worker")
    for name in ("v1", "v2"):
        receiver.accepted(callback(name, video=a_video(name, padding=100_000)))
    file = tmp_path / "a.tar"
    assert receiver.run("export", file).status == 0
    content = file.read_bytes()
    file.write_bytes(content[: content.rindex(b"bodies/", 0, content.rindex(b"SHA256SUMS")) + 10_000])

    commands: list[list[str | Path]] = [["import", file], ["replay", file, "--handlers", "hooks.py"]]
    for command in commands:
        ended = receiver.run(*command)
        assert ended.status == 1
        assert any("it is unfinished" in line for line in ended.complaints), ended.complaints
        assert any("--partial" in line for line in ended.complaints)
    ended = receiver.run("replay", file, "--handlers", "hooks.py", "--partial", "--json")

    assert ended.status == 0
    assert {one["state"] for one in ended.objects} == {"done"}
    assert len({one["event"] for one in ended.objects}) == 1
    assert any("is not there, or not whole" in line for line in ended.stderr.splitlines())


def test_a_breakpoint_in_a_handler_works(receiver: Receiver, tmp_path: Path) -> None:
    receiver.start("--no-worker")
    receiver.accepted(callback("v1"))
    assert receiver.run("export", tmp_path / "a.tar").status == 0
    for kind in ("def", "async def"):
        source = (
            "from receiver import Router\nrouter = Router()\n@router.on('video.completed')\n"
            f"{kind} stop(event):\n    answer = 0\n    breakpoint()\n    return answer\n"
        )
        (tmp_path / "stops.py").write_text(source)
        own, its = pty.openpty()
        command = [*PROGRAM, "replay", "a.tar", "--handlers", "stops.py", "--json"]
        with subprocess.Popen(
            command, cwd=tmp_path, stdin=its, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            os.close(its)
            os.write(own, b"p event.video.id\nanswer = 42\ncontinue\n")
            said, told = process.communicate(timeout=30)
            os.close(own)
        assert process.returncode == 0, told
        assert "'v1'" in told
        assert json.loads(said)["result"] == 42, "and nothing but objects is on standard output"


def test_what_fails_and_what_hangs_is_a_failure_at_once(receiver: Receiver, tmp_path: Path) -> None:
    receiver.start("--no-worker")
    receiver.accepted(callback("v1"))
    assert receiver.run("export", tmp_path / "a.tar").status == 0
    (tmp_path / "fails.py").write_text(
        "import os, time\nfrom receiver import Cancel, Retry, Router\nrouter = Router()\n"
        "@router.on('video.completed')\ndef later():\n    raise Retry(after='1h', reason='not yet')\n"
        "@router.on('video.completed')\ndef cancelled():\n    raise Cancel('not ours')\n"
        "@router.on('video.completed', after='fails.later')\ndef after(): ...\n"
        "@router.on('video.completed', timeout='200ms')\ndef hangs():\n    time.sleep(60)\n"
        "@router.on('video.completed')\ndef leaves():\n    print('so long', flush=True)\n    os._exit(0)\n"
        "@router.on('video.completed', after='fails.leaves')\ndef follows(): ...\n"
        "@router.on('video.completed')\ndef works():\n    print('something')\n    return 1\n"
    )

    ended = run("replay", "a.tar", "--handlers", "fails.py", "--json", folder=tmp_path, seconds=30)

    assert ended.status == 1
    said = {one["handler"]: (one["state"], one["error"]) for one in ended.objects}
    assert said == {
        "fails.later": ("dead", "not yet"),
        "fails.cancelled": ("cancelled", "not ours"),
        "fails.after": ("cancelled", "fails.later is dead"),
        "fails.hangs": ("dead", "did not finish within 200ms"),
        "fails.leaves": ("dead", "the process ended with status 0"),
        "fails.follows": ("cancelled", "fails.leaves is dead"),
        "fails.works": ("done", None),
    }
    assert ended.stdout.count("\n") == len(said), "what handlers print is elsewhere"


def test_one_handler_and_some_events_of_a_capture_can_be_chosen(receiver: Receiver, tmp_path: Path) -> None:
    receiver.handler(HANDLERS)
    receiver.start("--no-worker")
    first = receiver.accepted(callback("v1", video=a_video()))
    receiver.accepted(callback("v2", video=a_video()))
    assert receiver.run("export", tmp_path / "a.tar").status == 0

    def replayed(*arguments: str, file: Path = tmp_path / "a.tar") -> Ended:
        return run("replay", file, "--handlers", "hooks.py", "--json", *arguments, folder=receiver.folder)

    planned = replayed("--dry-run").objects
    chosen = replayed(first[:20], "--handler", "hooks.save")

    assert [len(event["jobs"]) for event in planned] == [2, 2]
    assert [(one["event"], one["handler"]) for one in chosen.objects] == [
        (first, "hooks.save"),
        (first, "hooks.describe"),
    ]
    assert [one["handler"] for one in replayed(first, "--handler", "hooks.describe").objects] == [
        "hooks.save",
        "hooks.describe",
    ], "what comes after another can't run alone where nothing ran before"
    assert replayed("--handler", "nobody").status == replayed("--state", "dead").status == 2
    assert replayed(file=tmp_path / "missing.tar").status == 2
    assert len(replayed("--video", "v2").objects) == 2


def test_a_capture_needs_no_configuration_but_uses_one_that_is_there(
    receiver: Receiver, tmp_path: Path
) -> None:
    receiver.start("--no-worker")
    receiver.accepted(callback("v1", video=a_video()))
    receiver.stop()
    assert receiver.run("export", tmp_path / "a.tar").status == 0
    receiver.configure('[handlers.save_video]\ndirectory = "elsewhere"\n')

    without = run("replay", "a.tar", folder=tmp_path)
    with_it = receiver.run("replay", tmp_path / "a.tar")

    assert (without.status, with_it.status) == (0, 0)
    assert (tmp_path / "videos").is_dir()
    assert (receiver.folder / "elsewhere").is_dir()
    assert hashlib.sha256(next((tmp_path / "videos").glob("*.mp4")).read_bytes()).hexdigest() == sha256(
        a_video()
    )
