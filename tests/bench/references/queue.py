"""huey on SQLite with its WAL and a full sync: how fast it does nothing. Arguments: a folder, how many tasks.

Prints the seconds from the consumer's start to the last task's end.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from huey import SqliteHuey

_WORKERS = 1
"""More of them only get into each other's way: 4,600 a second with one, 4,100 with two or four."""


def main(folder: Path, count: int) -> float:
    """Enqueue the tasks, then let a consumer with threads do them all."""
    queue = SqliteHuey("bench", filename=str(folder / "huey.db"), fsync=True, results=False)
    left = count
    lock = threading.Lock()
    done = threading.Event()

    @queue.task()  # type: ignore[untyped-decorator]
    def nothing(number: int) -> None:
        nonlocal left
        with lock:
            left -= 1
            if not left:
                done.set()

    for number in range(count):
        nothing(number)
    consumer = queue.create_consumer(
        workers=_WORKERS, worker_type="thread", initial_delay=0.01, max_delay=0.05
    )
    began = time.monotonic()
    consumer.start()
    done.wait()
    seconds = time.monotonic() - began
    consumer.stop()
    return seconds


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), int(sys.argv[2])))
