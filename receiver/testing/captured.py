"""An event of a capture, as a handler would have been given it: bodies byte for byte, and its video."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from receiver import sources
from receiver.capture import layout
from receiver.capture.reading import Capture, opened
from receiver.capture.survey import readable
from receiver.copies import CopiedDelivery
from receiver.errors import BadCopy
from receiver.event import Event, StoredBody
from receiver.scanner import Scanner

_LARGEST = 2**40
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True, weakref_slot=True)
class CapturedEvent(Event):
    """An event that came out of a capture."""

    kind: str = ""
    """The kind of its source."""
    video_file: Path | None = None
    """The file behind its link, when the capture has it."""


def from_capture(file: str | Path, event: str = "", *, partial: bool = False) -> CapturedEvent:
    """Read one event out of a capture: the only one, or the one whose id begins with `event`.

    Large bodies and videos are unpacked into a folder that is removed with the event. `partial` takes
    what is whole of a file that is unfinished or damaged. Raise BadCapture, BadCopy, and LookupError when
    it is not clear which event is meant.
    """
    with opened(Path(file), is_partial=partial, largest=_LARGEST) as capture:
        delivery = _find(_deliveries(capture, is_partial=partial), event)
        folder = Path(tempfile.mkdtemp(prefix="receiver-testing-"))
        made = _built(capture, delivery, folder)
    weakref.finalize(made, shutil.rmtree, folder, ignore_errors=True)
    return made


def _deliveries(capture: Capture, *, is_partial: bool) -> Iterator[CopiedDelivery]:
    for line in capture.lines():
        try:
            yield readable(capture, line, needs_video=not is_partial)
        except BadCopy:
            if not is_partial:
                raise


def _find(deliveries: Iterable[CopiedDelivery], event: str) -> CopiedDelivery:
    found = [one for one in deliveries if one.news is not None and one.event.startswith(event)]
    exact = [one for one in found if one.event == event]
    if len(exact or found) == 1:
        return (exact or found)[0]
    ids = ", ".join(one.event for one in found[:10]) or "none"
    raise LookupError(f"say which event is meant, by its id or the beginning of it; there are: {ids}")


def _built(capture: Capture, delivery: CopiedDelivery, folder: Path) -> CapturedEvent:
    assert delivery.news is not None  # noqa: S101 - only such are found
    raw, path = None, None
    scanner = Scanner()
    if delivery.body is None:
        path = folder / "body"
        with capture.open(f"{layout.BODIES}{delivery.body_sha256}") as body:
            _unpack(body, path, scanner)
    else:
        raw = delivery.body.encode()
        scanner.feed(raw)
    scanned = scanner.finish()
    video_file = None
    if delivery.video is not None:
        video_file = folder / "video"
        with capture.open(f"{layout.VIDEOS}{delivery.event}") as video:
            _unpack(video, video_file)
    video_of_it = sources.video_of(delivery.kind, delivery.news.object or scanned.payload)
    if video_of_it.id is None:
        video_of_it = video_of_it.model_copy(update={"id": delivery.news.video_id})
    return CapturedEvent(
        id=delivery.event,
        source=delivery.source,
        type=delivery.news.type,
        key=f"{delivery.news.identity}:{delivery.news.what}",
        received_at=delivery.received_at,
        warnings=delivery.news.warnings,
        video=video_of_it,
        payload=scanned.payload,
        body=StoredBody(raw=raw, path=path, strings=scanned.strings),
        kind=delivery.kind,
        video_file=video_file,
    )


def _unpack(member: BinaryIO, path: Path, scanner: Scanner | None = None) -> None:
    with path.open("xb") as target:
        while piece := member.read(_PIECE):
            target.write(piece)
            if scanner is not None:
                scanner.feed(piece)
