"""The API, put together: finds the operation, reads the question, answers whatever goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from receiver.answers import Receive, Scope, Send
from receiver.api import questions
from receiver.api.contents import Contents
from receiver.api.cursors import Cursors
from receiver.api.desk import Asked, Desk, Runner
from receiver.api.operations import OPERATIONS, Operation
from receiver.api.replies import Reply, busy, problem
from receiver.bodies import Bodies
from receiver.errors import Disconnected, NotFound, Refused, StoreError, Unavailable
from receiver.ration import Ration
from receiver.record import First
from receiver.store.base import Store


class Api:
    """What answers below `/api` whoever may ask; that was judged before."""

    def __init__(
        self,
        *,
        store: Store,
        bodies: Bodies,
        loop: asyncio.AbstractEventLoop,
        peer: Callable[[Scope], str],
        firsts: Callable[[], Sequence[First]],
        log: Any,
    ) -> None:
        """Made in a thread; `loop` is the one that it will answer on.

        `firsts` names the receiver's own jobs before all handlers.
        """
        self._log = log
        self._peer = peer
        self._replays = Runner(firsts)
        self._ration = Ration(lambda untold: log.info("originals.summed", **untold))
        self._is_closed = False
        self._desk = Desk(
            store=store,
            contents=Contents(bodies),
            cursors=Cursors(store.redactor_key),
            revealed=self._tell,
            loop=loop,
            replays=self._replays,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        reply = await self._reply(scope, receive)
        await reply.send(scope, receive, send)

    async def _reply(self, scope: Scope, receive: Receive) -> Reply:
        try:
            return await self._answer(scope, receive)
        except NotFound as error:
            return problem(404, str(error))
        except Unavailable as error:
            return busy(error.reason)
        except Disconnected:
            return problem(400, "the body is not complete")  # said to nobody
        except Refused as error:
            return problem(error.status, error.reason)
        except StoreError as error:
            return busy(str(error))
        except OSError as error:
            return busy(f"what was asked for can't be read: {error.strerror}")

    async def _answer(self, scope: Scope, receive: Receive) -> Reply:
        found = _find(scope["path"])
        if not found:
            return problem(404, "there is nothing at this path")
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if method not in found:
            allowed = [*found, *(["HEAD"] if "GET" in found else [])]
            allow = (b"allow", ", ".join(allowed).encode())
            return problem(405, f"only {' and '.join(found)} is answered here", headers=[allow])
        if self._is_closed:
            return busy("the receiver is being stopped")
        operation, event = found[method]
        asked = Asked(
            question=questions.read(scope["query_string"], operation.question),
            id=event,
            headers=scope["headers"],
            receive=receive,
            peer=self._peer(scope),
        )
        return await operation.action(self._desk, asked)

    def _tell(self, what: str, event: str, peer: str) -> None:
        if self._ration.allows(what):
            self._log.info("original.revealed", what=what, event_id=event, peer=peer)

    def end_streams(self) -> None:
        """End what goes on; whoever may can ask again."""
        self._desk.end_streams()

    def close(self) -> None:
        """End what goes on, for good."""
        self._is_closed = True
        self._desk.end_streams()

    async def finish(self) -> None:
        """Let what runs by itself come to its end."""
        await self._replays.stop()


def _find(path: str) -> dict[str, tuple[Operation, str]]:
    """The operations at a path, by their method, with the event that it names."""
    found = {}
    for operation in OPERATIONS:
        match = operation.pattern.fullmatch(path)
        if match:
            found[operation.method] = (operation, match.groupdict().get("id", ""))
    return found
