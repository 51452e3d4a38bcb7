"""POST the original body, byte for byte, to configured targets, signed by Standard Webhooks.

Each target is a handler of its own, `forward.NAME`, and so each event has one job for each: what one
target has taken is not sent to it again because another fails, and `receiver show` tells the story of
each. Nothing but the configuration says where anything goes, and nothing of the sender's request or
of our credentials goes along: the content type, the three webhook headers and a key against doing it
twice are all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    model_validator,
)

from receiver import Cancel, Context, Duration, Event, Fail, Retry, Router, Signer

EventType = Literal["video.completed", "video.failed", "video.progress", "video.unknown"]

_BUSY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_TRY_AGAIN = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, *_BUSY)
_SHORTEST_WAIT = timedelta(seconds=1)
_SIGNING = timedelta(seconds=30)
"""More than enough to read and sign the largest body."""


def _some(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Target(BaseModel):
    """`[[handlers.forward.targets]]`"""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="The handler is forward.NAME; keep it, jobs are kept under it.")
    url: Annotated[str, AfterValidator(Context.check_url)] = Field(
        repr=False, description="Where to: https, or http on a loopback host."
    )
    secret: Annotated[tuple[SecretStr, ...], BeforeValidator(_some)] = Field(
        (), description='"whsec_…", or a list: while the target changes to another, each one signs.'
    )
    secret_file: Path | None = Field(None, description="A file with the secrets instead, one in a line.")
    events: tuple[EventType, ...] = Field(
        get_args(EventType), min_length=1, description="Which types of events it gets."
    )
    timeout: Duration = Field(
        timedelta(minutes=1), gt=timedelta(0), description="How long one POST may take, as a whole."
    )
    attempts: int = Field(20, ge=1, description="How many times it is tried.")
    concurrency: int = Field(4, ge=1, description="How many POSTs at once, in each worker process.")
    allow_private: bool = Field(False, description="Whether its address may be one of a private network.")

    _signer: Signer = PrivateAttr()

    @model_validator(mode="after")
    def _can_sign(self) -> Self:
        if bool(self.secret) == (self.secret_file is not None):
            raise ValueError("give either secret or secret_file")
        given = [secret.get_secret_value() for secret in self.secret]
        self._signer = Signer(given if self.secret_file is None else _lines(self.secret_file))
        return self

    def sign(self, event: Event, body: BinaryIO) -> dict[str, str]:
        """Give the three headers of Standard Webhooks for a body that is sent now."""
        return self._signer.headers(event.id, at=datetime.now(UTC), body=body)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text("ascii").split()
    except OSError as error:
        raise ValueError(f"secret_file can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError("secret_file holds no secret") from None


class Settings(BaseModel):
    """`[handlers.forward]`"""

    targets: tuple[Target, ...] = Field(min_length=1, description="Where everything is posted to.")

    @model_validator(mode="after")
    def _are_told_apart(self) -> Self:
        if len({target.name for target in self.targets}) < len(self.targets):
            raise ValueError("two targets have the same name")
        return self


router = Router(settings=Settings)


@router.from_settings
def declare(configured: Router, settings: Settings) -> None:
    """Declare one handler for each target."""
    for target in settings.targets:
        configured.on(
            *target.events,
            name=target.name,
            attempts=target.attempts,
            timeout=target.timeout + _SIGNING,
            concurrency=target.concurrency,
        )(_post_to(target.name))


def _post_to(name: str) -> Callable[[Event, Context], Awaitable[dict[str, Any]]]:
    async def post(event: Event, context: Context) -> dict[str, Any]:
        """POST the original body to the target of this name."""
        # By name, and not bound above: URL and secrets may have been changed since (SIGHUP).
        target = next((one for one in context.settings.targets if one.name == name), None)
        if target is None:
            raise Cancel("this target is not configured any more")
        return await forward(event, context, target)

    return post


async def forward(event: Event, context: Context, target: Target) -> dict[str, Any]:
    """Send the body of one event to one target, and judge the answer by its status."""
    with event.open_body() as body:
        signed = await asyncio.to_thread(target.sign, event, body)
        answer = await context.http.post(
            target.url,
            headers={
                "Content-Type": "application/json",
                "Idempotency-Key": context.idempotency_key,
                **signed,
            },
            content=body,
            timeout=target.timeout,
            max_bytes=None,
            allow_private=target.allow_private,
        )
    judge(answer.status, answer.retry_after)
    return {"status": answer.status}


def judge(status: int, retry_after: timedelta | None) -> None:
    """Return for a 2xx; else raise Retry or Fail, which say the status and nothing that the target says."""
    if 200 <= status < 300:
        return
    said = f"the target answered {_phrase(status)}"
    if status in _TRY_AGAIN or status >= 500:
        # A wait of nothing would use up all attempts within a second.
        is_asked = status in _BUSY and retry_after is not None and retry_after >= _SHORTEST_WAIT
        raise Retry(after=retry_after if is_asked else None, reason=said)
    if 300 <= status < 400:
        raise Fail(f"{said}: redirects are not followed")
    if status == HTTPStatus.GONE:
        raise Fail(f"{said}: it wants no more; remove it from the configuration")
    raise Fail(said)


def _phrase(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
