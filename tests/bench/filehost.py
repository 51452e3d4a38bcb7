"""Serve the files of a folder on a loopback port, as fast as the kernel sends them. Arguments: the folder.

Prints its port. A process of its own: what it needs must not be taken for the receiver's.
"""

from __future__ import annotations

import socket
import sys
import threading
from pathlib import Path

_HEAD = "HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nETag: {etag}\r\nConnection: close\r\n\r\n"


def main(folder: str) -> None:
    """Answer requests with the file that they name, until somebody ends the process."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        while True:
            connection, _ = server.accept()
            threading.Thread(target=_answer, args=(connection, Path(folder)), daemon=True).start()


def _answer(connection: socket.socket, folder: Path) -> None:
    asked = b""
    while b"\r\n\r\n" not in asked:
        asked += connection.recv(65536)
    source = folder / Path(asked.split(b" ")[1].decode()).name
    with connection, source.open("rb") as file:
        connection.sendall(_HEAD.format(size=source.stat().st_size, etag='"bench"').encode())
        connection.sendfile(file)


if __name__ == "__main__":
    main(*sys.argv[1:])
