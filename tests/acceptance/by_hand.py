"""Requests that are written by hand, byte by byte, as no client would send them."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Sequence

import httpx

from tests.acceptance.conftest import Receiver


def address_of(receiver: Receiver) -> tuple[str, int]:
    """Host and port of a running receiver."""
    url = httpx.URL(receiver.url)
    assert url.port is not None
    return url.host, url.port


def request_of(lines: Sequence[bytes], body: bytes) -> bytes:
    """A whole callback with these header lines."""
    head = [b"POST /webhooks/opennote HTTP/1.1", b"Host: x", b"Content-Length: %d" % len(body), *lines]
    return b"\r\n".join([*head, b"", body])


def exchange(receiver: Receiver, request: bytes, *, method: str = "POST") -> tuple[int, bytes]:
    """Send bytes, and give status and body of what comes back; an answer to a HEAD has none."""
    with socket.create_connection(address_of(receiver), timeout=10) as connection:
        connection.sendall(request)
        response = http.client.HTTPResponse(connection, method=method)
        response.begin()
        return response.status, response.read()
