"""A look at every line of a capture before the first is recorded: what is wrong, and are they in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from receiver.capture import layout
from receiver.capture.reading import Capture, Member
from receiver.copies import CopiedDelivery, judge, read_line
from receiver.errors import BadCopy

_PIECE = 1 << 20


class Survey:
    """What was found in the lines; `problems` has a line for everything that is not as it should be."""

    def __init__(self, capture: Capture, *, judges: bool) -> None:
        """Read all lines, and the bodies as well if it `judges`: each has to be one strict JSON object."""
        self.problems: list[str] = []
        self.is_in_order = True
        """Whether the deliveries of each event stand together, the accepted one first."""
        self._capture = capture
        self._judged: set[str] = set()
        # By hash, as there may be a million of them; two alike would at most cost a second walk.
        self._accepted: set[int] = set()
        self._before: dict[int, int] = {}
        self._last = ""
        self._look(judges)

    def is_orphan(self, event: str) -> bool:
        """Whether the delivery that became this event is missing, though others of it are there."""
        return hash(event) in self._before

    def _look(self, judges: bool) -> None:
        counts: Counter[str] = Counter()
        for number, line in enumerate(self._capture.lines(), 1):
            counts["deliveries"] += 1
            delivery = self._read(line, number, judges=judges)
            if delivery is None:
                continue
            counts["events"] += delivery.news is not None
            self._place(delivery, number)
        for event in self._accepted:
            self._before.pop(event, None)
        self.problems += self._orphans() if judges else []
        self.problems += self._miscounts(counts)

    def _read(self, line: bytes, number: int, *, judges: bool) -> CopiedDelivery | None:
        try:
            delivery = readable(self._capture, line)
            if judges:
                self._judge(delivery)
            return delivery
        except BadCopy as error:
            self.problems.append(said(number, error))
        try:
            return None if judges else readable(self._capture, line, needs_video=False)
        except BadCopy:
            return None

    def _judge(self, delivery: CopiedDelivery) -> None:
        if delivery.body is not None:
            judge([delivery.body.encode()])
        elif delivery.body_sha256 not in self._judged:
            with self._capture.open(name_of_body(delivery)) as body:
                judge(iter(lambda: body.read(_PIECE), b""))
            self._judged.add(delivery.body_sha256)

    def _place(self, delivery: CopiedDelivery, number: int) -> None:
        event, is_next = hash(delivery.event), delivery.event == self._last
        self._last = delivery.event
        if delivery.news is not None:
            self.is_in_order &= event not in self._before
            self._accepted.add(event)
            return
        self.is_in_order &= is_next and event in self._accepted
        if event not in self._accepted:
            self._before.setdefault(event, number)

    def _orphans(self) -> Iterator[str]:
        for number in self._before.values():
            yield said(number, "the delivery that became the event is not in the capture")

    def _miscounts(self, counts: Counter[str]) -> Iterator[str]:
        for name in ("events", "deliveries"):
            announced = getattr(self._capture.manifest, name)
            if counts[name] != announced:
                yield f"there are {counts[name]} {name}, and {layout.MANIFEST} says {announced}"


def said(number: int, problem: object) -> str:
    """What is wrong with a line."""
    return f"{layout.DELIVERIES} line {number}: {problem}"


def readable(capture: Capture, line: bytes, *, needs_video: bool = True) -> CopiedDelivery:
    """Read a line; all that it refers to has to be there. Raise BadCopy.

    Unless it `needs_video`, one that is missing is no longer said to come along.
    """
    delivery = read_line(line)
    if delivery.body is None:
        _find(capture, name_of_body(delivery), delivery.bytes)
    try:
        _find_video(capture, delivery)
    except BadCopy:
        if needs_video:
            raise
        return delivery.model_copy(update={"video": None})
    return delivery


def name_of_body(delivery: CopiedDelivery) -> str:
    """Where the body is that is not in the line."""
    return f"{layout.BODIES}{delivery.body_sha256}"


def _find_video(capture: Capture, delivery: CopiedDelivery) -> None:
    if delivery.video is None:
        return
    name = f"{layout.VIDEOS}{delivery.event}"
    if _find(capture, name, delivery.video.bytes).sha256 != delivery.video.sha256:
        raise BadCopy(f"{name} is another one than the line says")


def _find(capture: Capture, name: str, size: int) -> Member:
    member = capture.members.get(name)
    if member is None:
        raise BadCopy(f"{name} is not there, or not whole")
    if member.size != size:
        raise BadCopy(f"{name} has another size than the line says")
    return member
