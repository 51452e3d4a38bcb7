"""The socket that `serve` listens on: made, or taken over, before anything else, apart from the server."""

from __future__ import annotations

import socket
from contextlib import ExitStack

from receiver.errors import UsageError


def bind(host: str, port: int) -> socket.socket:
    """A listening TCP socket. Raise OSError with the system's reason."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    with ExitStack() as failing:
        failing.callback(listener.close)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
        listener.setblocking(False)
        failing.pop_all()
    return listener


def inherited(descriptor: int) -> socket.socket:
    """The listening TCP socket that whoever started this process left open for it; its children don't get it.

    Raise UsageError when it is nothing of the kind.
    """
    try:
        listener = socket.socket(fileno=descriptor)
    except OSError as error:
        raise UsageError(f"can't listen on descriptor {descriptor}: {error.strerror}") from error
    if not _is_listening(listener):
        listener.detach()  # whatever it is, it is not ours
        raise UsageError(f"can't listen on descriptor {descriptor}: it is not a TCP socket that listens")
    listener.set_inheritable(False)
    listener.setblocking(False)
    return listener


def _is_listening(listener: socket.socket) -> bool:
    is_tcp = listener.family in (socket.AF_INET, socket.AF_INET6) and listener.proto == socket.IPPROTO_TCP
    return is_tcp and listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
