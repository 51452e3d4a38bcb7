"""What the page about the sandbox has to name."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from receiver.sandbox.app import create_app
from receiver.sandbox.mischief import MISHAPS
from receiver.sandbox.options import Options

PAGE = (Path(__file__).parents[2] / "deploy" / "SANDBOX.md").read_text()


def test_every_mishap_is_explained() -> None:
    table = PAGE.partition("## What goes wrong")[2].partition("## Its own API")[0]
    explained = re.findall(r"`(\w+)`", " ".join(re.findall(r"(?m)^\| (`[^|]+) \|", table)))
    assert sorted(explained) == sorted(MISHAPS)


def test_every_path_is_named() -> None:
    async def paths() -> set[str]:
        app = create_app(Options())
        async with app.router.lifespan_context(app):
            return {str(getattr(route, "path", "")) for route in app.routes}

    served = asyncio.run(paths())
    own = {re.sub(r"\{\w+\}", "ID", path) for path in served if path.startswith("/_sandbox")}
    assert own == set(re.findall(r"/_sandbox/[\w/]+", PAGE.partition("## Its own API")[2]))
    videos = {path.partition("/videos")[2] for path in served if "/videos" in path and "_sandbox" not in path}
    named = PAGE.partition("## OpenAI-style videos")[2]
    assert videos == {"", "/{video_id}", "/{video_id}/content", "/{video_id}/remix"}
    assert all(f"/videos{rest.replace('{video_id}', 'ID')}" in named for rest in videos)
