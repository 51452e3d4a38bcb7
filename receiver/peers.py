"""Who sends bad credentials how often: a token bucket for each peer, in bounded memory."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable

from receiver.sources.base import Headers

BURST = 2000
"""Bad credentials that one peer may send at once: a sender with a wrong key is told 401 for long."""
PER_SECOND = 20.0
_MOST_PEERS = 10_000


class BadCredentials:
    """Counts refusals only; a request with valid credentials never asks here."""

    def __init__(
        self, *, clock: Callable[[], float], burst: int = BURST, per_second: float = PER_SECOND
    ) -> None:
        self._clock = clock
        self._burst = burst
        self._per_second = per_second
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def seconds_to_wait(self, peer: str) -> float:
        """Note one refusal: 0 while the peer is within its limit, else how long it should wait."""
        now = self._clock()
        left, since = self._buckets.pop(peer, (float(self._burst), now))
        left = min(float(self._burst), left + (now - since) * self._per_second)
        wait = 0.0 if left >= 1 else (1 - left) / self._per_second
        self._buckets[peer] = (left - 1 if left >= 1 else left, now)
        if len(self._buckets) > _MOST_PEERS:
            self._buckets.popitem(last=False)
        return wait


class TrustedProxies:
    """Addresses and networks, each as text; `in` says whether an address is one of them."""

    def __init__(self, proxies: Iterable[str]) -> None:
        self._networks = tuple(ipaddress.ip_network(proxy) for proxy in proxies)

    def __contains__(self, address: object) -> bool:
        if not self._networks:
            return False
        try:
            found = ipaddress.ip_address(str(address))
        except ValueError:
            return False
        if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
            found = found.ipv4_mapped  # how a socket for both shows an IPv4 peer
        return any(found in network for network in self._networks)


def peer_of(client: tuple[str, int] | None, headers: Headers, trusted: Container[str]) -> str:
    """The address that a request came from: behind a trusted proxy, the last one it forwarded.

    For logs and limits only; nothing is ever believed because of it.
    """
    address = client[0] if client else "unknown"
    if address not in trusted:
        return address
    hops = [hop.strip() for name, value in headers if name == b"x-forwarded-for" for hop in value.split(b",")]
    for hop in reversed(hops):
        text = hop.decode("latin-1")[:64]
        if text not in trusted:
            return text if text.isprintable() and text else address
    return address
