"""What was measured: figures, ratios and goals; as tables for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure that was promised."""

    name: str
    value: float
    least: float
    aim: float
    unit: str
    is_floor: bool = False
    """Whether the value must not be lower; otherwise it must not be higher."""

    @property
    def verdict(self) -> str:
        """What became of it."""
        if self._meets(self.aim):
            return "aim met"
        return "least met" if self._meets(self.least) else "MISSED"

    def _meets(self, bound: float) -> bool:
        return self.value >= bound if self.is_floor else self.value <= bound

    def as_json(self) -> dict[str, Any]:
        """For the file."""
        return {**asdict(self), "verdict": self.verdict}


@dataclass
class Section:
    """One table: a row for each program or case, a column for each figure (its name ends in the unit)."""

    key: str
    title: str
    notes: list[str] = field(default_factory=list)
    """How it was measured."""
    rounds: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    """Row → what each round gave."""
    ratios: dict[str, dict[str, float]] = field(default_factory=dict)
    """Row → what is reckoned from all rounds."""
    made_of: dict[str, str] = field(default_factory=dict)
    goals: list[Goal] = field(default_factory=list)

    def add(self, row: str, figures: Mapping[str, float]) -> None:
        """Keep what one round gave for a row."""
        self.rounds.setdefault(row, []).append(dict(figures))

    def medians(self, row: str) -> dict[str, float]:
        """The median of each figure of a row."""
        rounds = self.rounds[row]
        names = dict.fromkeys(name for figures in rounds for name in figures)
        return {name: median(figures[name] for figures in rounds if name in figures) for name in names}

    def row(self, row: str) -> dict[str, float]:
        """All that the table shows of a row."""
        return {**self.medians(row), **self.ratios.get(row, {})}

    def ratio(self, row: str, reference: str, figure: str) -> float:
        """The median of the ratios of each round: what disturbs both sides of a round cancels out."""
        pairs = zip(self.rounds[row], self.rounds[reference], strict=True)
        return median(ours[figure] / theirs[figure] for ours, theirs in pairs)

    def as_json(self) -> dict[str, Any]:
        """For the file."""
        return {
            "title": self.title,
            "notes": self.notes,
            "programs": self.made_of,
            "medians": {row: self.row(row) for row in self.rounds},
            "rounds": self.rounds,
            "goals": [goal.as_json() for goal in self.goals],
        }

    def as_text(self) -> str:
        """For people."""
        rows = {row: self.row(row) for row in self.rounds}
        names = list(dict.fromkeys(name for figures in rows.values() for name in figures))
        body = [[row, *(_number(figures.get(name)) for name in names)] for row, figures in rows.items()]
        lines = ["", f"{self.title}", *_table([["", *names], *body])]
        lines += [f"  {row}: {versions}" for row, versions in self.made_of.items()]
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])


def goals_as_text(goals: Iterable[Goal]) -> str:
    """The promises, and what became of them."""
    head = ["", "measured", "least", "aim", ""]
    rows = [
        [
            goal.name,
            f"{_number(goal.value)} {goal.unit}",
            _bound(goal, goal.least),
            _bound(goal, goal.aim),
            goal.verdict,
        ]
        for goal in goals
    ]
    return "\n".join(["", "Goals", *_table([head, *rows])])


def _bound(goal: Goal, bound: float) -> str:
    return f"{'≥' if goal.is_floor else '≤'} {bound:g}"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _table(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  "
        + "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
