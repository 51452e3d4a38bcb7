"""Which links may be followed and which addresses may be reached: rules only, no I/O."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import unquote

from receiver.errors import Hopeless, Unreachable

if TYPE_CHECKING:
    import httpx

_LONGEST_URL = 8192
_PARTS = re.compile(r"(https?)://([^/?#]*)([^?#]*)(?:\?[^#]*)?", re.IGNORECASE)
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::([0-9]{1,5}))?", re.IGNORECASE | re.ASCII)

# `ipaddress` alone is not enough: it calls multicast, NAT64 and 6to4 global, and Python 3.11 does
# not know the newer reservations. So IPv6 starts from the one block that is handed out (2000::/3).
_CLOSED_V4 = [
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
    )
]
# What an operator's own network is made of, without the addresses at which clouds give their keys away.
_PRIVATE = [
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
]
_METADATA = [
    ipaddress.ip_network(text) for text in ("100.100.100.200/32", "fd00:ec2::/32", "fd20:ce::254/128")
]
_OPEN_V6 = ipaddress.IPv6Network("2000::/3")
_CLOSED_V6 = [
    ipaddress.IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
]


def is_public(address: str) -> bool:
    """Whether an IP address is ordinary unicast on the public internet; False for what is none."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv4Address):
        return parsed.is_global and not any(parsed in network for network in _CLOSED_V4)
    if parsed.scope_id is not None or parsed not in _OPEN_V6:
        return False
    return parsed.is_global and not any(parsed in network for network in _CLOSED_V6)


def is_private(address: str) -> bool:
    """Whether an IP address belongs to a private network; False for link-local and cloud metadata."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.scope_id is not None:
        return False
    return any(parsed in network for network in _PRIVATE) and not any(
        parsed in network for network in _METADATA
    )


def is_loopback(address: str) -> bool:
    """Whether an IP address, written in its usual form, is this machine's own."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def names_loopback(host: str) -> bool:
    """Whether a host as written in a URL means this machine: a loopback address, or `localhost`."""
    return host == "localhost" or is_loopback(host)


def permitted(host: str, addresses: Sequence[str], *, allow_private: bool = False) -> Sequence[str]:
    """Return the addresses that `host` resolved to, if every single one may be connected to.

    A host that names the loopback must stay there, every other one must be public, or with
    `allow_private` in a private network. One bad answer among good ones spoils all: whoever mixes
    them is not to be trusted. Raise Hopeless; raise Unreachable when there is no address.
    """
    if not addresses:
        raise Unreachable("the host's name has no address")
    if names_loopback(host):
        is_fine = all(map(is_loopback, addresses))
    else:
        is_fine = all(is_public(each) or (allow_private and is_private(each)) for each in addresses)
    if not is_fine:
        kind = "neither a public nor a private one" if allow_private else "not a public one"
        raise Hopeless(f"the host's address is {kind}")
    return addresses


def parse(url: str) -> httpx.URL:
    """Read a link strictly; the result is the only reading that is ever used.

    Raise Hopeless for anything but a plain https link (http for a loopback host): user names,
    fragments, backslashes, white space, control and format characters, hosts that are not ASCII or
    end in a dot, dot segments in the path, encoded or not.
    """
    import httpx

    host, path = _spelling(url)
    try:
        parsed = httpx.URL(url)
        read_host = parsed.host
    except (httpx.InvalidURL, ValueError):  # of a host like xn--441 only when it is asked for
        raise Hopeless("the link is not a valid URL") from None
    # Two readings that differ are how a host is smuggled past a check.
    if read_host != host.lower().strip("[]") or not 0 < (parsed.port or 443) < 65536:
        raise Hopeless("the link's host or port is ambiguous")
    _check_path(path)
    if parsed.scheme != "https" and not names_loopback(parsed.host):
        raise Hopeless("the link is plain http, which is allowed for loopback hosts only")
    return parsed


def under(url: str, *, base: str) -> httpx.URL:
    """Read a link strictly, and require that it lies under `base`.

    Scheme, host and port must be the same; the path must be that of `base` or continue it at a
    slash. Raise Hopeless.
    """
    link, allowed = parse(url), parse(base)
    if (link.scheme, link.host, link.port) != (allowed.scheme, allowed.host, allowed.port):
        raise Hopeless("the link does not lead to the host that is configured for its source")
    prefix, path = _encoded_path(allowed).rstrip(b"/"), _encoded_path(link)
    if path != prefix and not path.startswith(prefix + b"/"):
        raise Hopeless("the link does not lie under the base URL that is configured for its source")
    return link


def _spelling(url: str) -> tuple[str, str]:
    """Return host and path as they are written, when nothing about the spelling is odd."""
    if len(url) > _LONGEST_URL:
        raise Hopeless(f"the link is longer than {_LONGEST_URL} characters")
    if not url.isprintable() or " " in url or "\\" in url:
        raise Hopeless("the link holds a backslash, white space or an invisible character")
    parts = _PARTS.fullmatch(url)
    if parts is None:
        raise Hopeless("the link is not https, or has a fragment")
    authority = _AUTHORITY.fullmatch(parts[2])
    if authority is None or authority[1].endswith(".") or ".." in authority[1]:
        raise Hopeless("the link's host is not a plain ASCII name, or has a user name before it")
    return authority[1], parts[3]


def _check_path(path: str) -> None:
    decoded = unquote(path).replace("\\", "/")
    if not {".", ".."}.isdisjoint(decoded.split("/")):
        raise Hopeless("the link's path has dot segments")
    if any(ord(character) < 32 or ord(character) == 127 for character in decoded):
        raise Hopeless("the link's path has control characters")


def _encoded_path(url: httpx.URL) -> bytes:
    return url.raw_path.partition(b"?")[0]
