"""Fuzzes one target in a process of its own, which libFuzzer ends: its name, then options of libFuzzer."""

from __future__ import annotations

import sys

import atheris

from tests.fuzz.targets import load


def main() -> None:
    """Never return."""
    name = sys.argv.pop(1)
    with atheris.instrument_imports(include=["receiver", "uvicorn.protocols", "httpx._urlparse"]):
        target = load(name)
    atheris.Setup(sys.argv, target.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
