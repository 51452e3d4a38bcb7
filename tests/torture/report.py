"""What a torture came to: counts, one row for each kind, and every complaint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.torture.audit import Audit
from tests.torture.ledger import Ledger

_COLUMNS = ("runs", "acknowledged", "rejected", "refused", "unanswered", "lost", "doubled", "halves", "exit")


@dataclass
class Counts:
    """One kind of torture."""

    name: str
    runs: int = 0
    tally: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    doubled: int = 0
    halves: int = 0
    longest_exit: float = 0.0
    notes: Counter[str] = field(default_factory=Counter)
    """What else was seen, and how often."""
    problems: list[str] = field(default_factory=list)
    """Everything that should not be; none is what is hoped for."""

    def saw(self, found: Audit) -> None:
        """Take what an audit found."""
        self.lost += len(found.lost)
        self.doubled += len(found.doubled)
        self.halves += len(found.halves)
        self.problems += found.lost + found.doubled + found.halves

    def told(self, ledger: Ledger) -> None:
        """Take what the senders of a ledger were told, once all is over."""
        self.tally += ledger.tally
        self.problems += ledger.imbalance()

    def add(self, other: Counts) -> None:
        """Take the counts of another round of the same kind."""
        self.runs += other.runs
        self.tally += other.tally
        self.lost += other.lost
        self.doubled += other.doubled
        self.halves += other.halves
        self.longest_exit = max(self.longest_exit, other.longest_exit)
        self.notes += other.notes
        self.problems += other.problems

    def cells(self) -> list[str]:
        """One row of the table."""
        told = [str(self.tally[column]) for column in _COLUMNS[1:5]]
        bad = [str(count) for count in (self.lost, self.doubled, self.halves)]
        return [self.name, str(self.runs), *told, *bad, f"{self.longest_exit:.1f} s"]


def as_table(all_counts: Iterable[Counts]) -> str:
    """A table for people, with notes and complaints below."""
    listed = list(all_counts)
    rows = [["", *_COLUMNS], *(counts.cells() for counts in listed)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if not place else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    for counts in listed:
        lines += [f"{counts.name}: {count} × {note}" for note, count in sorted((+counts.notes).items())]
        lines += [f"{counts.name}: PROBLEM: {problem}" for problem in counts.problems[:50]]
    return "\n".join(lines)
