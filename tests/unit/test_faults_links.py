"""Links that lead elsewhere than they look: wherever they point, only what was checked is connected to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from receiver.client import SafeClient
from receiver.errors import Hopeless, Unfinished
from receiver.fetch import Fetcher, Pace
from tests.file_server import FileServer, serving_files

BUCKET = "videos-example.s3.us-east-1.amazonaws.com"
PUBLIC = "52.216.1.1"

INNER_HOSTS = [
    *("127.1", "127.0.1", "127.0.0.1.", "127.000.000.001", "0127.0.0.1", "0177.0.0.1", "0177.1"),
    *("0x7f.1", "0x7f.0.0.1", "0x7f000001", "0X7F000001", "2130706433", "017700000001", "1.2.3.4.5"),
    *("0", "0.0.0.0", "00.0.0.0", "000000", "127.0.0.1%00", "127。0。0。1", "１２７.0.0.1", "①②⑦.0.0.1"),
    *("localhost.", "LOCALHOST.", "localhost.localdomain", "lo\u200bcalhost", "ip6-localhost"),
    *("foo@127.0.0.1", "127.0.0.1@videos.example", "127.0.0.1:80@videos.example", "localtest.example"),
    *("[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]"),
    *("[2002:7f00:1::]", "[fe80::1%25lo]", "[::1%25lo]", "[0:0:0:0:0:ffff:7f00:1]", "[::ffff:0:127.0.0.1]"),
    *("10.0.0.1", "169.254.169.254", "192.168.0.1", "172.16.0.1", "100.64.0.1", "100.100.100.200"),
    *("[fd00:ec2::254]", "[fc00::1]", "metadata.google.internal", "instance-data", "videos.example"),
]


@pytest.fixture
async def files() -> AsyncIterator[FileServer]:
    async with serving_files() as server:
        yield server


async def to_loopback(_: str, __: int) -> Sequence[str]:
    """Resolve every name to this machine, as an attacker's name server would."""
    return ["127.0.0.1"]


class Connections:
    """Every address that a socket is to be connected to; `leads_to` is where public ones really go."""

    def __init__(self) -> None:
        self.targets: list[tuple[str, int]] = []
        self.leads_to: int | None = None

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        connect = asyncio.BaseEventLoop.create_connection

        async def watched(
            loop: asyncio.BaseEventLoop, factory: Callable[[], Any], host: str, port: int, **others: Any
        ) -> Any:
            self.targets.append((host, port))
            if self.leads_to is None:
                raise ConnectionRefusedError
            place = (host, port) if host == "127.0.0.1" else ("127.0.0.1", self.leads_to)
            return await connect(loop, factory, *place, **others)

        monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", watched)


@pytest.mark.anyio
@pytest.mark.fault("S1")
@pytest.mark.parametrize("host", INNER_HOSTS)
async def test_no_spelling_of_an_inner_host_is_ever_connected_to(files: FileServer, host: str) -> None:
    fetcher = Fetcher(max_bytes=10**6, resolver=to_loopback)
    for scheme in ("http", "https"):
        url = f"{scheme}://{host}:{files.port}"
        with pytest.raises(Hopeless):
            await SafeClient(fetcher).get(f"{url}/")
        with pytest.raises(Hopeless):
            async with fetcher.open(f"{url}/a.mp4", base=url):
                pass
    await fetcher.aclose()
    assert files.connections == 0


@pytest.mark.anyio
async def test_the_trap_of_these_tests_would_notice(files: FileServer) -> None:
    files.give("/", b"")
    fetcher = Fetcher(max_bytes=10**6, resolver=to_loopback)
    await SafeClient(fetcher).get(f"http://localhost:{files.port}/")
    await fetcher.aclose()
    assert files.connections == 1


@pytest.mark.anyio
@pytest.mark.fault("S4")
async def test_a_name_that_becomes_loopback_in_the_middle_of_a_download_is_not_followed_there(
    files: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [PUBLIC, "127.0.0.1"]
    asked: list[str] = []

    async def flipping(host: str, _: int) -> Sequence[str]:
        asked.append(host)
        return [answers[min(len(asked), 2) - 1]]

    connections = Connections()
    async with serving_files() as public:
        connections.watch(monkeypatch)
        connections.leads_to = public.port
        fetcher = Fetcher(max_bytes=10**6, resolver=flipping, pace=Pace(connect_seconds=0.2))
        url = f"https://videos.example:{files.port}/a.mp4"
        for error in (Unfinished, Hopeless):  # no TLS there; then the address has changed
            with pytest.raises(error):
                async with fetcher.open(url, base=url):
                    pass
        await fetcher.aclose()
        assert public.connections == 1
    assert asked == ["videos.example", "videos.example"]
    assert connections.targets == [(PUBLIC, files.port)]
    assert files.connections == 0


@pytest.mark.anyio
@pytest.mark.fault("S4")
async def test_the_answer_of_the_system_is_used_as_it_was_checked_whatever_it_says_next(
    files: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a resolver whose second answer is this machine, and which is asked by bytes or str."""
    asked: list[str | bytes] = []

    def flipping(host: str | bytes | None, port: int, *_: object, **__: object) -> list[Any]:
        asked.append(host or "")
        is_first = len(asked) == 1
        address = PUBLIC if is_first else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    connections = Connections()
    connections.watch(monkeypatch)
    monkeypatch.setattr(socket, "getaddrinfo", flipping)
    fetcher = Fetcher(max_bytes=10**6)
    url = f"https://videos.example:{files.port}/a.mp4"
    with pytest.raises(Unfinished):
        async with fetcher.open(url, base=url):
            pass
    await fetcher.aclose()
    assert asked == ["videos.example"]
    assert connections.targets == [(PUBLIC, files.port)]
    assert files.connections == 0


_SCHEMES = st.sampled_from(
    ["https://", "http://", "HTTPS://", "https:/", "https:\\\\", "//", "", "ftp://", " https://"]
)
_USERS = st.sampled_from(
    ["", "", "", "a@", "a:b@", "@", "evil.example@", "evil.example%40", "evil.example\\@"]
)
_HOSTS = st.sampled_from(
    [
        *(BUCKET, BUCKET, BUCKET, BUCKET.upper(), f"{BUCKET}.", f"{BUCKET}..", f"{BUCKET}.evil.example"),
        *(
            f"evil{BUCKET}",
            f"x.{BUCKET}",
            BUCKET.replace(".", "．"),
            BUCKET.replace(".", "。"),
            "evil.example",
        ),
        *(
            BUCKET.replace("e", "\u0435"),
            BUCKET.replace("s", "ſ"),
            f"{BUCKET}%2eevil.example",
            f"{BUCKET}\x00",
        ),
        *(
            "127.0.0.1",
            "[::1]",
            "s3.amazonaws.com",
            f"{BUCKET}\t",
            f"{BUCKET}\u200b",
            f"{BUCKET}%00.evil.example",
        ),
    ]
)
_PORTS = st.sampled_from(["", "", "", ":443", ":0443", ":80", ":", ":443:80", ":443@evil.example", ":４４３"])
_PATHS = st.sampled_from(
    [
        "/a.mp4",
        "/a.mp4?b=c",
        "",
        "/",
        "\\a",
        "#@evil.example",
        "?@evil.example",
        "/../a",
        "/%2e%2e/",
        "//evil.example/a",
    ]
)
_NOISE = st.text(st.sampled_from("/\\@#?:.%[]\t\r\n \x00\u202e．evil"), max_size=3)
LINKS = st.builds(lambda *parts: "".join(parts), _SCHEMES, _USERS, _HOSTS, _NOISE, _PORTS, _NOISE, _PATHS)


@pytest.mark.fault("S2")
def test_whatever_a_link_looks_like_the_socket_goes_to_the_bucket_or_nowhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The oracle is not what we think a link means, but whom the resolver and the kernel are asked for."""
    asked: set[tuple[str, int]] = set()
    accepted: list[str] = []

    async def recording(host: str, port: int) -> Sequence[str]:
        asked.add((host, port))
        return [PUBLIC]

    connections = Connections()
    connections.watch(monkeypatch)
    fetcher = Fetcher(max_bytes=10**6, resolver=recording)

    async def follow(link: str) -> None:
        async with fetcher.open(link, base=f"https://{BUCKET}"):
            pass

    with asyncio.Runner() as runner:

        @given(LINKS)
        @settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        def explore(link: str) -> None:
            try:
                runner.run(follow(link))
            except Unfinished:  # it was connected to, and refused
                accepted.append(link)
            except Hopeless:
                pass

        explore()
        runner.run(follow_plainly(fetcher))
        runner.run(fetcher.aclose())
    assert accepted
    assert asked == {(BUCKET, 443)}
    assert set(connections.targets) == {(PUBLIC, 443)}


async def follow_plainly(fetcher: Fetcher) -> None:
    with pytest.raises(Unfinished, match="connection failed"):
        async with fetcher.open(f"https://{BUCKET}/a.mp4", base=f"https://{BUCKET}"):
            pass
