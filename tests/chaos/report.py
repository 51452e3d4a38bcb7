"""What a storm came to: counts for people, and every complaint."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Report:
    """One storm."""

    videos: Counter[str] = field(default_factory=Counter)
    """How the videos ended: asked for, saved, failed, or dead with which reason."""
    mishaps: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    callbacks: Counter[str] = field(default_factory=Counter)
    """By what the sandbox was told."""
    attempts: Counter[str] = field(default_factory=Counter)
    """Of all jobs, by outcome."""
    problems: list[str] = field(default_factory=list)
    """Everything that should not be; none is what is hoped for."""

    def as_table(self) -> str:
        """One block of lines for each kind of count."""
        blocks = {
            "videos": self.videos,
            "mishaps": self.mishaps,
            "kill -9": self.kills,
            "callbacks": self.callbacks,
            "attempts": self.attempts,
        }
        lines = [
            f"{title if not place else '':<10} {count:>6}  {what}"
            for title, counts in blocks.items()
            for place, (what, count) in enumerate(sorted(counts.items(), key=lambda one: -one[1]))
        ]
        return "\n".join(lines + [f"PROBLEM: {problem}" for problem in self.problems[:50]])
