"""The fuzz targets: modules with `check(data)`, which raises for a defect, with seeds and a dictionary."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Protocol, cast

NAMES = ("json_bodies", "base64_texts", "headers", "signatures", "connections", "links")


class Target(Protocol):
    """What every target has."""

    SEEDS: Sequence[bytes]
    """Inputs to begin with."""
    DICTIONARY: Sequence[bytes]
    """What mutations are made of besides single bytes."""
    check: Callable[[bytes], None]
    """Raise for an input that shows a defect."""


def load(name: str) -> Target:
    """Import one."""
    return cast(Target, importlib.import_module(f"tests.fuzz.{name}"))
