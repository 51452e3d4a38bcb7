"""Run another program on what strangers made: little memory, little time, no files, no credentials.

It gets a session of its own and is killed with all that it started; when this process dies, even by
SIGKILL, it dies, too. It can read what this user can read: what it may open is for its arguments to say.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_CHUNK_BYTES = 64 * 1024
_ERRORS_BYTES = 4096
_TOO_LONG, _TOO_MUCH = "it took too long", "it wrote too much"
_LIMITS = str(Path(__file__).with_name("limits.py"))
# Nothing else of ours: the environment may hold credentials, and settings of libraries.
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended."""

    status: int
    """Its exit status; below zero the number of the signal that killed it; 127: it could not be started."""
    output: bytes
    """What it wrote to standard output, up to the limit."""
    errors: str
    """The last 4 KiB of what it wrote to standard error."""
    stopped: str | None
    """Why it was killed by us: it took too long, it wrote too much; None when it was not."""

    @property
    def how(self) -> str:
        """Say for people how it ended; quotes nothing that it said."""
        if self.stopped is not None:
            return self.stopped
        if self.status == 127:
            return "it could not be started"
        if self.status == -signal.SIGXCPU:
            return "it took too much of the processor's time"
        if self.status < 0:
            return f"it was killed by {signal.Signals(-self.status).name}"
        return f"exit status {self.status}"

    @property
    def may_differ_next_time(self) -> bool:
        """Whether a busy machine or a missing library may be why, not what it was given."""
        if self.stopped is not None:
            return self.stopped == _TOO_LONG
        return self.status in (127, -signal.SIGKILL)


async def run(
    command: Sequence[str], *, timeout_seconds: float, max_output: int, max_memory: int, joins_errors: bool
) -> Ended:
    """Run a program, named by its absolute path, to its end. `joins_errors`: stderr goes into the output."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", _LIMITS, str(os.getpid())),
        *(str(max_memory), str(math.ceil(timeout_seconds)), *command),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT if joins_errors else asyncio.subprocess.PIPE,
        cwd="/",
        env=_ENVIRONMENT,
        start_new_session=True,
    )

    def kill() -> None:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    output, errors, is_late = bytearray(), bytearray(), False
    try:
        async with asyncio.timeout(timeout_seconds):
            await asyncio.gather(
                _take(process.stdout, output, max_output, kill), _keep_last(process.stderr, errors)
            )
            await process.wait()
    except TimeoutError:
        is_late = True
    finally:
        kill()
        # Read to the end of its pipes, which else would stay open.
        await asyncio.gather(_keep_last(process.stdout, bytearray()), _keep_last(process.stderr, errors))
        status = await process.wait()
    stopped = _TOO_LONG if is_late else _TOO_MUCH if len(output) > max_output else None
    return Ended(status, bytes(output[:max_output]), errors.decode("utf-8", "replace"), stopped)


async def _take(
    stream: asyncio.StreamReader | None, kept: bytearray, most: int, kill: Callable[[], None]
) -> None:
    """Keep what a program writes; when it is more than `most`, end the program."""
    while stream is not None and (chunk := await stream.read(_CHUNK_BYTES)):
        kept += chunk[: most + 1 - len(kept)]
        if len(kept) > most:
            kill()


async def _keep_last(stream: asyncio.StreamReader | None, kept: bytearray) -> None:
    while stream is not None and (chunk := await stream.read(_CHUNK_BYTES)):
        kept += chunk
        del kept[:-_ERRORS_BYTES]
