"""Deliveries of one video in every order: what is recorded at the end obeys a model of a few lines."""

from __future__ import annotations

from itertools import permutations
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.record import Known, Verdict, decide

News = tuple[str, str | None]

CONTENTS = [None, "url https://files/a", "url https://files/b", "inline aaaa", "inline bbbb"]
NEWS: st.SearchStrategy[News] = st.one_of(
    st.sampled_from([("progress", None), ("failed", None), ("other:x", None), ("other:y", None)]),
    st.tuples(st.just("completed"), st.sampled_from(CONTENTS)),
)
STORIES = st.lists(NEWS, max_size=8)


class Recorded(NamedTuple):
    """What is known of a video after some deliveries."""

    events: list[str]
    verdicts: list[Verdict]
    conflicts: set[str]
    warned: set[str]


def recorded(story: list[News]) -> Recorded:
    """Decide one delivery after the other, as the store does."""
    known: dict[str, Known] = {}
    end = Recorded([], [], set(), set())
    for what, content in story:
        decision = decide(what, content, known)
        end.verdicts.append(decision.verdict)
        if decision.verdict is Verdict.ACCEPTED:
            assert what not in known, "a key was accepted twice"
            assert decision.of is None
            known[what] = Known(len(known) + 1, what, content)
            end.events.append(what)
            end.warned.update([what] if decision.warnings else [])
        else:
            assert decision.of is not None
            assert known[decision.of.id] == decision.of, "a repetition of nothing"
            end.conflicts.update([decision.of.id] if decision.verdict is Verdict.CONFLICT else [])
    return end


def expected_events(story: list[News]) -> list[str]:
    """The model: up to the first `completed`, each what once, but no progress after a failure."""
    events: list[str] = []
    for what, _ in story:
        is_late = what == "progress" and "failed" in events
        if what not in events and not is_late:
            events.append(what)
        if what == "completed":
            break
    return events


def expected_conflict(story: list[News]) -> bool:
    """The model: after the first `completed`, a first failure, or another file of the same sort."""
    whats = [what for what, _ in story]
    if "completed" not in whats:
        return False
    begin = whats.index("completed")
    kept = story[begin][1]
    for what, content in story[begin + 1 :]:
        if what == "failed" and "failed" not in whats[:begin]:
            return True
        if what == "completed" and content and kept and content != kept and content[:4] == kept[:4]:
            return True
    return False


@pytest.mark.fault("D3", "D4")
@given(STORIES)
def test_the_events_of_any_story_are_those_of_the_model(story: list[News]) -> None:
    end = recorded(story)
    assert end.events == expected_events(story)
    assert end.conflicts == ({"completed"} if expected_conflict(story) else set())
    after_failure = "failed" in end.events and "completed" in end.events
    assert end.warned == ({"completed"} if after_failure else set())


@given(STORIES)
def test_every_delivery_is_accepted_or_repeats_something(story: list[News]) -> None:
    end = recorded(story)
    assert len(end.verdicts) == len(story)
    assert end.verdicts.count(Verdict.ACCEPTED) == len(end.events)


@pytest.mark.fault("D3", "D5")
@given(st.lists(NEWS, max_size=5))
def test_all_orders_end_equal(story: list[News]) -> None:
    def fate(order: list[News]) -> tuple[str | None, int]:
        events = recorded(order).events
        return next((end for end in ("completed", "failed") if end in events), None), events.count(
            "completed"
        )

    assert {fate(list(order)) for order in permutations(story)} == {fate(story)}


@pytest.mark.fault("D5")
@given(STORIES)
def test_completed_is_never_undone_and_nothing_follows_it(story: list[News]) -> None:
    events = recorded(story).events
    assert events.count("completed") == any(what == "completed" for what, _ in story)
    assert "completed" not in events[:-1]


@given(STORIES, st.integers(1, 3))
def test_redelivering_everything_adds_nothing(story: list[News], times: int) -> None:
    events = recorded(story).events
    assert recorded(story * (times + 1)).events[: len(events)] == events
    if "completed" in events:
        assert recorded(story * (times + 1)).events == events
