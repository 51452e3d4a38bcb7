"""Whose end is waited for: watches of every kind of source, and the failure that is recorded in the end."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import orjson
import pytest

from receiver import settings, sources
from receiver.body import read_small
from receiver.errors import BadBody
from receiver.record import Arrival
from receiver.recording import Plans, arrival_of
from receiver.router import HandlerCard
from receiver.settings.tables import WatchSettings
from receiver.sources.base import Admission, ApiRequest, Source
from receiver.sources.opennote import Opennote
from receiver.store.watches import Watch
from receiver.watching import Patience, can_ask, given_up, new_watch

NOW = 1_700_000_000_000
PATIENCE = Patience(first_ms=1000, deadline_ms=60_000)
KINDS = ("opennote", "openai", "openai-compatible")
TABLES = {
    "opennote": {"kind": "opennote", "organization_id": "org", "api_keys": ["key"]},
    "openai": {"kind": "openai", "webhook_secrets": ["whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQ="], "api_key": "key"},
    "openai-compatible": {"kind": "openai-compatible", "api_key": "key", "api_url": "https://x.example.com"},
}
PENDING = {
    "opennote": {"status": "pending", "video_id": "v1", "completion_percentage": 5},
    "openai": {"object": "video", "id": "v1", "status": "in_progress", "progress": 5},
    "openai-compatible": {"object": "video", "id": "v1", "status": "running", "progress": 5},
}


def source_of(kind: str, folder: Path) -> Source:
    config = settings.parse({"sources": {"one": TABLES[kind]}}, folder=folder)
    return sources.configured(config)["one"]


def answer(source: Source, payload: object, *, via: str = "poll", is_watched: bool = False) -> Arrival:
    """What is recorded of an answer, or of a callback that says the same."""
    return arrival_of(
        source,
        Admission("v1"),
        read_small(orjson.dumps(payload), Admission()),
        via=via,  # type: ignore[arg-type]
        method="GET",
        path="/",
        headers="[]",
        plans=Plans([]),
        now=NOW,
        random=bytes,
        watch=PATIENCE.until if is_watched else None,
    )


def stored(source: Source, video: str = "v1", *, status: str | None = None) -> Watch:
    new = new_watch(source, video, PATIENCE, now=NOW)
    at = (NOW, new.first_at, new.deadline_at)
    return Watch(7, *new[:4], *at, 3, 0, status, None, None, None, None, None, None)


@pytest.mark.parametrize("kind", KINDS)
def test_a_watch_is_of_the_video_that_an_answer_is_about(kind: str, tmp_path: Path) -> None:
    source = source_of(kind, tmp_path)
    watch = new_watch(source, "v1", PATIENCE, now=NOW)

    arrival = answer(source, PENDING[kind])
    assert (watch.source, watch.kind, watch.video_id) == ("one", kind, "v1")
    assert (watch.identity, watch.video_id) == (arrival.identity, arrival.video_id)
    assert (watch.first_at, watch.deadline_at) == (NOW + 1000, NOW + 60_000)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("video", ["x" * 300, "two\nlines", ""])
def test_no_video_is_watched_whose_id_could_not_be_kept(kind: str, video: str, tmp_path: Path) -> None:
    with pytest.raises(BadBody):
        new_watch(source_of(kind, tmp_path), video, PATIENCE, now=NOW)


@pytest.mark.parametrize("kind", KINDS)
def test_a_video_that_is_given_up_has_failed_in_the_shape_of_its_kind(kind: str, tmp_path: Path) -> None:
    source = source_of(kind, tmp_path)
    card = HandlerCard("tell", ("video.failed",), None, 3, 60, None, None, "")
    watch = stored(source, status="in_progress")

    arrival = given_up(source, watch, plans=Plans([card]), now=NOW + 60_000, random=bytes)

    assert (arrival.type, arrival.what, arrival.status) == ("video.failed", "failed", "watch_expired")
    assert (arrival.identity, arrival.video_id, arrival.source) == (watch.identity, "v1", "one")
    assert (arrival.via, arrival.jobs) == ("poll", [("tell", "ready", None, None)])
    video = sources.video_of(kind, orjson.loads(arrival.body or ""))
    assert (video.id, video.error.code) == ("v1", "watch_expired")
    reason = "no end of the video was heard of within 1m; it was last seen as in_progress"
    assert video.error.message == reason


def test_what_was_never_seen_is_not_said_to_have_been(tmp_path: Path) -> None:
    source = source_of("opennote", tmp_path)
    arrival = given_up(source, stored(source), plans=Plans([]), now=NOW, random=bytes)

    assert orjson.loads(arrival.body or "")["message"] == "no end of the video was heard of within 1m"


@pytest.mark.parametrize("kind", KINDS)
def test_progress_opens_a_watch_and_nothing_else_does(kind: str, tmp_path: Path) -> None:
    source = source_of(kind, tmp_path)
    ended = {**PENDING[kind], "status": "completed"}
    odd = {**PENDING[kind], "status": "odd"}

    assert answer(source, PENDING[kind], is_watched=True).watch == (NOW + 1000, NOW + 60_000)
    assert answer(source, PENDING[kind]).watch is None
    assert answer(source, ended, is_watched=True).watch is None
    assert answer(source, odd, is_watched=True).watch is None


def test_progress_of_a_video_without_an_id_opens_none(tmp_path: Path) -> None:
    source = source_of("opennote", tmp_path)
    body = read_small(b'{"status": "pending"}', Admission())
    arrival = arrival_of(
        source,
        Admission(),
        body,
        via="callback",
        method="POST",
        path="/",
        headers="[]",
        plans=Plans([]),
        now=NOW,
        random=bytes,
        watch=PATIENCE.until,
    )

    assert (arrival.what, arrival.watch) == ("progress", None)


class Keyless(Opennote):
    """One that can't be asked."""

    def status_request(self, video_id: str) -> ApiRequest | None:  # type: ignore[override]
        """There is no key for that."""
        return None


def test_only_a_source_with_a_key_can_be_asked(tmp_path: Path) -> None:
    config = settings.parse({"sources": {"one": TABLES["opennote"]}}, folder=tmp_path)
    (table,) = config.sources.values()
    assert isinstance(table, settings.OpennoteSettings)
    keyless = Keyless("two", table, redactor_key=b"", max_body=1000)

    assert not can_ask({})
    assert not can_ask({"two": keyless})
    assert can_ask({"two": keyless, **sources.configured(config)})
    assert answer(keyless, PENDING["opennote"], is_watched=True).watch is None


def test_how_long_a_callback_is_waited_for_is_a_setting() -> None:
    set_so = WatchSettings(missed_after=timedelta(minutes=3), deadline=timedelta(hours=2))

    assert Patience.with_caller(set_so).until(NOW) == (NOW + 180_000, NOW + 7_200_000)
