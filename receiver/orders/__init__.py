"""What people ask providers for: checked with the provider's own limits, and turned into a request.

Nothing here does I/O: fields and files' bytes in, mistakes or a request out; an answer in, its meaning out.
"""

from __future__ import annotations

from receiver.orders import gateway, openai, opennote
from receiver.orders.base import Endpoint, Image, Mistake, Order
from receiver.settings import OpennoteSettings, SourceSettings
from receiver.sources.base import ApiRequest

__all__ = ["Endpoint", "Image", "Mistake", "Order", "endpoint_of", "mistakes", "request"]

_MISTAKES = {
    "opennote": opennote.mistakes,
    "openai": openai.mistakes,
    "openai-compatible": gateway.mistakes,
}


def endpoint_of(table: SourceSettings) -> Endpoint:
    """Where orders for a source are sent, with the first of its live keys."""
    key = table.api_keys[0] if isinstance(table, OpennoteSettings) else table.api_key
    return Endpoint(table.api_url, key.get_secret_value())


def mistakes(kind: str, order: Order) -> list[Mistake]:
    """What the provider would refuse, before anything is sent; empty when nothing is known to be wrong."""
    return _MISTAKES[kind](order)


def request(kind: str, order: Order, *, at: Endpoint, callback: str | None, boundary: str) -> ApiRequest:
    """The paid request. `callback` is where the provider calls, for kinds that are told with each order;
    `boundary` parts the fields when a file goes with them.
    """
    if kind == "opennote":
        return opennote.request(order, at=at, callback=callback)
    return openai.request(order, at=at, boundary=boundary)
