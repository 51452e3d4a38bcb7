"""What a sandbox accepts when it starts."""

from __future__ import annotations

import pytest

from receiver.errors import UsageError
from receiver.sandbox.loopback import is_loopback
from receiver.sandbox.options import Options


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.8.7", "::1", "localhost", "LocalHost"])
def test_a_loopback_host_is_accepted(host: str) -> None:
    assert is_loopback(host)
    assert Options(host=host).host == host


@pytest.mark.parametrize(
    "host", ["", "0.0.0.0", "::", "10.0.0.1", "127.1", "2130706433", "example.com", "localhost.example.com"]
)
def test_any_other_host_is_a_usage_error(host: str) -> None:
    with pytest.raises(UsageError, match="loopback only"):
        Options(host=host)


@pytest.mark.parametrize("value", ["", " ", "a\nb", "clé", " padded"])
def test_what_cannot_stand_in_a_header_is_a_usage_error(value: str) -> None:
    with pytest.raises(UsageError, match="organization id"):
        Options(organization_id=value)
    with pytest.raises(UsageError, match="API key"):
        Options(api_keys=("fine", value))


@pytest.mark.parametrize(
    ("host", "base_url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8100"),
        ("localhost", "http://127.0.0.1:8100"),
        ("::1", "http://[::1]:8100"),
    ],
)
def test_the_base_url_is_made_of_the_address(host: str, base_url: str) -> None:
    assert Options(host=host).base_url == base_url


def test_keys_do_not_show_in_the_representation() -> None:
    assert "sk_secret" not in repr(Options(api_keys=("sk_secret",)))
