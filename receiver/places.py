"""How far all of a stream is done, when its messages are done in any order."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(slots=True)
class Place:
    """A message under way."""

    id: str
    is_done: bool = False


class Places:
    """Messages in the order of the stream."""

    def __init__(self) -> None:
        self._under_way: deque[Place] = deque()

    def __len__(self) -> int:
        """How many are not passed yet."""
        return len(self._under_way)

    def begin(self, id: str, *, is_done: bool = False) -> Place:  # noqa: A002 - the stream's own word
        """Add the next message; whoever is done with it says so on what is returned."""
        place = Place(id, is_done)
        self._under_way.append(place)
        return place

    def reached(self) -> str | None:
        """Pass all that is done up to the first that isn't: the last id, or None when nothing was passed."""
        last = None
        while self._under_way and self._under_way[0].is_done:
            last = self._under_way.popleft().id
        return last
