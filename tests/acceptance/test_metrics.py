"""The metrics of the real program, from the outside."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.conftest import NO_TLS, Receiver, callback, until

TOKEN = "admin_token_0123456789"


def scraped(receiver: Receiver, token: str = TOKEN) -> dict[str, float]:
    """What a scrape shows: the name and the values of the labels → the value."""
    headers = {"Authorization": f"Bearer {token}"}
    answer = httpx.get(f"{receiver.url}/metrics", headers=headers, verify=NO_TLS, trust_env=False)
    assert answer.status_code == 200, answer.text
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_metrics_follow_the_work_and_are_there_while_the_store_is_not(
    receivers: Callable[..., Receiver],
) -> None:
    receiver = receivers(f'[admin]\ntoken = "{TOKEN}"\n')
    receiver.handler(
        "from receiver import Router\nrouter = Router()\n"
        '@router.on("video.completed")\ndef note(event): ...\n'
    )
    receiver.start("--handlers", "hooks.py").ready()
    receiver.accepted(callback("v1"))
    until(lambda: scraped(receiver)["receiver_jobs done"] == 1, what="a job is done")
    shown = scraped(receiver)
    assert shown["receiver_deliveries_received_total opennote"] == 1
    assert shown["receiver_deliveries_total opennote accepted"] == 1
    assert shown["receiver_acknowledgement_seconds_count"] == 1
    assert 0 < shown["receiver_acknowledgement_seconds_sum"] < 5
    assert shown["receiver_body_bytes_total opennote"] > 50
    assert shown["receiver_store_up"] == shown["receiver_workers_alive"] == 1
    assert shown["receiver_attempts_total done"] == 1
    assert shown["receiver_oldest_ready_job_age_seconds"] == 0
    assert min(shown["receiver_disk_free_bytes store"], shown["receiver_disk_free_bytes bodies"]) > 0

    store = receiver.child("receiver.store.process")
    os.kill(store, signal.SIGSTOP)  # it holds its lock and its socket, and says nothing
    try:
        until(lambda: scraped(receiver)["receiver_store_up"] == 0, what="the store is missed")
    finally:
        os.kill(store, signal.SIGCONT)
    until(lambda: scraped(receiver)["receiver_store_up"] == 1, what="the store is there again")

    receiver.config.write_text(receiver.config.read_text().replace(TOKEN, "another"))
    os.kill(receiver.pid, signal.SIGHUP)
    receiver.logged("settings.reloaded")
    assert scraped(receiver, "another")["receiver_store_up"] == 1
    refused = httpx.get(
        f"{receiver.url}/metrics",
        headers={"Authorization": f"Bearer {TOKEN}"},
        verify=NO_TLS,
        trust_env=False,
    )
    assert refused.status_code == 401
    assert TOKEN not in receiver.log_file.read_text()
