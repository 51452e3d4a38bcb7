"""What ends something long, and in time."""

from __future__ import annotations

import asyncio
import signal

import pytest

from receiver.cli.progress import until_interrupted


@pytest.mark.anyio
@pytest.mark.usefixtures("usual_signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_asks_for_the_end_and_does_what_it_always_did_afterwards(
    number: signal.Signals,
) -> None:
    before = signal.getsignal(number)
    with until_interrupted() as stop:
        signal.raise_signal(number)
        async with asyncio.timeout(10):
            await stop.wait()

    assert signal.getsignal(number) == before


@pytest.mark.anyio
async def test_what_nohup_has_started_goes_on_without_its_terminal() -> None:
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with until_interrupted() as stop:
            signal.raise_signal(signal.SIGHUP)
            await asyncio.sleep(0)
            assert not stop.is_set()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, former)
