"""Headers: only the exact right credentials are admitted, only plain JSON passes, and nothing raises."""

from __future__ import annotations

import ipaddress
import json
import string

from receiver.ingress import _is_json
from receiver.peers import TrustedProxies, peer_of
from receiver.sources.base import Admission
from receiver.sources.opennote import CHECKED
from tests.samples.reading import API_KEY, OLD_API_KEY, opennote, sample

_SOURCE = opennote(api_keys=[API_KEY, OLD_API_KEY])
_RIGHT = {name: [value] for name, value in sample("opennote", "completed_s3").headers if name in CHECKED} | {
    b"x-api-key": [API_KEY.encode(), OLD_API_KEY.encode()]
}
_TOKEN = frozenset((string.ascii_letters + string.digits + "!#$%&'*+.^_`|~-").encode())
_PEER, _PROXY = "192.0.2.1", "10.0.0.1"
_NETWORKS = ("10.0.0.0/8", "::1")
_TRUSTED = TrustedProxies(_NETWORKS)
_PLAIN = sample("opennote", "completed_s3").headers

_TYPES = (
    b"application/json",
    b"Application/Problem+JSON ; charset=UTF-8",
    b'application/json; x="a;charset=utf-16"; charset="utf-8";',
    b"application/json; charset=utf-16",
    b"multipart/form-data; boundary=x",
    b"text/json",
)
_HOPS = (b"203.0.113.9", b"203.0.113.9, 10.1.2.3", b"::1", b"::ffff:10.0.0.1", b"unknown", b"\xff", b"")


def _lines(*headers: tuple[bytes, bytes]) -> bytes:
    return b"".join(b"%b:%b\n" % header for header in headers)


SEEDS = [
    _lines(*_PLAIN),
    _lines(*_PLAIN, (b"x-api-key", OLD_API_KEY.encode())),
    *(_lines(*_PLAIN, (b"content-encoding", coding)) for coding in (b"gzip", b"identity", b"")),
    *(_lines((b"content-type", kind), *_PLAIN[1:]) for kind in _TYPES),
    *(_lines((b"x-forwarded-for", hops), *_PLAIN) for hops in _HOPS),
]
DICTIONARY = [
    *(_lines(header) for header in _PLAIN),
    *(name + b":" for name in (*CHECKED, b"content-type", b"content-encoding", b"x-forwarded-for")),
    *(value for values in _RIGHT.values() for value in values),
    *_TYPES,
    *_HOPS[:-1],
    *(b"\n", b";", b"=", b'"', b"charset=", b"utf-8", b"+json", b"\\", b"\t", b",", b"\xff", b"\x00"),
]


def check(data: bytes) -> None:
    """Each line is a header: its name, and behind a colon its value."""
    parts = [line.partition(b":") for line in data.split(b"\n") if line]
    headers = [(name.lower(), value) for name, _, value in parts]
    admission = _SOURCE.admit(headers)
    assert isinstance(admission, Admission) == _is_right(headers)
    assert _is_json(headers, dict(headers)) == _is_plain_json(headers)
    assert peer_of((_PEER, 1), headers, _TRUSTED) == _PEER
    assert peer_of((_PROXY, 1), headers, _TRUSTED) == _last_stranger(headers)
    kept = json.loads(_SOURCE.fingerprint(headers))
    assert [name for name, _ in kept] == [name.decode("latin-1") for name, _ in headers]
    assert not {API_KEY, OLD_API_KEY} & {value for _, value in kept}


def _is_right(headers: list[tuple[bytes, bytes]]) -> bool:
    checked = [(name, value) for name, value in headers if name in CHECKED]
    is_once = sorted(name for name, _ in checked) == sorted(CHECKED)
    return is_once and all(value in _RIGHT[name] for name, value in checked)


def _is_plain_json(headers: list[tuple[bytes, bytes]]) -> bool:
    kinds = [value for name, value in headers if name == b"content-type"]
    if len(kinds) != 1 or any(name == b"content-encoding" for name, _ in headers):
        return False
    media_type, *parameters = _outside_quotes(kinds[0].strip())
    main, _, sub = media_type.rstrip(b" \t").lower().partition(b"/")
    prefix = sub.removesuffix(b"+json")
    if main != b"application" or (sub != b"json" and (prefix == sub or not _is_token(prefix))):
        return False
    charsets = []
    for parameter in (parameter.strip(b" \t") for parameter in parameters):
        name, equals, value = parameter.partition(b"=")
        inner = value[1:-1] if len(value) > 1 and value[:1] == value[-1:] == b'"' else None
        is_quoted = inner is not None and not {b'"'[0], b"\\"[0]} & set(inner)
        if parameter and not (equals and _is_token(name) and (is_quoted or _is_token(value))):
            return False
        if name.lower() == b"charset":
            charsets.append(value.strip(b'"').lower())
    return charsets in ([], [b"utf-8"])


def _outside_quotes(text: bytes) -> list[bytes]:
    """Split at the semicolons that stand outside of quotes."""
    parts = [b""]
    for index, piece in enumerate(text.split(b'"')):
        head, *rest = [piece] if index % 2 else piece.split(b";")
        parts[-1] += (b'"' if index else b"") + head
        parts += rest
    return parts


def _is_token(text: bytes) -> bool:
    return bool(text) and set(text) <= _TOKEN


def _last_stranger(headers: list[tuple[bytes, bytes]]) -> str:
    for name, value in reversed(headers):
        for hop in reversed(value.split(b",") if name == b"x-forwarded-for" else []):
            text = hop.strip().decode("latin-1")[:64]
            if not _is_trusted(text):
                return text if text.isprintable() and text else _PROXY
    return _PROXY


def _is_trusted(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in ipaddress.ip_network(network) for network in _NETWORKS)
    except ValueError:
        return False
