"""Calls of the store and of ingress that fail, one after another: strace injects the error.

Each call of a small workload is made to fail in its turn, until there is none left. What the store can
no longer vouch for ends it; what only failed this once is refused; and then it goes on.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import httpx

from tests.acceptance.conftest import NO_TLS, until
from tests.torture.load import Connection, Post, large, small
from tests.torture.report import Counts
from tests.torture.stand import OPTIONS, Stand, standing

_STORE = "receiver.store.process"
_FATAL = 4
"""The exit status of a store that does not know what is on its disk."""
_REFUSED = 2
_STRACE_SECONDS = 5.0
_MOST_DEATHS = 3
"""Of the store of one serve: it is started again ever later."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of call that fails with an error."""

    calls: str
    error: str
    workload: tuple[Callable[[str], Post], ...]
    is_in_store: bool = True

    @property
    def is_fatal(self) -> bool:
        """Whether nobody knows afterwards what is on the disk. A full disk is no such case."""
        return self.is_in_store and self.error == "EIO"

    def __str__(self) -> str:
        who = "ingress" if not self.is_in_store else "the store" if self.workload else "a store that starts"
        return f"{self.error} from {self.calls} of {who}"


FAULTS = (
    Fault("fdatasync,fsync", "EIO", (small, large, small)),
    Fault("pwrite64", "EIO", (small, large)),
    Fault("pwrite64", "ENOSPC", (small, large)),
    Fault("fsync", "EIO", (large, large), is_in_store=False),
    Fault("rename", "EIO", (large,), is_in_store=False),
)
AT_THE_START = Fault("pwrite64", "EIO", ())
_CALLS_OF_A_START = 10


def break_disk(folder: Path, *, step: int, tell: Callable[[str], None] = lambda _: None) -> Counts:
    """Fail every call of each kind in turn; of the many writes every `step`th."""
    counts = Counts("eio")
    with standing(folder / "eio") as stand:
        for fault in FAULTS:
            _all_of(fault, stand, step if fault.calls == "pwrite64" else 1, counts)
            tell(f"{counts.notes[f'{fault}, injected']} × {fault}, {len(counts.problems)} problems")
        _at_the_start(stand, step, counts)
        tell(f"{counts.notes[f'{AT_THE_START}, injected']} × {AT_THE_START}")
        stand.finish(counts)
    return counts


def _all_of(fault: Fault, stand: Stand, step: int, counts: Counts) -> None:
    deaths = 0
    stand.receiver.start("--no-worker", *OPTIONS)
    for nth in count(1, step):
        if deaths == _MOST_DEATHS:
            stand.receiver.stop()
            stand.receiver.start("--no-worker", *OPTIONS)
            deaths = 0
        if not _fail(stand, fault, nth, counts):
            break
        counts.runs += 1
        counts.notes[f"{fault}, injected"] += 1
        deaths += fault.is_fatal
    if nth == 1:
        counts.problems.append(f"{fault}: it never happened")
    stand.receiver.stop()
    counts.saw(stand.look())


def _fail(stand: Stand, fault: Fault, nth: int, counts: Counts) -> bool:
    """Make the nth call fail; say whether there was one."""
    receiver = stand.receiver
    died = len(receiver.log("process.died"))
    pid = receiver.child(_STORE) if fault.is_in_store else receiver.pid
    connection, name = Connection(receiver.url, stand.ledger), f"fault{FAULTS.index(fault)}-{nth}"
    with _injected(pid, fault, nth, receiver.folder / "strace") as log:
        statuses = []
        for number, kind in enumerate(fault.workload):
            statuses.append(connection.post(kind(f"{name}-{number}")))
            if statuses[-1] != 200:
                break
        ready = httpx.get(f"{receiver.url}/readyz", verify=NO_TLS, trust_env=False).status_code
    has_fired = "(INJECTED)" in log.read_text()
    # The call may also belong to what /readyz writes; then that has to say so.
    was_told = statuses[-1] == 503 or ready == 503
    if set(statuses[:-1]) - {200} or statuses[-1] not in (200, 503) or was_told != has_fired:
        counts.problems.append(f"{fault}, call {nth}: answered with {statuses}")
    if has_fired and fault.is_fatal:
        if ready != 503:
            counts.problems.append(f"{fault}, call {nth}: ready right afterwards")
        said = receiver.logged("process.died", count=died + 1)[-1]
        if (said["name"], said["status"]) != ("store", _FATAL) or not receiver.log("store.failed"):
            counts.problems.append(f"{fault}, call {nth}: the store ended with {said['status']}")
    elif len(receiver.log("process.died")) > died:
        counts.problems.append(f"{fault}, call {nth}: a process died of it")
    until(lambda: connection.post(small(f"{name}-after")) == 200, what="200 again")
    connection.close()
    return has_fired


def _at_the_start(stand: Stand, step: int, counts: Counts) -> None:
    """A store that is started again, and can't: it is started until it can, and has forgotten nothing."""
    receiver = stand.receiver
    for nth in range(1, _CALLS_OF_A_START + 1, step):
        receiver.start("--no-worker", *OPTIONS)
        connection = Connection(receiver.url, stand.ledger)
        connection.post(large(f"start{nth}"))
        died = len(receiver.log("process.died"))
        with _injected(receiver.pid, AT_THE_START, nth, receiver.folder / "strace") as log:
            os.kill(receiver.child(_STORE), signal.SIGKILL)
            said = receiver.logged("process.died", count=died + 2)
        if "(INJECTED)" not in log.read_text() or said[-1]["status"] not in (_REFUSED, _FATAL):
            counts.problems.append(f"{AT_THE_START}, call {nth}: ended with {said[-1]['status']}")
        until(lambda: connection.post(small(f"start{nth}-after")) == 200, what="200 again")  # noqa: B023
        connection.close()
        receiver.stop()
        counts.saw(stand.look())
        counts.runs += 1
        counts.notes[f"{AT_THE_START}, injected"] += 1


@contextmanager
def _injected(pid: int, fault: Fault, nth: int, log: Path) -> Iterator[Path]:
    """Let the nth call of a running process fail; with its threads, each counted for itself."""
    options = ["-f", "-p", str(pid), "-o", str(log), "-e", f"trace={fault.calls}"]
    inject = f"inject={fault.calls}:error={fault.error}:when={nth}"
    said = log.with_suffix(".err")
    with (
        said.open("wb") as errors,
        subprocess.Popen(
            ["strace", *options, "-e", inject], stdin=subprocess.DEVNULL, stderr=errors
        ) as process,
    ):
        try:
            until(lambda: "attached" in said.read_text(), what="strace")
            yield log
        finally:
            # strace that is told to end while its process ends may wait for ever, and hold it.
            with suppress(subprocess.TimeoutExpired):
                if fault.is_fatal and fault.workload and "(INJECTED)" in log.read_text():
                    process.wait(_STRACE_SECONDS)
            process.terminate()  # it lets go of the process
            try:
                process.wait(_STRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
