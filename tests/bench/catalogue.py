"""The programs of the bench: the receiver, and what it is compared with."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from receiver import __version__
from tests.bench.callbacks import KEY, ORGANIZATION
from tests.bench.programs import Program

HANDLERS = Path(__file__).with_name("handlers")
_REFERENCES = "tests.bench.references"
_CONFIGURATION = f"""\
[sources.opennote]
kind = "opennote"
organization_id = "{ORGANIZATION}"
api_keys = ["{KEY}"]
"""
_TOKEN = "token_bench_0123456789abcdef"


def receiver(name: str, *options: str, handlers: str = "idle") -> Program:
    """`receiver serve` with its default settings, and handlers of ours."""

    def command(port: int, folder: Path) -> list[str]:
        serve = ["serve", "--config", str(configured(folder)), "--port", str(port)]
        specs = ["--handlers", str(HANDLERS / f"{handlers}.py")]
        return [sys.executable, "-m", "receiver", *serve, *specs, *options]

    made_of = f"receiver {__version__}, " + _versions("uvicorn", "httptools", "uvloop")
    return Program(f"receiver: {name}", made_of, command, "/readyz", 200, role="ingress")


def configured(folder: Path) -> Path:
    """The configuration in a folder, written if it is missing."""
    file = folder / "receiver.toml"
    if not file.exists():
        file.write_text(_CONFIGURATION, "utf-8")
        file.chmod(0o600)
    return file


def with_api(folder: Path) -> str:
    """Let the receiver of a folder have its API; the token for it."""
    with configured(folder).open("a", encoding="utf-8") as file:
        file.write(f'\n[admin]\ntoken = "{_TOKEN}"\n')
    return _TOKEN


def database_in(folder: Path) -> Path:
    """Where a receiver that is configured in a folder keeps its record."""
    return folder / "data" / "receiver.db"


def on_uvicorn(name: str, app: str, *packages: str) -> Program:
    """An ASGI application under uvicorn's defaults, but without its access log, which would slow it."""

    def command(port: int, folder: Path) -> list[str]:
        places = [f"BENCH_FOLDER={folder}", f"BENCH_DATABASE={folder / 'reference.db'}"]
        options = ["--port", str(port), "--no-access-log"]
        return ["env", *places, sys.executable, "-m", "uvicorn", f"{_REFERENCES}.{app}", *options]

    return Program(name, _versions(*packages, "uvicorn", *_automatic()), command)


def flask_guide() -> Program:
    """The guide's check in Flask, under gunicorn with threads, which keep connections open, on both cores."""

    def command(port: int, folder: Path) -> list[str]:
        workers = ["--worker-class", "gthread", "--workers", "2", "--threads", "8", "--keep-alive", "30"]
        options = ["--bind", f"127.0.0.1:{port}", "--worker-tmp-dir", str(folder), *workers]
        return [sys.executable, "-m", "gunicorn", *options, f"{_REFERENCES}.guide:app"]

    made_of = _versions("flask", "gunicorn") + ", 2 workers of 8 threads"
    return Program("Flask, as in the guide", made_of, command)


def webhook(name: str, **more: Any) -> Program:
    """adnanh/webhook that runs /bin/true for each request and answers when it has ended."""

    def command(port: int, folder: Path) -> list[str]:
        hook = {"id": "opennote", "execute-command": "/bin/true", "include-command-output-in-response": True}
        hooks = folder / "hooks.json"
        hooks.write_text(json.dumps([hook | more]), "utf-8")
        address = ["-ip", "127.0.0.1", "-port", str(port), "-urlprefix", "webhooks"]
        return ["webhook", *address, "-hooks", str(hooks)]

    return Program(name, f"webhook {_webhook_version()}", command)


def _versions(*packages: str) -> str:
    return ", ".join(f"{package} {version(package)}" for package in packages)


def _automatic() -> list[str]:
    """What uvicorn chooses by itself: the fast parser and loop where they are installed."""
    return [
        "httptools" if find_spec("httptools") else "h11",
        *(["uvloop"] if find_spec("uvloop") else []),
    ]


@cache
def _webhook_version() -> str:
    said = subprocess.run(["webhook", "-version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"\d[\d.]*", said)
    return found[0] if found else "unknown"
