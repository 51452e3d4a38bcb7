"""Judge a receiver after a storm: each video is there once and whole, or dead for the reason that is true."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from receiver.sandbox.mischief import Luck, Mischief
from receiver.store.sqlite.database import read_only
from tests.acceptance.conftest import Event, Receiver
from tests.chaos.report import Report
from tests.chaos.weather import Weather
from tests.invariant import Ledger, assert_balanced

_NOBODY_THERE = "ConnectError"


@dataclass
class Asked:
    """A video that was asked for, as the luck of the sandbox sees it."""

    number: int
    mischief: Mischief


def judge(receiver: Receiver, weather: Weather, report: Report) -> None:
    """Look at everything; the receiver has ended, and the sandbox has nothing left to say."""
    jobs = weather.jobs()
    report.mishaps.update(weather.counts())
    ledger = _ledger_of(jobs, report)
    try:
        assert_balanced(receiver.folder / "data" / "receiver.db", ledger)
    except AssertionError as error:
        report.problems.append(f"the invariant does not hold: {error}")
    by_video: dict[str, list[Event]] = defaultdict(list)
    for event in receiver.events("--limit", "10000"):
        by_video[event["video_id"]].append(event)
    wanted: Counter[str] = Counter()
    for number, job in enumerate(jobs):
        fate = _fate(Asked(number, weather.mischief), job)
        report.problems += _wrong_with(job, fate, by_video.pop(job["video_id"], []), report)
        if fate == "saved":
            wanted[job["sha256"]] += 1
    report.problems += [f"{video}: nobody asked for it" for video in by_video]
    _judge_files(receiver, wanted, report)
    report.attempts.update(_attempts(receiver))


def _ledger_of(jobs: Sequence[Mapping[str, Any]], report: Report) -> Ledger:
    ledger = Ledger()
    for one in (one for job in jobs for one in job["callbacks"]):
        if "status" in one:
            report.callbacks[f"answered with {one['status']}"] += 1
            ledger.told(one["status"], one.get("answer", "").encode())
        else:
            is_sent = not one["error"].startswith(_NOBODY_THERE)
            report.callbacks["cut off" if is_sent else "nobody there"] += 1
            ledger.unanswered += is_sent
    return ledger


def _fate(asked: Asked, job: Mapping[str, Any]) -> str:
    """How a video has to end."""
    luck = Luck()
    if luck.foresees("failed", asked):
        return "failed"
    is_expired = job["s3_url"] is not None and luck.foresees("expired", asked)
    return "dead: link_expired" if is_expired else "saved"


def _wrong_with(job: Mapping[str, Any], fate: str, events: Sequence[Event], report: Report) -> list[str]:
    """Compare the events of a video with its fate."""
    types = sorted(event["type"] for event in events if event["type"] != "video.unknown")
    last = "video.failed" if fate == "failed" else "video.completed"
    if types != [last] or len(events) > 2:
        return [f"{job['video_id']}: {fate}, but its events are {[event['type'] for event in events]}"]
    problems = [f"{event['id']}: a conflict" for event in events if event["conflict"]]
    saving = [one for event in events for one in event["jobs"] if one["handler"] == "save_video"]
    found = [one["state"] if one["state"] != "dead" else f"dead: {one['last_error']}" for one in saving]
    report.videos["asked for"] += 1
    report.videos[found[0].partition(": 403")[0] if found and found != ["done"] else fate] += 1
    expected = {"failed": [], "saved": ["done"], "dead: link_expired": ["dead: link_expired"]}[fate]
    if [text.partition(": 403")[0] for text in found] != expected:
        problems.append(f"{job['video_id']}: {fate}, but save_video says {found}")
    others = [one for event in events for one in event["jobs"] if one["handler"] != "save_video"]
    problems += [
        f"{one['id']}: {one['state']}, {one['last_error']}" for one in others if one["state"] != "done"
    ]
    return problems


def _judge_files(receiver: Receiver, wanted: Counter[str], report: Report) -> None:
    found = Counter(hashlib.sha256(content).hexdigest() for content in receiver.files().values())
    report.problems += [f"a video is missing: {sha256}" for sha256 in wanted - found]
    report.problems += [f"a video is there twice, or altered: {sha256}" for sha256 in found - wanted]
    report.problems += [f"a half of a video was left: {path.name}" for path in receiver.halves()]


def _attempts(receiver: Receiver) -> dict[str, int]:
    database = read_only(receiver.folder / "data" / "receiver.db")
    with closing(sqlite3.connect(database, uri=True)) as connection:
        return dict(connection.execute("SELECT outcome, count(*) FROM attempts GROUP BY outcome"))
