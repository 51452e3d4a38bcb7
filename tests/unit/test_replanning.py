"""Which jobs a replay makes of an event, by the jobs that it has had."""

from __future__ import annotations

import pytest

from receiver.life import JobState
from receiver.record import Wish
from receiver.replanning import Had, Replanned, Replanner, replan
from receiver.router import HandlerCard, plan
from tests.contract.stand import card

CARDS = [
    HandlerCard.from_json(card(name, after=after))
    for name, after in (("tell", "probe"), ("save", None), ("probe", "save"), ("log", None))
]  # not in the order of the chain
DONE, DEAD = Had("done", has_result=True), Had("dead", has_result=False)
ALL_DONE = dict.fromkeys(("save", "probe", "tell", "log"), DONE)
OWN = "receiver.look"


def replanned(had: dict[str, Had], *named: str, again: bool = False, first: str | None = None) -> Replanned:
    planned = plan(CARDS, source="opennote", type="video.completed", first=first)
    return replan(planned, had, named=named, again=again, first=first)


def jobs(replanned: Replanned) -> dict[str, str]:
    """Each handler that gets a job: its state, and after whom."""
    return {handler: f"{state} {after or ''}".strip() for handler, state, after, _ in replanned.jobs}


def test_what_is_done_is_left_alone_and_says_so() -> None:
    found = replanned(ALL_DONE)

    assert found.jobs == ()
    assert dict(found.left) == dict.fromkeys(("tell", "save", "probe", "log"), "it is done")


def test_what_failed_runs_again_and_so_does_whatever_comes_after_it() -> None:
    had = ALL_DONE | {"save": DEAD, "probe": Had("cancelled", has_result=False)}

    assert jobs(replanned(had)) == {"save": "ready", "probe": "waiting save", "tell": "waiting probe"}


def test_a_dependent_that_failed_runs_alone_with_the_result_that_is_stored() -> None:
    had = ALL_DONE | {"probe": DEAD}

    found = replanned(had)

    assert jobs(found) == {"probe": "ready save", "tell": "waiting probe"}
    assert [handler for handler, _ in found.left] == ["save", "log"]


@pytest.mark.parametrize("state", ["waiting", "ready", "running"])
def test_what_is_still_to_run_gets_no_second_job_unless_it_is_named(state: str) -> None:
    had = ALL_DONE | {"log": Had(state, has_result=False)}

    assert ("log", "it is still to run") in replanned(had).left
    assert jobs(replanned(had, "log")) == {"log": "ready"}


def test_a_handler_that_is_named_runs_whatever_became_of_it_with_what_comes_after_it_and_no_other() -> None:
    found = replanned(ALL_DONE, "save")

    assert jobs(found) == {"save": "ready", "probe": "waiting save", "tell": "waiting probe"}
    assert found.left == ()


def test_a_dependent_that_is_named_runs_alone() -> None:
    assert jobs(replanned(ALL_DONE, "tell")) == {"tell": "ready probe"}


def test_a_dependent_without_a_result_to_go_on_with_is_left_and_says_why() -> None:
    found = replanned({"save": DEAD, "probe": DEAD}, "probe")

    assert found == Replanned((), (("probe", "it comes after save, which has no result"),))


def test_a_handler_that_is_new_since_the_event_came_runs() -> None:
    had = dict.fromkeys(("save", "probe", "tell"), DONE)

    assert jobs(replanned(had)) == {"log": "ready"}


def test_all_of_them_run_again_when_that_is_wished() -> None:
    assert jobs(replanned(ALL_DONE, again=True)) == {
        "tell": "waiting probe",
        "save": "ready",
        "probe": "waiting save",
        "log": "ready",
    }


def test_a_handler_whose_predecessor_does_not_want_the_event_is_left_with_that_reason() -> None:
    lonely = [HandlerCard.from_json(card("probe", after="save"))]
    planned = plan(lonely, source="opennote", type="video.completed")

    found = replan(planned, {"probe": Had("cancelled", has_result=False)}, again=True)

    assert found == Replanned((), (("probe", "it comes after save, which does not run on this event"),))


# The receiver's own job.


def test_the_receivers_own_job_is_not_repeated_when_it_is_done() -> None:
    found = replanned(ALL_DONE | {OWN: DONE}, first=OWN, again=True)

    assert jobs(found) == {
        "tell": "waiting probe",
        "save": f"ready {OWN}",
        "probe": "waiting save",
        "log": f"ready {OWN}",
    }


@pytest.mark.parametrize("own", [Had("dead", has_result=False), None])
def test_the_receivers_own_job_runs_when_there_is_nothing_of_it_and_only_for_those_who_are_wanted(
    own: Had | None,
) -> None:
    had = {OWN: own} if own is not None else {}

    found = replanned(had, "log", first=OWN)

    assert jobs(found) == {OWN: "ready", "log": f"waiting {OWN}"}


def test_whoever_waits_for_the_receivers_own_job_already_is_not_made_anew() -> None:
    waiting = Had("waiting", has_result=False)
    found = replanned({OWN: Had("running", has_result=False), "log": waiting}, "log", first=OWN)

    assert found == Replanned((), (("log", f"it comes after {OWN}, which has no result"),))


def test_a_plan_depends_on_source_kind_type_and_way_in() -> None:
    wish = Wish([card("log")], firsts=[("thin", "openai", "video.completed", "callback", OWN)])
    replanner = Replanner(wish)

    def names(source: str, via: str, kind: str = "openai") -> list[str]:
        return [job[0] for job in replanner.plan(source, kind, "video.completed", via, {}, ()).jobs]

    assert names("thin", "callback") == [OWN, "log"]
    assert names("thin", "poll") == names("opennote", "callback") == ["log"]
    assert names("thin", "callback", kind="opennote") == ["log"], (
        "came along from where the name meant another"
    )


def test_the_last_job_of_a_handler_counts_and_any_of_them_may_have_the_result() -> None:
    replanner = Replanner(Wish([card("save"), card("probe", after="save")]))

    def planned(last: dict[str, JobState], *done: str) -> Replanned:
        return replanner.plan("s", "opennote", "video.completed", "callback", last, done)

    last = {"save": JobState.DONE, "probe": JobState.DEAD}
    assert jobs(planned(last, "save")) == {"probe": "ready save"}
    last = {"save": JobState.DEAD, "probe": JobState.CANCELLED}
    assert jobs(planned(last, "save", "probe")) == {"save": "ready", "probe": "waiting save"}
