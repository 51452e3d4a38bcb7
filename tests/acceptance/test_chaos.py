"""A sample of `make chaos`: every mishap, every kill, and each video is there once or dead for a reason."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from receiver.sandbox.mischief import MISHAPS, Mischief
from tests.chaos.report import Report
from tests.chaos.storm import VICTIMS, chaos, hook_of, settle, standing
from tests.chaos.verdict import judge

VIDEOS = 100
SECONDS = 22
SEED = 1
HARMLESS = {"drop", "stuck", "missing", "throttled", "broken"}
"""Mishaps of videos that nobody can have, and of APIs that are polled."""


@pytest.mark.slow
@pytest.mark.fault("C1", "D8", "R1", "S10", "O10")
def test_a_hundred_videos_come_through_mishaps_and_kills(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"kills by seed {seed}")

    report = chaos(tmp_path, videos=VIDEOS, seconds=SECONDS, seed=SEED, chance=random.Random(seed))

    print(report.as_table())
    assert report.problems == []
    assert {name for name in MISHAPS if not report.mishaps[name]} == HARMLESS
    assert report.kills.keys() == VICTIMS.keys()
    assert report.videos["asked for"] == VIDEOS
    assert report.videos["saved"] + report.videos["failed"] + report.videos["dead: link_expired"] == VIDEOS
    assert min(report.videos.values()) > 0
    felt = report.attempts["lost"] + report.callbacks["cut off"] + report.callbacks["answered with 503"]
    assert felt > 0, "no kill ever met anything under way"


def test_the_judge_sees_whatever_is_wrong(tmp_path: Path) -> None:
    with standing(tmp_path, Mischief()) as (receiver, weather):
        for number in range(1, 7):
            weather.ask(number, hook_of(receiver))
        settle(receiver, weather)
        fine, damaged = Report(), Report()
        judge(receiver, weather, fine)
        gone, altered, copied, *_ = sorted(receiver.videos.glob("*.mp4"))
        gone.unlink()
        altered.write_bytes(altered.read_bytes()[:-1])
        copied.with_stem("copy").write_bytes(copied.read_bytes())
        (receiver.videos / ".receiver" / "partial" / "half").touch()
        with closing(sqlite3.connect(tmp_path / "data" / "receiver.db")) as database, database:
            database.execute("UPDATE jobs SET state = 'dead' WHERE event = 1 AND handler = 'save_video'")
            database.execute("UPDATE events SET video_id = 'other' WHERE seq = 2")
            database.execute("UPDATE events SET conflict = 1 WHERE seq = 3")

        judge(receiver, weather, damaged)

    assert (fine.problems, dict(fine.videos)) == ([], {"asked for": 6, "saved": 6})
    said = "\n".join(damaged.problems)
    assert said.count("a video is missing") == 2
    assert said.count("a video is there twice, or altered") == 2
    for complaint in (
        "the invariant does not hold",
        "a half of a video was left: half",
        "saved, but save_video says ['dead: ",
        "saved, but its events are []",
        "other: nobody asked for it",
        "a conflict",
    ):
        assert said.count(complaint) == 1, said


@pytest.mark.fault("S8")
def test_a_download_that_is_always_cut_off_is_dead_with_that_reason_and_leaves_no_half(
    tmp_path: Path,
) -> None:
    (tmp_path / "keep.py").write_text(
        "from receiver import Router\n"
        "router = Router()\n"
        '@router.on("video.completed", attempts=2)\n'
        "async def keep(event, context):\n"
        "    await context.save_video()\n"
    )
    with standing(tmp_path, Mischief(truncated=1), options=("--handlers", "keep.py")) as (receiver, weather):
        weather.ask(1, hook_of(receiver))
        settle(receiver, weather)
        assert weather.counts()["truncated"] >= 2

    [job] = receiver.events()[0]["jobs"]
    assert (job["state"], job["attempts"]) == ("dead", 2)
    assert "cut off" in job["last_error"]
    assert (receiver.files(), receiver.halves()) == ({}, [])
