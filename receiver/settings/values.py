"""Values that a configuration may hold, checked as they are read."""

from __future__ import annotations

import ipaddress
import re
from datetime import timedelta
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr

from receiver.signing import read_secret
from receiver.units import Duration

_SENDERS_REPEAT = timedelta(hours=72)
"""How long the most patient known sender tries again (OpenAI)."""


def is_loopback(host: str) -> bool:
    """Say whether a host name or address can only mean this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _base_url(value: str) -> str:
    parts = urlsplit(value)
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("its port is not a number from 0 to 65535") from None
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError("expected a URL that begins with https://")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError("plain http is for loopback hosts only; use https://")
    if parts.query or parts.fragment or parts.username or parts.password:
        raise ValueError("expected a base URL without user, query or fragment")
    return value.rstrip("/")


def _host(value: str) -> str:
    if not value:
        raise ValueError(
            "must not be empty; 0.0.0.0 listens on every address, 127.0.0.1 on this machine only"
        )
    if not re.fullmatch(r"[\w.:%-]+", value):
        raise ValueError("expected an address or a host name, without port, blanks or brackets")
    return value


def _proxy(value: str) -> str:
    try:
        ipaddress.ip_network(value)
    except ValueError:
        try:
            near = ipaddress.ip_network(value, strict=False)
        except ValueError:
            raise ValueError("expected addresses (10.0.0.1) or networks (10.0.0.0/8)") from None
        raise ValueError(f"the address of a network ends in zeros; write {near}") from None
    return value


def _header_secret(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text:
        raise ValueError("must not be empty")
    if not re.fullmatch(r"[\x21-\x7e]+", text):
        raise ValueError("must be printable ASCII without blanks, as it travels in a header")
    return value


def _at_least_one(values: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    if not values:
        raise ValueError("needs at least one")
    return values


def _webhook_secret(value: SecretStr) -> SecretStr:
    if not value.get_secret_value():
        raise ValueError("must not be empty")
    read_secret(value.get_secret_value())
    return value


def _header_text(value: str) -> str:
    return _header_secret(SecretStr(value)).get_secret_value()


def _file_url(value: str, scheme: str, later: str) -> str:
    if value.startswith(later):
        raise ValueError(f"{later}… is not supported by this version; use {scheme}:///…")
    if not value.startswith(f"{scheme}:///") or len(value) <= len(scheme) + 4:
        raise ValueError(f"expected {scheme}:///path (relative) or {scheme}:////path (absolute)")
    return value


def _remembered(value: timedelta) -> timedelta:
    if value < _SENDERS_REPEAT:
        raise ValueError("at least 3d: senders repeat what they sent for so long, and it would pass for news")
    return value


Host = Annotated[str, AfterValidator(_host)]
Proxies = tuple[Annotated[str, AfterValidator(_proxy)], ...]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
HeaderSecret = Annotated[SecretStr, AfterValidator(_header_secret)]
HeaderSecrets = Annotated[tuple[HeaderSecret, ...], AfterValidator(_at_least_one)]
WebhookSecret = Annotated[SecretStr, AfterValidator(_webhook_secret)]
WebhookSecrets = Annotated[tuple[WebhookSecret, ...], AfterValidator(_at_least_one)]
HeaderText = Annotated[str, AfterValidator(_header_text)]
StoreUrl = Annotated[str, AfterValidator(lambda value: _file_url(value, "sqlite", "postgresql:"))]
BodiesUrl = Annotated[str, AfterValidator(lambda value: _file_url(value, "file", "s3:"))]
Remembered = Annotated[Duration, AfterValidator(_remembered)]
