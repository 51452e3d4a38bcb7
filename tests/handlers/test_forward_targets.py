"""Where the shipped handler that posts events on may send what, and how targets are configured."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver import Cancel, Fail, Video
from receiver.errors import HandlerError
from receiver.event import StoredBody
from receiver.loading import load
from receiver.outcome import Done
from tests.forwarding import (
    EVENT_ID,
    MARKER,
    OTHER,
    SECRET,
    SENT,
    a_target,
    an_event,
    believed,
    loaded,
    outcome,
)
from tests.sink import Sink, said, sinking


@pytest.fixture
def sink() -> Iterator[Sink]:
    with sinking() as running:
        yield running


# What leaves the machine.

ODD = st.text(st.characters(), max_size=20) | st.sampled_from(
    [f"a\r\nX-Api-Key: {MARKER}", "a\r\n\r\nGET / HTTP/1.1", "\0", "\u2028", "é", " a ", "\ud800"]
)


@pytest.mark.fault("R10")
def test_whatever_an_event_holds_only_the_allowed_headers_leave(tmp_path: Path) -> None:
    fates = {"sent": 0, "kept": 0}
    with sinking() as sink, asyncio.Runner() as runner:

        @settings(max_examples=100, deadline=None)
        @given(ids=st.tuples(ODD, ODD) | st.tuples(st.just(EVENT_ID), st.just("key")), text=ODD)
        def check(ids: tuple[str, str], text: str) -> None:
            sink.requests.clear()
            event = an_event(
                id=ids[0],
                source=text,
                key=text,
                warnings=(text, MARKER),
                video=Video(id=text, title=MARKER, url=f"https://x/?{MARKER}"),
                payload={"X-API-Key": MARKER, "headers": {"Authorization": MARKER, text: text}},
            )
            ending = runner.run(
                outcome(a_target(sink.base), folder=tmp_path, event=event, idempotency_key=ids[1])
            )
            if not sink.requests:
                assert isinstance(ending, Fail)
                assert "header" in ending.reason
                fates["kept"] += 1
                return
            (request,) = sink.requests
            assert sorted(name.lower() for name, _ in request.headers) == sorted(SENT)
            assert MARKER not in str(request.headers)
            assert (request.header("webhook-id"), request.header("idempotency-key")) == ids
            if ids[0] == EVENT_ID:
                believed(request, SECRET)
            fates["sent"] += 1

        check()
    assert min(fates.values()) > 10, fates


@pytest.mark.anyio
@pytest.mark.fault("S13")
async def test_no_url_of_an_event_is_ever_asked_for(sink: Sink, tmp_path: Path) -> None:
    with sinking() as trap:
        url, key = f"{trap.base}/trap", itertools.cycle(["url", "to", "target", "callback", "webhook_url"])
        payload = {next(key): url for _ in range(5)} | {"targets": [{"url": url, "secret": SECRET}]}
        event = an_event(
            video=Video(id=url, url=url),
            payload=payload,
            source=url,
            body=StoredBody(raw=json.dumps(payload).encode()),
        )
        assert await outcome(a_target(sink.base), folder=tmp_path, event=event) == Done({"status": 204})

        assert trap.connections == 0
    assert url.encode() in sink.requests[0].body


@pytest.mark.anyio
@pytest.mark.fault("S1", "S13")
@pytest.mark.parametrize(
    ("addresses", "allow_private", "reason"),
    [
        (["10.0.0.1"], False, "not a public one"),
        (["fd12::1"], False, "not a public one"),
        (["169.254.169.254"], True, "neither a public nor a private one"),
        (["127.0.0.1"], True, "neither a public nor a private one"),
        (["10.0.0.1", "100.100.100.200"], True, "neither a public nor a private one"),
        (["8.8.8.8", "fd00:ec2::254"], True, "neither a public nor a private one"),
    ],
)
async def test_a_name_that_leads_into_the_own_network_is_refused_before_connecting(
    addresses: list[str], allow_private: bool, reason: str, sink: Sink, tmp_path: Path
) -> None:
    asked = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return addresses

    target = a_target(f"https://hooks.example:{sink.port}/?token=1", allow_private=allow_private)
    ending = await outcome(target, folder=tmp_path, resolver=resolve)

    assert isinstance(ending, Fail)
    assert ending.reason.endswith(reason)
    assert (asked, sink.connections) == (["hooks.example"], 0)


# Targets are handlers.


def test_each_target_is_a_handler_with_limits_of_its_own(tmp_path: Path) -> None:
    more = {"events": ["video.failed"], "timeout": "5s", "attempts": 3, "concurrency": 1}
    one = a_target("https://a.example/")
    cards = [handler.card for handler in loaded(one, one | {"name": "two"} | more, folder=tmp_path).handlers]

    assert [card.name for card in cards] == ["forward.one", "forward.two"]
    assert cards[0].types == ("video.completed", "video.failed", "video.progress", "video.unknown")
    assert (cards[0].attempts, cards[0].timeout_seconds, cards[0].concurrency) == (20, 90, 4)
    assert cards[1].types == ("video.failed",)
    assert (cards[1].attempts, cards[1].timeout_seconds, cards[1].concurrency) == (3, 35, 1)


@pytest.mark.anyio
async def test_settings_that_were_read_afresh_are_used_and_a_removed_target_cancels(
    sink: Sink, tmp_path: Path
) -> None:
    before = a_target(sink.answer("/before", said("500 x")))
    after = a_target(f"{sink.base}/after", secret=OTHER)
    fresh = loaded(after, folder=tmp_path).settings["forward"]
    removed = loaded(after | {"name": "another"}, folder=tmp_path).settings["forward"]

    assert await outcome(before, folder=tmp_path, settings=fresh) == Done({"status": 204})
    (request,) = sink.requests
    believed(request, OTHER)
    ending = await outcome(before, folder=tmp_path, settings=removed)
    assert isinstance(ending, Cancel)
    assert len(sink.requests) == 1


@pytest.mark.parametrize(
    ("changes", "mistake"),
    [
        ({"url": "http://hooks.example/token=1"}, "targets.0.url: the link is plain http"),
        ({"url": "https://me:token=1@hooks.example/"}, "targets.0.url: the link's host is not a plain"),
        (
            {"url": "https://hooks.example/#token=1"},
            "targets.0.url: the link is not https, or has a",
        ),
        ({"secret": "whsec_token="}, "targets.0: a secret is base64"),
        ({"secret": ""}, "targets.0: a secret is base64"),
        ({"secret": []}, "targets.0: give either secret or secret_file"),
        ({"secret_file": "token=1"}, "targets.0: give either secret or secret_file"),
        ({"secret": [], "secret_file": "missing"}, "targets.0: secret_file can't be read: No such file"),
        ({"events": ["video.done"]}, "targets.0.events.0: Input should be 'video.completed'"),
        ({"events": []}, "targets.0.events: "),
        ({"timeout": "soon"}, "targets.0.timeout: expected a number and a unit"),
        ({"attempts": 0}, "targets.0.attempts: "),
        ({"name": "a.b"}, "name='a.b' can't be a handler's name"),
        ({"urll": "https://x.example/?token=1"}, 'targets.0: unknown key urll; did you mean "url"?'),
    ],
)
def test_a_mistake_is_told_when_handlers_are_loaded(
    changes: dict[str, Any], mistake: str, tmp_path: Path
) -> None:
    with pytest.raises(HandlerError) as caught:
        loaded(a_target("https://hooks.example/") | changes, folder=tmp_path)

    assert mistake in str(caught.value)
    assert "token=" not in str(caught.value)
    assert SECRET not in str(caught.value)


def test_targets_are_needed_and_have_different_names(tmp_path: Path) -> None:
    with pytest.raises(HandlerError, match=r"needs the setting targets; add targets = …"):
        load(["handlers.forward"], folder=tmp_path, tables={})
    with pytest.raises(HandlerError, match="targets: "):
        loaded(folder=tmp_path)
    with pytest.raises(HandlerError, match="two targets have the same name"):
        loaded(*[a_target("https://hooks.example/")] * 2, folder=tmp_path)


def test_settings_don_t_show_what_is_secret(tmp_path: Path) -> None:
    shown = repr(loaded(a_target("https://hooks.example/?token=1"), folder=tmp_path).settings)

    assert "one" in shown
    assert not [word for word in (SECRET[6:], "token=") if word in shown]
