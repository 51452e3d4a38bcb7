"""Send one large callback, its base64 straight from a file. Arguments: port, file, bytes of the body."""

from __future__ import annotations

import json
import socket
import sys
import time
from http.client import HTTPResponse
from pathlib import Path

from tests.bench import callbacks


def main(port: str, source: str, size: str) -> None:
    """Send it, then say as JSON how long it took until the answer was there."""
    name, before, behind = callbacks.inline_parts(callbacks.new_run())
    length = (int(size) - len(before) - len(behind)) // 4 * 4
    with Path(source).open("rb") as file, socket.create_connection(("127.0.0.1", int(port))) as connection:
        began = time.perf_counter()
        connection.sendall(callbacks.head(len(before) + length + len(behind), name) + before)
        connection.sendfile(file, 0, length)
        connection.sendall(behind)
        response = HTTPResponse(connection)
        response.begin()
        response.read()
        took = time.perf_counter() - began
    print(json.dumps({"seconds": took, "status": response.status}))


if __name__ == "__main__":
    main(*sys.argv[1:])
