"""What providers say of events that are recorded already: the verbs, their values, and their client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, Protocol

from receiver.store.values import Rejection

Ask = Callable[[str, Any], Awaitable[Any]]
"""Ask the store's process: a verb and its arguments."""


class Learned(NamedTuple):
    """What a provider says of the video of an event."""

    event: str
    """The event's id."""
    object: str
    """The provider's own object, as JSON."""
    title: str | None = None
    """None leaves it as it is."""
    expires_at: int | None = None
    """When the link stops working, in unix milliseconds; None when that isn't known."""


class Findings(Protocol):
    """Both verbs may be repeated: what is done already is not done again."""

    async def learn(self, learned: Learned) -> bool:
        """Keep the provider's object with an event, beside its body; False when there is no such event."""
        ...

    async def refute(self, event: str, rejection: Rejection) -> bool:
        """Mark an event (its id) as denied by its provider, and add to the rejections.

        It stays, with the warning `refuted`, and is known no more: the next news of the same is news.
        False when there is no such event, or it was refuted before.
        """
        ...


class RemoteFindings:
    """The findings of a store in another process."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def learn(self, learned: Learned) -> bool:
        """See `Findings`."""
        return bool(await self._ask("findings.learn", tuple(learned)))

    async def refute(self, event: str, rejection: Rejection) -> bool:
        """See `Findings`."""
        return bool(await self._ask("findings.refute", [event, tuple(rejection)]))
