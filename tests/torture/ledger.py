"""What a sender was told: the file of acknowledged events, and the counts that have to add up."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Sent:
    """A callback that was posted."""

    sha256: str
    """Of its body."""
    video_sha256: str | None
    """Of the video in it: then the body has more than 64 KiB, and two handlers run."""

    @property
    def jobs(self) -> int:
        """How many jobs its event has."""
        return 1 if self.video_sha256 is None else 2


class Ledger:
    """Posts and their answers, by video. An acknowledgement is in the file before anything else happens."""

    def __init__(self, file: Path) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._lock = threading.Lock()
        self.sent: dict[str, Sent] = {}
        self.acknowledged: dict[str, str] = {}
        """The event id by video."""
        self.refused: set[str] = set()
        self.unanswered: set[str] = set()
        self.doubled: set[str] = set()
        """Videos that were acknowledged with two event ids."""
        self.tally: Counter[str] = Counter()
        """Posts by what became of them; `posted` is their sum."""
        self.strange: set[str] = set()
        """What no sender may ever see."""
        self.is_dark = False
        """Whether the power is off: who answers all the same would not have, and has promised nothing."""

    def close(self) -> None:
        """Nothing more will be noted."""
        os.close(self._file)

    def posts(self, video: str, sent: Sent | None) -> None:
        """Note what is about to be posted; without `sent` it must not be believed."""
        with self._lock:
            self.tally["posted"] += 1
            if sent is not None:
                self.sent[video] = sent

    def answered(self, video: str, status: int, answer: Mapping[str, str]) -> None:
        """Note an answer."""
        with self._lock:
            if self.is_dark:
                self.tally["unanswered"] += 1
                self.unanswered.add(video)
            elif status == 200:
                os.write(self._file, f"{video} {answer['event']}\n".encode())
                self.tally["acknowledged"] += 1
                if self.acknowledged.setdefault(video, answer["event"]) != answer["event"]:
                    self.doubled.add(video)
            elif status == 503:
                self.tally["refused"] += 1
                self.refused.add(video)
            elif status in (401, 429) and video not in self.sent:
                self.tally["rejected"] += 1
            else:
                self.strange.add(f"answered with {status}")

    def cut(self, video: str, *, is_late: bool = False) -> None:
        """Note that the connection ended before an answer, or that nobody waited any longer."""
        with self._lock:
            if is_late:
                self.strange.add("a connection on which no answer came")
            self.tally["unanswered"] += 1
            self.unanswered.add(video)

    def imbalance(self) -> list[str]:
        """Say where received is not acknowledged + rejected + refused (+ what nobody could answer)."""
        ends = sum(self.tally[end] for end in ("acknowledged", "rejected", "refused", "unanswered"))
        said = sorted(self.strange)
        if ends != self.tally["posted"]:
            said.append(f"{self.tally['posted']} posted, {ends} accounted for")
        return said
