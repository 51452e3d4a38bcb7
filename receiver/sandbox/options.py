"""What a sandbox is told when it starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from receiver.errors import UsageError
from receiver.sandbox.loopback import is_loopback, problem_with
from receiver.sandbox.mischief import Mischief
from receiver.signing import read_secret

Tell = Callable[[str, Mapping[str, object]], None]
"""Is given what happens, as it happens: a dotted name (`job.created`) and its fields (JSON values)."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the stand-ins treat a job; a job keeps the one that held when it was created."""

    delay: timedelta = timedelta(seconds=2)
    """How long a video takes at least."""
    retry_seconds: tuple[float, ...] = tuple(float(2**n) for n in range(10))
    """How long to wait before each further try of a callback that was not answered with 2xx."""
    timeout_seconds: float = 10.0
    """How long a callback waits for its answer."""
    lifetime: timedelta = timedelta(hours=1)
    """How long the content of an OpenAI-style video can be had once it is completed."""
    mischief: Mischief = field(default_factory=Mischief)
    """What goes wrong on purpose."""


@dataclass(frozen=True, slots=True)
class Options:
    """Where a sandbox listens and for whom. Raise UsageError for what it can't or must not do."""

    host: str = "127.0.0.1"
    """A loopback address, or `localhost` (which is taken as 127.0.0.1)."""
    port: int = 8100
    """0 takes a free one."""
    organization_id: str = "org_sandbox"
    """Sent as X-Organization-Id with callbacks."""
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    """The keys that are let in; none means that any key is."""
    behaviour: Behaviour = Behaviour()
    """How jobs are treated at first."""
    webhook_url: str | None = None
    """Where the events of OpenAI's stand-in go, which is no part of any request; None: nowhere."""
    webhook_secrets: tuple[str, ...] = field(default=(), repr=False)
    """What those events are signed with, `whsec_…`; several give several signatures."""
    poll_after_ms: int | None = None
    """Sent as `openai-poll-after-ms` with the status of an OpenAI-style video."""

    def __post_init__(self) -> None:
        if not is_loopback(self.host):
            raise UsageError(f"the sandbox listens on loopback only: use 127.0.0.1 or ::1, not {self.host!r}")
        if not _is_header_safe(self.organization_id):
            raise UsageError("an organization id is not empty and printable ASCII: it is sent in a header")
        if not all(_is_header_safe(key) for key in self.api_keys):
            raise UsageError("an API key is not empty and printable ASCII: it is sent in a header")
        check_endpoint(self.webhook_url, self.webhook_secrets)

    @property
    def address(self) -> str:
        """The IP address to listen on."""
        return "127.0.0.1" if self.host.lower() == "localhost" else self.host

    @property
    def base_url(self) -> str:
        """What clients put before a path; true once `port` is the port that was bound."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{self.port}"


def check_endpoint(url: str | None, secrets: Sequence[str]) -> None:
    """Raise UsageError when signed events can't go to `url`."""
    if url is not None and (problem := problem_with(url)):
        raise UsageError(f"the webhook URL {problem}")
    if url is not None and not secrets:
        raise UsageError("a webhook URL needs a webhook secret, whsec_…: its events are signed")
    try:
        for secret in secrets:
            read_secret(secret)
    except ValueError as error:
        raise UsageError(f"the webhook secret can't be used: {error}") from error


def _is_header_safe(value: str) -> bool:
    return bool(value) and value.isascii() and value.isprintable() and value == value.strip()


def silent(name: str, fields: Mapping[str, object]) -> None:
    """Tell nobody."""
