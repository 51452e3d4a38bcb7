"""Which handlers there are, for those who must not load them: a child does, and ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import orjson

from receiver.errors import CommandFailed
from receiver.router import HandlerCard
from receiver.supervisor import output_of


async def cards_of_child(config: Path | None, specs: Sequence[str]) -> list[HandlerCard]:
    """The cards of the handlers that the configuration loads, or else of `specs`.

    Raise UsageError (without text: the child has said it) when they can't be loaded, else CommandFailed.
    """
    chosen = [argument for spec in specs for argument in ("--handlers", spec)]
    where = ["--config", str(config)] if config else []
    lines = await output_of(["-m", "receiver", *where, "handlers", "--json", *chosen])
    return [_card(line) for line in lines.splitlines()]


def _card(line: bytes) -> HandlerCard:
    try:
        return HandlerCard.from_json(orjson.loads(line)["card"])
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        said = line[:80].decode("utf-8", "replace")
        mend = "let handler modules print to standard error"
        raise CommandFailed(
            f"the handlers can't be listed: standard output has the line {said!r}; {mend}"
        ) from error
