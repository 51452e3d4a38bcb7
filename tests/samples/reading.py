"""Reads the samples: requests as a provider sends them, one folder for each case."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from receiver.settings import CompatibleSettings, OpenaiSettings, OpennoteSettings
from receiver.sources.openai import Gateway, Openai
from receiver.sources.opennote import Opennote

ROOT = Path(__file__).parent
ORGANIZATION = "org_example"
API_KEY = "sk_opennote_example_1"
OLD_API_KEY = "sk_opennote_example_0"
SECRET = "whsec_dGhlIHNlY3JldCBvZiB0aGUgc2FtcGxlcywgbm8uIDE="
OLD_SECRET = "whsec_dGhlIHNlY3JldCBvZiB0aGUgc2FtcGxlcywgbm8uIDA="
OPENAI_KEY = "sk-openai-example-1"
SIGNED_AT = 1_762_500_000
"""When the samples of OpenAI were signed, in unix seconds."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One request."""

    headers: list[tuple[bytes, bytes]]
    """Names in lower case, as an ASGI server hands them over."""
    body: bytes

    @property
    def payload(self) -> dict[str, Any]:
        """The body as parsed."""
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed


def cases(source: str) -> list[str]:
    """The names of all cases of a source."""
    return sorted(path.parent.name for path in (ROOT / source).glob("*/body"))


def sample(source: str, case: str) -> Sample:
    """Read one case."""
    folder = ROOT / source / case
    headers: dict[str, str] = json.loads((folder / "headers.json").read_text("utf-8"))
    pairs = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    return Sample(pairs, (folder / "body").read_bytes())


def opennote(**settings: Any) -> Opennote:
    """The source that the samples of Opennote are meant for."""
    tables = {"kind": "opennote", "organization_id": ORGANIZATION, "api_keys": [API_KEY], **settings}
    parsed = OpennoteSettings.model_validate(tables)
    return Opennote("opennote", parsed, redactor_key=b"a fixed key", max_body=2**30)


def openai(*, clock: Callable[[], float] = lambda: SIGNED_AT, **settings: Any) -> Openai:
    """The source that the samples of OpenAI are meant for; `clock` gives unix seconds."""
    tables = {"kind": "openai", "webhook_secrets": [SECRET, OLD_SECRET], "api_key": OPENAI_KEY, **settings}
    parsed = OpenaiSettings.model_validate(tables)
    return Openai("openai", parsed, redactor_key=b"a fixed key", clock=clock)


def gateway(**settings: Any) -> Gateway:
    """A gateway that answers as the samples of `openai-compatible` do."""
    tables = {
        "kind": "openai-compatible",
        "api_key": OPENAI_KEY,
        "api_url": "https://gateway.example.com/v1",
        **settings,
    }
    return Gateway("gateway", CompatibleSettings.model_validate(tables), redactor_key=b"a fixed key")
