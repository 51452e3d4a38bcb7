"""Whether two accounts of one video agree: what a callback said, and what its provider answers when asked."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable

from receiver.errors import Hopeless, Unfinished
from receiver.event import Event
from receiver.model import Payload
from receiver.sources.base import InlineVideo, LinkedVideo, VideoPlace
from receiver.stream import open_inline


async def contradiction(
    said: Event, answered: Event, *, place: Callable[[Payload], VideoPlace | None]
) -> str | None:
    """Say what contradicts what was said; None when the answer agrees.

    Both have to tell of the same end, and of the same video where both carry one: the same link, but for
    its query string, or the same inline bytes. What handlers would take counts: an inline video that the
    provider knows only a link of is not confirmed.
    """
    if said.type != answered.type:
        return f"the provider says {answered.video.status}, the callback said {said.video.status}"
    if said.type != "video.completed":
        return None
    ours, theirs = place(said.payload), place(answered.payload)
    if ours is None or theirs is None:
        return None
    if isinstance(ours, LinkedVideo) and isinstance(theirs, LinkedVideo):
        return None if _plain(ours.url) == _plain(theirs.url) else "the provider names another link"
    if isinstance(ours, InlineVideo) and isinstance(theirs, InlineVideo):
        same = await _checksum(said, ours) == await _checksum(answered, theirs)
        return None if same else "the provider has another inline video"
    if isinstance(ours, LinkedVideo) and answered.video.url:  # beside an inline video, which is taken first
        same = _plain(ours.url) == _plain(answered.video.url)
        return None if same else "the provider names another link"
    return "the provider has the video elsewhere"


def _plain(url: str) -> str:
    return url.partition("?")[0].partition("#")[0]


async def _checksum(event: Event, place: InlineVideo) -> str | None:
    """SHA-256 of the decoded bytes; None for what is not base64. Raise Unfinished when its file is gone."""
    path = event.body.path
    if path is not None and not await asyncio.to_thread(path.exists):
        raise Unfinished("the body file that carries the video is gone")
    digest = hashlib.sha256()
    try:
        async for piece in open_inline(event, place):
            digest.update(piece)
    except Hopeless:
        return None
    return digest.hexdigest()
