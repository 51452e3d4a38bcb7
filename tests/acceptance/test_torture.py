"""A sample of `make torture`: killed, stopped, failed and cut off, and nothing acknowledged is lost."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest

from tests.torture.audit import Audit
from tests.torture.cuts import can_mount, cut
from tests.torture.eio import AT_THE_START, FAULTS, break_disk
from tests.torture.kills import kill
from tests.torture.load import Connection, large, small
from tests.torture.report import Counts, as_table
from tests.torture.stand import OPTIONS, Stand, standing
from tests.torture.terms import term

KILLS = 24 if os.environ.get("CI") == "true" else 60
TERMS = 16
CUTS = 2
_STEP = 17
_MORE_SECONDS = 300
pytestmark = [pytest.mark.slow, pytest.mark.timeout(_MORE_SECONDS)]


@pytest.fixture
def chance() -> random.Random:
    """Another moment for each kill in each run; a failure names the seed."""
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    return random.Random(seed)


def nothing_is_wrong(all_counts: Iterable[Counts]) -> None:
    """Print the table, which pytest shows with a failure, and see no complaint in it."""
    listed = list(all_counts)
    print(as_table(listed))
    assert [problem for counts in listed for problem in counts.problems] == []
    assert {counts.doubled + counts.halves for counts in listed} == {0}


def test_the_judge_sees_whatever_is_wrong(tmp_path: Path) -> None:
    with standing(tmp_path) as stand:
        stand.receiver.start(*OPTIONS)
        connection = Connection(stand.receiver.url, stand.ledger)
        posts = [small("gone"), small("other"), small("jobless"), large("no-file"), large("torn")]
        assert [connection.post(post) for post in posts] == [200] * len(posts)
        connection.close()
        stand.finish(Counts("fine"))
        assert stand.look() == Audit(jobs=Counter(done=7), events=5, deliveries=5)
        no_file, torn = _body_file(stand, "no-file"), _body_file(stand, "torn")
        no_file.unlink()
        torn.write_bytes(torn.read_bytes()[:-1])
        torn.with_name("0" * 64).touch()
        (stand.data / "bodies" / "incoming" / "x.part").touch()
        with closing(sqlite3.connect(stand.database)) as database, database:
            database.execute("DELETE FROM jobs WHERE event = 3")
            database.execute("UPDATE deliveries SET body = 'x' WHERE event = 2")
            database.execute("DELETE FROM events WHERE seq = 1")
        del stand.ledger.sent["torn"]

        found = stand.look()

    assert [line.partition(":")[0] for line in found.lost] == ["other", "no-file", "gone"]
    assert {line.partition(":")[0] for line in found.halves} >= {"jobless", "torn"}
    assert (found.orphans, found.temporary, found.events) == (1, 1, 4)


def _body_file(stand: Stand, video: str) -> Path:
    sha256 = stand.ledger.sent[video].sha256
    return stand.data / "bodies" / sha256[:2] / sha256


@pytest.mark.fault("C1", "C7", "D8", "O10")
def test_kill_9_again_and_again_loses_and_doubles_nothing(tmp_path: Path, chance: random.Random) -> None:
    counts = kill(tmp_path, kills=KILLS, chance=chance)
    nothing_is_wrong([counts])
    assert (counts.runs, counts.lost) == (KILLS, 0)
    assert sum(times for note, times in counts.notes.items() if note.startswith("kill -9")) == KILLS
    assert counts.tally["acknowledged"] > KILLS
    assert counts.tally["unanswered"] > 0, "no kill ever met a post under way"
    assert counts.notes["videos saved"] > 0


@pytest.mark.fault("O4", "O10")
def test_sigterm_at_any_moment_ends_in_time_and_keeps_what_was_acknowledged(
    tmp_path: Path, chance: random.Random
) -> None:
    counts = term(tmp_path, terms=TERMS, chance=chance)
    nothing_is_wrong([counts])
    assert (counts.runs, counts.lost) == (TERMS, 0)
    assert 0 < counts.longest_exit < 30
    assert {"SIGTERM: plain", "SIGTERM: upload", "SIGTERM: job", "SIGTERM: start"} <= set(counts.notes)


@pytest.mark.debian
@pytest.mark.fault("C3", "O10")
def test_a_call_that_fails_is_a_503_and_what_nobody_can_vouch_for_ends_the_store(tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    counts = break_disk(tmp_path, step=_STEP)
    nothing_is_wrong([counts])
    assert counts.lost == 0
    assert {f"{fault}, injected" for fault in (*FAULTS, AT_THE_START)} <= set(counts.notes), (
        "not every kind has fired"
    )


@pytest.mark.root
@pytest.mark.fault("C2", "O10")
def test_a_power_cut_loses_nothing_that_was_acknowledged(tmp_path: Path, chance: random.Random) -> None:
    if not can_mount(tmp_path):
        pytest.skip("needs root, and a kernel that mounts an image")
    counts, careless = cut(tmp_path, cuts=CUTS, chance=chance)
    nothing_is_wrong([counts, careless])
    assert (counts.runs, counts.lost) == (CUTS, 0)
    assert counts.notes["events acknowledged shortly before a cut"] > CUTS
    assert careless.lost > 0
    assert careless.notes["files lost without a sync"] > 0
