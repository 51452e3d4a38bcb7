"""The rule that nothing of a sandbox leaves loopback: which hosts and which URLs are on this machine."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """Say whether a host is `localhost` or a loopback address; any other name is not, wherever it leads."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def problem_with(url: str) -> str | None:
    """Say why callbacks can't go to a URL; None when they can."""
    import httpx  # not above: `receiver sandbox --help` can do without

    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return "is not a URL"
    if parsed.scheme not in ("http", "https") or not parsed.host:
        return "is not an absolute http or https URL"
    if parsed.port is not None and not 0 < parsed.port < 65536:
        return "has no possible port"
    if not is_loopback(parsed.host):
        return "does not lead to a loopback address, and the sandbox calls back nowhere else"
    return None
