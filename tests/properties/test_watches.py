"""Whatever happens in whichever order, memory and table agree on what is watched, and no ended video is."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.errors import Unavailable
from receiver.store.service import Service
from receiver.store.watches import Ending, NewWatch, Outcome, Seen
from tests.contract.stand import AGES_AGO, arrival, failing

VIDEOS = ("a", "b")
FAR = AGES_AGO + 10**12
steps = st.lists(
    st.tuples(
        st.sampled_from(("add", "progress", "completed", "failed", "watch_expired", "note", "end", "undone")),
        st.sampled_from(VIDEOS),
    ),
    max_size=25,
)


async def _take(store: Service, path: Path, step: str, video: str) -> None:
    watch = await store.watches.of("opennote", video)
    if step == "add":
        new = NewWatch("opennote", "opennote", f"{video}@org", video, AGES_AGO, FAR)
        await store.watches.add([new])
    elif step == "note" and watch is not None:
        await store.watches.note(watch.seq, Seen(Outcome.PROGRESS, AGES_AGO, AGES_AGO, "pending", 1.0))
    elif step == "end" and watch is not None:
        await store.watches.end(watch.seq, Ending.STOPPED)
    elif step == "undone":
        with failing(path, "INSERT ON deliveries"):
            try:
                await store.record(arrival(video, "completed"))
            except Unavailable:
                return
            raise AssertionError
    elif step == "watch_expired" and watch is not None:
        expiry = arrival(video, "failed", status="watch_expired", via="poll")
        await store.watches.expire(watch.seq, expiry)
    elif step in ("progress", "completed", "failed"):
        await store.record(arrival(video, step, watch=(AGES_AGO, FAR) if step == "progress" else None))


def _look(path: Path, store: Service) -> None:
    with closing(sqlite3.connect(path)) as tables:
        rows = tables.execute("SELECT identity, source, seq, ended_at FROM watches").fetchall()
        ended = {
            identity for (identity,) in tables.execute("SELECT identity FROM events WHERE what = 'completed'")
        }
    is_open = {(identity, source): seq for identity, source, seq, ended_at in rows if ended_at is None}
    assert store._intake.watches.open == is_open
    assert len({identity for identity, *_ in rows}) == len(rows)
    assert not ended & {identity for identity, _ in is_open}


@settings(deadline=None, max_examples=50)
@given(steps)
def test_memory_and_table_agree_and_what_is_completed_is_not_watched(taken: list[tuple[str, str]]) -> None:
    async def play() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "receiver.db"
            store = Service(path, run="run1", lease_seconds=60)
            for step, video in taken:
                await _take(store, path, step, video)
                _look(path, store)
            kept = dict(store._intake.watches.open)
            await store.close()
            again = Service(path, run="run2", lease_seconds=60)
            assert again._intake.watches.open == kept
            await again.close()

    asyncio.run(play())
