"""Somebody who guesses keys by the thousand, while honest senders go on."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx
import pytest

from tests.acceptance.by_hand import address_of, request_of
from tests.acceptance.conftest import NO_TLS, Receiver, callback, headers
from tests.invariant import Ledger, assert_balanced

BAD_REQUESTS, GOOD_REQUESTS = 10_000, 10


@pytest.mark.anyio
@pytest.mark.fault("A13", "D2")
async def test_a_flood_of_wrong_keys_takes_little_disk_claims_no_id_and_stops_nobody(
    receiver: Receiver,
) -> None:
    receiver.start("--no-worker")
    ledger = Ledger()
    data = receiver.folder / "data"
    before = size_of(data) + receiver.log_file.stat().st_size
    body = json.dumps(callback("victim", "failed")).encode()
    sent = headers("victim", X_API_Key="guess")
    lines = [f"{name}: {value}".encode() for name, value in sent.items()]
    request = request_of(lines, body)
    numbers = iter(range(BAD_REQUESTS))
    turn = asyncio.Semaphore(0)

    async def guess() -> None:
        for number in numbers:
            reader, writer = await asyncio.open_connection(*address_of(receiver))
            writer.write(request)
            answer = await reader.read()
            writer.close()
            ledger.told(int(answer[9:12]), answer.partition(b"\r\n\r\n")[2])
            if number % (BAD_REQUESTS // GOOD_REQUESTS) == 0:
                turn.release()

    async def send_good_ones() -> list[float]:
        """Now and then while the flood runs."""
        took: list[float] = []
        async with httpx.AsyncClient(verify=NO_TLS, trust_env=False, timeout=30) as client:
            while len(took) < GOOD_REQUESTS:
                await turn.acquire()
                good = json.dumps(callback(f"good{len(took)}", "failed"))
                url = f"{receiver.url}/webhooks/opennote"
                answer = await client.post(url, content=good, headers=headers())
                assert ledger.told(answer.status_code, answer.content) == 200
                took.append(answer.elapsed.total_seconds())
        return took

    sending = asyncio.create_task(send_good_ones())
    await asyncio.gather(*(guess() for _ in range(32)))
    took = await sending
    answers = ledger.by_status
    assert answers[401] + answers[429] == BAD_REQUESTS
    assert answers[401] >= 100, "a sender with an old key is told so for a while"
    assert answers[429] > 1000
    assert max(took) < 2, "the good ones went on meanwhile"
    growth = size_of(data) + receiver.log_file.stat().st_size - before
    assert growth < 1_000_000, f"{growth} bytes for {BAD_REQUESTS} requests"
    real = receiver.post(callback("victim", "failed"))
    assert real.json()["status"] == "accepted", "nobody claims an id without credentials"
    ledger.told(real.status_code, real.content)
    receiver.stop()
    assert sum(row["repeated"] for row in receiver.look("rejections", "--limit", "1000")) == BAD_REQUESTS
    assert_balanced(data / "receiver.db", ledger)


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
