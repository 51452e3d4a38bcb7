"""Links: what is allowed leads to the configured host, scheme and port, and lies under its base."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

import httpx

from receiver import egress
from receiver.errors import Hopeless

_BASES = {
    "https://videos-example.s3.us-east-1.amazonaws.com": (
        *("https", "videos-example.s3.us-east-1.amazonaws.com", "443", ""),
    ),
    "https://api.example/v1": ("https", "api.example", "443", "/v1"),
    "http://127.0.0.1:8100/files/": ("http", "127.0.0.1", "8100", "/files"),
    "http://[::1]:8100": ("http", "[::1]", "8100", ""),
}
_ODD = (
    *("https://evil.example/a", "//api.example/v1", "https://u:p@api.example/v1/a", "https:/api.example/v1"),
    *(
        "https://api.example:443@evil.example/v1",
        "https://api.example\\@evil.example/v1",
        "https://api.example./v1",
    ),
    *("https://api.example/v1/../a", "https://api.example/v1/%2e%2e/a", "https://api.example/v1/a#b"),
    *("https://api\uff0eexample/v1", "https://api.example:0443/v1", "HTTPS://API.EXAMPLE/v1?x=/../y"),
)
SEEDS = [
    *(
        bytes([index]) + f"{base}{tail}".encode()
        for index, base in enumerate(_BASES)
        for tail in ("", "/a.mp4?b=c")
    ),
    *(b"\x01" + link.encode() for link in _ODD),
    b"\x01https://xn--441/v1",
]
DICTIONARY = [
    *(text.encode() for base in _BASES.values() for text in base if text),
    *(
        b"http://",
        b"https://",
        b"://",
        b"@",
        b":",
        b":443",
        b":0443",
        b"/",
        b"//",
        b"/../",
        b"/./",
        b"..",
        b"\\",
    ),
    *(b"%2e", b"%2f", b"%5c", b"%00", b"%0a", b"%25", b"?", b"#", b"[", b"]", b" ", b"\t", b"\n", b"\x00"),
    *("．。｡\u200b\u202e\u00a0ⅴ４ſK".encode()[i : i + 3] for i in (0, 3, 6, 9, 12)),
    *(b"xn--", b"\xc5\xbf", b"\xe2\x84\xaa", b".example", b"localhost", b"127.1", b"::ffff:127.0.0.1"),
]
_SEGMENTS = r"(?:/[A-Za-z0-9_-]+)*(?:\?[A-Za-z0-9=&]*)?"
_PLAIN = {base: re.compile(re.escape(base.rstrip("/")) + _SEGMENTS) for base in _BASES}


def check(data: bytes) -> None:
    """The first byte chooses the base, the others are the link."""
    base = list(_BASES)[data[0] % len(_BASES)] if data else "https://api.example/v1"
    link = data[1:].decode("utf-8", "surrogateescape")
    try:
        allowed = egress.under(link, base=base)
    except Hopeless:
        is_plain = _PLAIN[base].fullmatch(link)
        assert not is_plain
        return
    scheme, host, port, prefix = _BASES[base]
    path = _path_behind(link, scheme, host, port)
    # The client must read it in the same way, once and twice.
    for read in (allowed, httpx.URL(link), httpx.URL(str(allowed))):
        assert (read.scheme, read.host) == (scheme, host.strip("[]"))
        assert str(read.port or {"https": 443, "http": 80}[scheme]) == port
        assert not read.userinfo
        assert not read.fragment
        target = read.raw_path.decode("ascii")
        assert re.fullmatch(r"[!-~]+", target)
        assert unquote_to_bytes(target.partition("?")[0]) == unquote_to_bytes(path or "/")
    assert path == prefix or path.startswith(prefix + "/")
    assert not {b".", b".."} & set(re.split(rb"[/\\]", unquote_to_bytes(path)))


def _path_behind(link: str, scheme: str, host: str, port: str) -> str:
    """Take a link apart by hand, and see that it leads where it should."""
    assert link.isprintable()
    assert not set(" \\#") & set(link.partition("?")[0])
    assert link[: len(scheme) + 3].isascii()
    assert link[: len(scheme) + 3].lower() == f"{scheme}://"
    rest = link[len(scheme) + 3 :]
    authority = re.split("[/?]", rest, maxsplit=1)[0]
    assert authority.isascii()
    assert authority[: len(host)].lower() == host
    after = authority[len(host) :]
    assert int(after.removeprefix(":") or (443 if scheme == "https" else 80)) == int(port)
    assert not after or after[0] == ":"
    return rest[len(authority) :].partition("?")[0]
