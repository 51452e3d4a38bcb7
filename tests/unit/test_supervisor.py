"""Children are started again when they die, told when to end, and believed when they refuse to start."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import CapturingLogger

from receiver import supervisor
from receiver.errors import CommandFailed, UsageError
from receiver.supervisor import Child, output_of
from tests.acceptance.conftest import is_running

pytestmark = pytest.mark.anyio
TIMEOUT = 20.0
PREAMBLE = """
import os, signal, sys, time

def tell(*_):
    with open(sys.argv[1], "a") as births:
        births.write(f"{sys.argv[2]} {os.getpid()} {time.monotonic()}\\n")

"""
SLEEP = "tell(); time.sleep(600)"
STUBBORN = f"signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"


class Place:
    """A place in the family, whose processes note when each was born."""

    def __init__(self, folder: Path, code: str, *, may_end: bool = False) -> None:
        self.log = CapturingLogger()
        self.deaths: list[int] = []
        self.statuses: list[int] = []
        self._births = folder / "births"
        self._code = code
        self.child = Child("the child", self._command, log=self.log, on_death=self._bury, may_end=may_end)

    def _command(self, generation: int) -> list[str]:
        return ["-c", PREAMBLE + self._code, str(self._births), str(generation)]

    async def _bury(self, generation: int, status: int) -> None:
        self.deaths.append(generation)
        self.statuses.append(status)

    @property
    def births(self) -> list[tuple[int, int, float]]:
        """Generation, process id and time of each process that got as far as telling."""
        if not self._births.exists():
            return []
        rows = [line.split() for line in self._births.read_text("utf-8").splitlines()]
        return [(int(generation), int(pid), float(at)) for generation, pid, at in rows]

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [call.kwargs for call in self.log.calls if call.args == (event,)]


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that other processes do."""
    async with asyncio.timeout(TIMEOUT):
        while not condition():  # noqa: ASYNC110 - other processes do not tell
            await asyncio.sleep(0.01)


Start = Callable[[str], Any]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts places, and ends what is left of them."""
    places: list[Place] = []

    async def begin(code: str) -> Place:
        places.append(Place(tmp_path, code))
        await places[-1].child.start()
        return places[-1]

    yield begin
    for place in places:
        await place.child.stop(seconds=0)


async def test_a_child_that_is_killed_is_started_again(start: Start) -> None:
    place = await start(SLEEP)
    await until(lambda: len(place.births) == 1)
    assert place.child.is_alive
    os.kill(place.births[0][1], signal.SIGKILL)
    await until(lambda: len(place.births) == 2)

    assert [generation for generation, _, _ in place.births] == [1, 2]
    assert (place.deaths, place.statuses) == ([1], [-signal.SIGKILL])
    [death] = place.logged("process.died")
    assert death == {"name": "the child", "pid": place.births[0][1], "status": -signal.SIGKILL}
    assert [entry["pid"] for entry in place.logged("process.started")] == [pid for _, pid, _ in place.births]


@pytest.mark.parametrize(
    "code",
    ["tell(); os._exit(0)", "tell(); os._exit(3)", "tell(); raise SystemExit(1)"],
)
async def test_a_child_that_ends_by_itself_is_started_again_whatever_its_status(
    code: str, start: Start
) -> None:
    place = await start(code)

    await until(lambda: len(place.births) >= 2)


async def test_a_child_that_keeps_dying_waits_longer_each_time_up_to_a_limit(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_FIRST_DELAY_SECONDS", 0.1)
    monkeypatch.setattr(supervisor, "_LONGEST_DELAY_SECONDS", 0.4)
    place = await start("tell(); os._exit(1)")
    await until(lambda: len(place.births) == 5)

    times = [at for _, _, at in place.births]
    gaps = [after - before for before, after in pairwise(times)]
    for gap, least in zip(gaps, [0.1, 0.2, 0.4, 0.4], strict=True):
        assert gap >= least
    assert place.deaths == [1, 2, 3, 4] or place.deaths == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("before", "after"), [(0.0, 0.1), (0.1, 0.2), (3.0, 6.0), (6.0, 10.0), (10.0, 10.0)])
def test_the_wait_doubles_from_a_tenth_of_a_second_to_ten_seconds(before: float, after: float) -> None:
    assert supervisor._next_delay(before) == after


async def test_a_child_that_lived_long_is_started_again_at_once(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_FIRST_DELAY_SECONDS", 600.0)
    monkeypatch.setattr(supervisor, "_LONGEST_DELAY_SECONDS", 600.0)
    monkeypatch.setattr(supervisor, "_STEADY_SECONDS", 0.0)
    place = await start(SLEEP)
    await until(lambda: len(place.births) == 1)
    os.kill(place.births[0][1], signal.SIGKILL)

    await until(lambda: len(place.births) == 2)


async def test_a_first_process_that_refuses_is_reported_and_left_alone(start: Start) -> None:
    place = await start("tell(); os._exit(2)")

    await asyncio.wait_for(place.child.refused, TIMEOUT)

    assert not place.child.is_alive
    assert place.deaths == []
    assert place.logged("process.died") == []
    await place.child.stop(seconds=1)
    assert len(place.births) == 1


async def test_a_first_process_that_may_not_refuse_is_started_again(tmp_path: Path) -> None:
    """A handler may end its process with any status."""
    place = Place(tmp_path, "tell(); os._exit(2)")
    place.child.may_refuse = False
    await place.child.start()
    await until(lambda: len(place.births) >= 2)
    await place.child.stop(seconds=0)

    assert place.statuses[0] == 2
    assert not place.child.refused.done()


async def test_a_child_that_may_end_is_buried_and_not_started_again(tmp_path: Path) -> None:
    place = Place(tmp_path, "tell(); sys.argv[2] == '1' and os._exit(3); os._exit(0)", may_end=True)
    await place.child.start()
    await until(lambda: place.child.has_ended)

    assert [generation for generation, _, _ in place.births] == [1, 2]
    assert (place.deaths, place.statuses) == ([1, 2], [3, 0]), "its jobs are looked after in any case"
    assert len(place.logged("process.died")) == 1
    await place.child.stop(seconds=1)


@pytest.mark.parametrize("ending", ["os._exit(1)", "time.sleep(600)"], ids=["dies", "is stopped"])
async def test_what_a_child_has_started_ends_with_it(tmp_path: Path, ending: str) -> None:
    code = f"import subprocess; p = subprocess.Popen(['sleep', '600']); sys.argv[2] = p.pid; tell(); {ending}"
    place = Place(tmp_path, code)
    await place.child.start()
    await until(lambda: place.births)
    helper = place.births[0][0]  # it told its number as the generation
    await place.child.stop(seconds=0) if "sleep" in ending else None

    await until(lambda: not is_running(helper))
    await place.child.stop(seconds=0)


async def test_a_later_process_that_ends_like_a_refusal_is_started_again(start: Start) -> None:
    place = await start("tell(); sys.argv[2] == '1' and time.sleep(600); os._exit(2)")
    await until(lambda: len(place.births) == 1)
    os.kill(place.births[0][1], signal.SIGKILL)

    await until(lambda: len(place.births) >= 3)
    assert not place.child.refused.done()


async def test_only_the_first_process_inherits_a_descriptor_and_its_status_is_told(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    place = Place(tmp_path, f"tell(); os.write({writer}, b'hello'); os._exit(7)")
    await place.child.start(descriptors=(writer,))
    os.close(writer)
    assert await asyncio.wait_for(place.child.first_status, TIMEOUT) == 7
    await until(lambda: len(place.births) == 2)  # without it, this one fails at the write
    await until(lambda: place.deaths[-1:] == [2])
    await place.child.stop(seconds=TIMEOUT)
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read() == b"hello"
    assert [death["status"] for death in place.logged("process.died")][:2] == [7, 1]


async def test_stopping_asks_and_waits(start: Start) -> None:
    place = await start(f"signal.signal(15, lambda *_: (tell(), sys.exit(0))); {SLEEP}")
    await until(lambda: len(place.births) == 1)

    await place.child.stop(seconds=TIMEOUT)

    assert len(place.births) == 2  # its signal handler ran
    assert place.births[0][1] == place.births[1][1]
    assert not place.child.is_alive
    assert place.deaths == []
    assert place.logged("process.died") == []


async def test_stopping_ends_a_child_that_does_not_listen(start: Start) -> None:
    place = await start(STUBBORN)
    await until(lambda: len(place.births) == 1)
    began = time.monotonic()

    await place.child.stop(seconds=0.2)

    assert 0.2 <= time.monotonic() - began < 5
    assert not place.child.is_alive
    assert len(place.births) == 1


async def test_stopping_between_two_processes_starts_no_other_one(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_FIRST_DELAY_SECONDS", 0.3)
    place = await start("tell(); os._exit(1)")
    await until(lambda: place.deaths == [1])
    began = time.monotonic()

    await place.child.stop(seconds=TIMEOUT)

    assert time.monotonic() - began < 0.25
    await asyncio.sleep(0.4)  # longer than the wait that was under way
    assert len(place.births) == 1


async def test_stopping_what_was_never_started_is_fine(tmp_path: Path) -> None:
    await Place(tmp_path, SLEEP).child.stop(seconds=1)


async def test_stopping_twice_is_fine(start: Start) -> None:
    place = await start(SLEEP)

    await place.child.stop(seconds=1)
    await place.child.stop(seconds=1)

    assert not place.child.is_alive


async def test_a_moment_without_processes_is_waited_out(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = await start(SLEEP)
    await until(lambda: len(place.births) == 1)
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    os.kill(place.births[0][1], signal.SIGKILL)
    await until(lambda: len(place.logged("process.died")) >= 3)
    monkeypatch.undo()

    await until(lambda: len(place.births) == 2)
    assert place.logged("process.died")[1] == {"name": "the child", "reason": "No such file or directory"}


async def test_a_signal_reaches_the_process_that_runs(start: Start) -> None:
    place = await start(f"signal.signal(1, tell); {SLEEP}")
    await until(lambda: len(place.births) == 1)

    place.child.signal(signal.SIGHUP)

    await until(lambda: len(place.births) == 2)
    assert place.births[0][1] == place.births[1][1]


async def test_a_child_that_can_not_hear_of_a_reload_yet_is_replaced_without_alarm(start: Start) -> None:
    place = await start(SLEEP)
    await until(lambda: len(place.births) == 1)

    place.child.signal(signal.SIGHUP)

    await until(lambda: len(place.births) == 2)
    assert place.deaths == [1]
    assert place.logged("process.died") == []


async def test_a_child_is_not_reached_by_what_the_terminal_sends_its_parent(start: Start) -> None:
    place = await start(SLEEP)
    await until(lambda: len(place.births) == 1)

    assert os.getsid(place.births[0][1]) != os.getsid(0)


async def test_the_output_of_a_short_child_is_returned() -> None:
    assert await output_of(["-c", "print('first'); print('second')"]) == b"first\nsecond\n"


async def test_a_short_child_that_says_what_is_wrong_is_a_usage_error_without_more_words() -> None:
    with pytest.raises(UsageError, match=r"^$"):
        await output_of(["-c", "raise SystemExit(2)"])


async def test_a_short_child_that_fails_is_a_failed_command() -> None:
    with pytest.raises(CommandFailed, match="a child ended with status 3"):
        await output_of(["-c", "raise SystemExit(3)"])


async def test_a_short_child_ends_with_the_task_that_waits_for_it(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    task = asyncio.create_task(output_of(["-c", code]))
    await until(lambda: note.exists() and note.read_text("utf-8"))
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text("utf-8")), 0)


async def test_no_child_imports_from_the_working_directory(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "queue.py").write_text("raise SystemExit('the wrong queue')\n")
    monkeypatch.chdir(tmp_path)

    place = await start(f"import queue; {SLEEP}")
    shown = await output_of(["-c", "import queue; print(hasattr(queue, 'Queue'))"])

    assert shown == b"True\n"
    await until(lambda: place.births)
    assert place.logged("process.died") == []
