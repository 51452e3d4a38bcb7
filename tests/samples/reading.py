"""Reads the samples: requests as a provider sends them, one folder for each case."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from receiver.settings import OpennoteSettings
from receiver.sources.opennote import Opennote

ROOT = Path(__file__).parent
ORGANIZATION = "org_example"
API_KEY = "sk_opennote_example_1"
OLD_API_KEY = "sk_opennote_example_0"


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
