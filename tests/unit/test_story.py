"""`receiver show` in words: each attempt, what comes next, why it ended, and where the video is."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from receiver.cli.story import tell
from receiver.model import utc
from receiver.store.copies import Copy
from receiver.store.findings import Learned
from receiver.store.service import Service
from tests.contract.stand import AGES_AGO, arrival, claim, claim_one, ready, replayed, settlement, waiting

NOW = AGES_AGO + 3_600_000


class Desk:
    """A store whose clock stands until it is moved, and what is told of an event in it."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.now = AGES_AGO
        self.store = Service(
            path, run="run1", lease_seconds=60, wall=lambda: self.now, monotonic=lambda: self.now / 1000
        )
        self._capsys = capsys

    async def story(self, event: str, *, width: int | None = None) -> list[str]:
        tell(await self.store.event(event), marks="", now=NOW, width=width)
        return self._capsys.readouterr().out.splitlines()


@pytest.fixture
async def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path / "receiver.db", capsys)
    yield desk
    await desk.store.close()


def at(milliseconds: int) -> str:
    """As this machine's clock shows it."""
    return f"{utc(AGES_AGO + milliseconds).astimezone():%Y-%m-%d %H:%M:%S}"


def one(lines: list[str], beginning: str) -> str:
    """The only line that begins so, without its indent."""
    (line,) = [line.strip() for line in lines if line.strip().startswith(beginning)]
    return line


@pytest.mark.anyio
async def test_each_attempt_says_when_how_long_how_it_ended_and_who_was_to_blame(desk: Desk) -> None:
    event = arrival("v1", jobs=ready("save"))
    await desk.store.record(event)
    job = await claim_one(desk.store, "run1/1.1", "save")
    error = "Unfinished: the link answered 503"
    first = settlement(job, "retry", ended_at=AGES_AGO + 1500, run_at=AGES_AGO + 2000, error=error)
    await desk.store.settle([first], worker="run1/1.1")
    desk.now = AGES_AGO + 2000
    await claim_one(desk.store, "run1/1.1", "save")
    desk.now = AGES_AGO + 62_000
    await desk.store.release("run1/1.1")
    job = await claim_one(desk.store, "run1/1.2", "save")
    result = '{"path":"/videos/A title-v1.mp4","bytes":2048}'
    last = settlement(job, ended_at=AGES_AGO + 152_000, result=result)
    await desk.store.settle([last], worker="run1/1.2")

    told = await desk.story(event.event_id)

    assert one(told, "save:") == f"save: done {at(152_000)} (57m ago) after 3 attempts"
    first_line, lost, done = [line.strip() for line in told if line.strip().startswith("attempt")]
    assert first_line == (
        f"attempt 1: {at(0)} (1h ago), ended {at(1500)[11:]} after 1.5 s:"
        " failed, to be tried again: Unfinished: the link answered 503"
    )
    assert re.fullmatch(
        r"attempt 2: .* after 1\.0 min: lost, which costs nothing: the worker stopped \[worker run1/1\.1\]",
        lost,
    )
    assert done.startswith(f"attempt 2: {at(62_000)} (58m ago)")
    assert done.endswith("after 1.5 min: done")
    assert one(told, "file:") == "file: /videos/A title-v1.mp4 (2.0 KiB)"


@pytest.mark.anyio
async def test_what_is_not_over_says_what_it_waits_for_and_until_when(desk: Desk) -> None:
    jobs = [*ready("save", "log", "tell"), waiting("probe", "save")]
    event = arrival("v1", jobs=jobs, expires_at=NOW + 600_000)
    await desk.store.record(event)
    job = await claim_one(desk.store, "run1/1.1", "save")
    later = settlement(job, "retry", run_at=NOW + 7_200_000, error="not yet")
    await desk.store.settle([later], worker="run1/1.1")
    await claim_one(desk.store, "run1/1.1", "log")

    told = await desk.story(event.event_id)

    due = NOW - AGES_AGO + 7_200_000
    assert one(told, "save:") == f"save: ready: attempt 2 is due {at(due)} (in 2h)"
    assert one(told, "probe:") == "probe: waiting for save, which is ready"
    assert one(told, "tell:") == "tell: ready: attempt 1 is due and waits for a free worker"
    assert one(told, "log:") == "log: running"
    assert f"    attempt 1: {at(0)} (1h ago), running in worker run1/1.1" in told
    assert any("the link stops working" in line and "(in 10m)" in line for line in told)


@pytest.mark.anyio
async def test_what_was_given_up_says_why_once(desk: Desk) -> None:
    event = arrival("v1", jobs=[*ready("save"), waiting("probe", "save")])
    await desk.store.record(event)
    await desk.store.record(arrival("v1", received_at=AGES_AGO + 1_800_000))
    job = await claim_one(desk.store, "run1/1.1", "save")
    await desk.store.settle([settlement(job, "fail", error="Hopeless: 404")], worker="run1/1.1")

    told = await desk.story(event.event_id)

    assert "\n".join(told).count("Hopeless: 404") == 1
    assert one(told, "save:").startswith("save: dead ")
    assert one(told, "probe:").startswith("probe: cancelled ")
    assert one(told, "because") == "because save is dead"
    assert one(told, "received").endswith(f"{at(0)} (1h ago), 2 times, the last {at(1_800_000)} (30m ago)")


@pytest.mark.anyio
async def test_no_line_is_wider_than_the_window_and_what_is_told_drives_no_terminal(desk: Desk) -> None:
    event = arrival("v1", jobs=ready("save"), title="A \x1b[31mred title " + "of many words " * 9)
    await desk.store.record(event)
    job = await claim_one(desk.store, "run1/1.1", "save")
    error = "it was refused " * 20
    await desk.store.settle([settlement(job, "fail", error=error)], worker="run1/1.1")

    told = await desk.story(event.event_id, width=50)

    assert max(map(len, told)) <= 50
    assert "\x1b" not in "".join(told)
    assert sum("refused" in line for line in told) >= 5


@pytest.mark.anyio
async def test_what_the_provider_said_when_it_was_asked_is_told(desk: Desk) -> None:
    event = arrival("v1")
    await desk.store.record(event)
    assert not any("looked up" in line for line in await desk.story(event.event_id))
    found = '{"status": "completed", "model": "sora-2", "seconds": "4", "prompt": "a long one"}'
    await desk.store.findings.learn(Learned(event.event_id, found))

    said = one(await desk.story(event.event_id), "looked up")

    assert said.split(maxsplit=2)[2] == "status completed, model sora-2, seconds 4"


@pytest.mark.anyio
async def test_an_event_that_was_copied_says_when(desk: Desk) -> None:
    event = arrival("v1")
    await desk.store.copies.take([Copy(event, "accepted", 1, AGES_AGO + 3_000)])

    told = await desk.story(event.event_id)

    assert one(told, "copied") == f"copied     {at(3000)} (59m ago), from another receiver"


@pytest.mark.anyio
async def test_what_waits_says_how_far_the_one_of_its_own_replay_is(desk: Desk) -> None:
    chain = [*ready("save"), waiting("probe", "save")]
    event = arrival("v1", jobs=chain)
    await desk.store.record(event)
    await replayed(desk.store, "rpl_1", [event.event_id], *chain)
    job = next(job for job in await claim(desk.store, "w", "save") if job["replay"] is None)
    await desk.store.settle([settlement(job)], worker="w")

    told = await desk.story(event.event_id)

    assert one(told, "probe (replay rpl_1)") == "probe (replay rpl_1): waiting for save, which is running"
    assert one(told, "probe:").startswith("probe: ready")


@pytest.mark.anyio
async def test_very_many_deliveries_are_the_first_the_newest_and_a_number(desk: Desk) -> None:
    event = arrival("v1", received_at=AGES_AGO)
    for after in range(120):
        await desk.store.record(event._replace(event_id=f"evt_{after}", received_at=AGES_AGO + after * 1000))

    told = await desk.story("evt_0")

    assert one(told, "received").endswith(f"120 times, the last {at(119_000)} (58m ago)")
    begin = told.index("deliveries:") + 1
    came = told[begin : told.index("jobs: none; no handler wants such an event")]
    assert [line.split("  ")[1].strip() for line in came[:3:2]] == [
        f"{at(0)} (1h ago)",
        f"{at(100_000)} (58m ago)",
    ]
    assert came[1].strip() == "… 99 more; `receiver export` has all of them"
    assert len(came) == 22
