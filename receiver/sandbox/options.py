"""What a sandbox is told when it starts, and the rule that nothing of it leaves loopback."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from receiver.errors import UsageError
from receiver.sandbox.mischief import Mischief

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

    def __post_init__(self) -> None:
        if not is_loopback(self.host):
            raise UsageError(f"the sandbox listens on loopback only: use 127.0.0.1 or ::1, not {self.host!r}")
        if not _is_header_safe(self.organization_id):
            raise UsageError("an organization id is not empty and printable ASCII: it is sent in a header")
        if not all(_is_header_safe(key) for key in self.api_keys):
            raise UsageError("an API key is not empty and printable ASCII: it is sent in a header")

    @property
    def address(self) -> str:
        """The IP address to listen on."""
        return "127.0.0.1" if self.host.lower() == "localhost" else self.host

    @property
    def base_url(self) -> str:
        """What clients put before a path; true once `port` is the port that was bound."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{self.port}"


def is_loopback(host: str) -> bool:
    """Say whether a host is `localhost` or a loopback address; any other name is not, wherever it leads."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_header_safe(value: str) -> bool:
    return bool(value) and value.isascii() and value.isprintable() and value == value.strip()


def silent(name: str, fields: Mapping[str, object]) -> None:
    """Tell nobody."""
