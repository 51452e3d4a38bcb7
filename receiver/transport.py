"""The connections that leave the machine: a name is resolved once, every answer is checked, and only
a checked address is connected to, while the Host header and TLS keep the name.

The check sits where the socket is opened, so that nothing can come between the two. There is no
proxy, no redirect, no cookie and no `.netrc` here, because the pool below knows of none.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress

import certifi
import httpcore
import httpx

from receiver import egress
from receiver.connection import connect
from receiver.errors import Hopeless, Unfinished, Unreachable
from receiver.upload import Upload

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"([\x21-\x7e]([\t\x20-\x7e]*[\x21-\x7e])?)?")
_OUR_HEADERS = {"host", "connection", "content-length", "transfer-encoding", "accept-encoding"}

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]


class Answer:
    """An answer whose head has arrived; iterate over it once for the bytes of its body.

    Names in `headers` are in lower case; what was sent several times is joined by ", ". Iteration
    raises Unfinished when the body is cut off, and Hopeless when it is compressed: a kilobyte of that
    can be a gigabyte of zeros.
    """

    def __init__(self, response: httpcore.Response) -> None:
        self.status = response.status
        self.headers: dict[str, str] = {}
        self._response = response
        for raw_name, raw_value in response.headers:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            self.headers[name] = f"{self.headers[name]}, {value}" if name in self.headers else value

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise Hopeless("the answer is compressed, which was not asked for")
        with _network_errors():
            async for chunk in self._response.aiter_stream():
                yield chunk

    async def read(self, *, limit: int) -> bytes:
        """Read the body until it ends or has become longer than `limit` bytes."""
        body = bytearray()
        async for chunk in self:
            body += chunk
            if len(body) > limit:
                break
        return bytes(body)


class Transport:
    """A pool of checked connections for one event loop.

    `tls` is what verifies servers, by default with certifi's list of authorities. `connect_seconds`
    limits name resolution with connecting, and TLS; `idle_seconds` every silence. With `allow_private`
    its connections may lead into private networks.
    """

    def __init__(
        self,
        *,
        resolver: Resolver | None,
        tls: ssl.SSLContext | None,
        connect_seconds: float,
        idle_seconds: float,
        allow_private: bool = False,
    ) -> None:
        self._timeouts = {"connect": connect_seconds, "read": idle_seconds, "write": idle_seconds}
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls or ssl.create_default_context(cafile=certifi.where()),
            max_connections=None,
            max_keepalive_connections=8,
            keepalive_expiry=5.0,
            network_backend=_CheckedNetwork(resolver or resolve, allow_private=allow_private),
        )

    @asynccontextmanager
    async def exchange(
        self, method: str, url: httpx.URL, headers: Mapping[str, str], content: bytes | Upload | None = None
    ) -> AsyncIterator[Answer]:
        """Send one request to a URL that `egress` has read. Raise Hopeless or Unfinished."""
        if not _TOKEN.fullmatch(method):
            raise Hopeless("the method is not an HTTP method")
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        async with AsyncExitStack() as stack:
            with _network_errors():
                request = self._pool.stream(
                    method,
                    target,
                    headers=_outgoing(headers, url, content),
                    content=content,
                    extensions={"timeout": self._timeouts},
                )
                answer = Answer(await stack.enter_async_context(request))
            yield answer

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()


async def resolve(host: str, port: int) -> Sequence[str]:
    """Ask the system for the addresses of a host. Raise OSError or UnicodeError."""
    loop = asyncio.get_running_loop()
    answers = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))


def _outgoing(
    headers: Mapping[str, str], url: httpx.URL, content: bytes | Upload | None
) -> list[tuple[str, str]]:
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name) or name.lower() in _OUR_HEADERS or not _HEADER_VALUE.fullmatch(value):
            raise Hopeless("a request header has a name or value that can't be sent")
    ours = [("Host", url.netloc.decode("ascii")), ("Accept-Encoding", "identity")]
    if "user-agent" not in {name.lower() for name in headers}:
        ours.append(("User-Agent", "receiver"))
    if isinstance(content, Upload):
        ours.append(("Content-Length", str(content.length)))
    return ours + list(headers.items())


@contextmanager
def _network_errors() -> Iterator[None]:
    """Turn whatever the network does into Unfinished or Unreachable, with the kind of error and nothing else.

    The original is not chained: its text can quote what the other side sent.
    """
    try:
        yield
    except httpcore.TimeoutException as error:
        kind = Unreachable if isinstance(error, httpcore.ConnectTimeout) else Unfinished
        raise kind(f"the other side was silent for too long ({type(error).__name__})") from None
    except httpcore.ProtocolError as error:
        raise Unfinished(f"the answer was cut off or is not HTTP ({type(error).__name__})") from None
    except httpcore.NetworkError as error:
        kind = Unreachable if isinstance(error, httpcore.ConnectError) else Unfinished
        if _has_cause(error, ssl.SSLCertVerificationError):
            raise kind("the server's certificate could not be verified") from None
        if _has_cause(error, ssl.SSLError):
            raise kind("TLS could not be agreed on") from None
        raise kind(f"the connection failed ({type(error).__name__})") from None


def _has_cause(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error is not None


class _CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Opens sockets to permitted addresses only."""

    def __init__(self, resolver: Resolver, *, allow_private: bool) -> None:
        self._resolver = resolver
        self._allow_private = allow_private

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                found = await self._addresses(host, port)
                addresses = egress.permitted(host, found, allow_private=self._allow_private)
                return await self._first_answering(addresses, port, timeout)
        except TimeoutError:
            raise httpcore.ConnectTimeout from None

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        try:
            return [str(ipaddress.ip_address(host))]
        except ValueError:
            pass
        try:
            return await self._resolver(host, port)
        except (OSError, UnicodeError):
            raise Unreachable("the host's name could not be resolved") from None

    async def _first_answering(
        self, addresses: Sequence[str], port: int, timeout: float | None
    ) -> httpcore.AsyncNetworkStream:
        # Each address gets its share of the time, so that a dead first one leaves some for the next.
        share = None if timeout is None else timeout / len(addresses)
        for address in addresses[:-1]:
            with suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return await connect(address, port, share)
        return await connect(addresses[-1], port, share)
