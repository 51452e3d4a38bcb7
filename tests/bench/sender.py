"""Send callbacks at a fixed rate. Arguments: port, file of the request's template, rate a second, seconds."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import uvloop

from tests.bench import callbacks


class Sender:
    """Many connections, each taking the next request when it is free; a late one counts as late."""

    def __init__(self, port: int, template: bytes, *, rate: float, seconds: float) -> None:
        self._port = port
        self._template = template
        self._rate = rate
        self._total = int(rate * seconds)
        self._numbers: Iterator[int] = count()
        self._run = callbacks.new_run()
        self._start = 0.0
        self.latencies: list[float] = []
        self.bad = 0
        self.took = 0.0

    async def send_all(self) -> None:
        """Send everything and wait for every answer."""
        pairs = [await asyncio.open_connection("127.0.0.1", self._port) for _ in range(callbacks.CONNECTIONS)]
        self._start = time.perf_counter()
        try:
            await asyncio.gather(*(self._serve(reader, writer) for reader, writer in pairs))
        finally:
            self.took = time.perf_counter() - self._start
            for _, writer in pairs:
                writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in self._numbers:
            if number >= self._total:
                return
            due = self._start + number / self._rate
            await asyncio.sleep(due - time.perf_counter())
            name = callbacks.video_id(self._run, number).encode()
            writer.write(self._template.replace(callbacks.ID_MARK.encode(), name))
            if not await _is_fine(reader):
                self.bad += 1
                return
            self.latencies.append(time.perf_counter() - due)


async def _is_fine(reader: asyncio.StreamReader) -> bool:
    """Read one answer; whether it is a 200, and not a connection that was closed."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
    except (asyncio.IncompleteReadError, ConnectionError):
        return False
    length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
    await reader.readexactly(length)
    return head.startswith(b"http/1.1 200 ")


def main(port: str, template: str, rate: str, seconds: str) -> None:
    """Send, then say as JSON what was seen."""
    request = Path(template).read_bytes()
    sender = Sender(int(port), request, rate=float(rate), seconds=float(seconds))
    uvloop.run(sender.send_all())
    latencies = sorted(sender.latencies)
    report = {
        "requests": len(latencies),
        "bad": sender.bad,
        "per_second": len(latencies) / sender.took,
        "p50_ms": latencies[len(latencies) // 2] * 1000,
        "p99_ms": latencies[len(latencies) * 99 // 100] * 1000,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
