"""Values of a configuration, each read by itself."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from receiver.settings.values import Host, Proxies


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "0.0.0.0", "::", "::1", "fe80::1%eth0", "localhost", "a-b.example"]
)
def test_an_address_and_a_name_are_hosts(host: str) -> None:
    assert TypeAdapter(Host).validate_python(host) == host


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("", "must not be empty; 0.0.0.0 listens on every address"),
        (" ", "expected an address or a host name"),
        ("[::1]", "expected an address or a host name"),
        ("http://localhost", "expected an address or a host name"),
    ],
)
def test_a_host_that_would_be_another_one_is_refused(host: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TypeAdapter(Host).validate_python(host)


def test_proxies_are_addresses_and_networks() -> None:
    proxies = ("10.0.0.1", "10.0.0.0/8", "::1", "2001:db8::/32")

    assert TypeAdapter(Proxies).validate_python(list(proxies)) == proxies


@pytest.mark.parametrize(
    ("proxy", "said"),
    [
        ("10.0.0.1/8", "the address of a network ends in zeros; write 10.0.0.0/8"),
        ("proxy.example.com", "expected addresses"),
        ("10.0.0.0/33", "expected addresses"),
        ("", "expected addresses"),
        ("*", "expected addresses"),
    ],
)
def test_a_proxy_that_would_never_match_is_refused(proxy: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TypeAdapter(Proxies).validate_python([proxy])
