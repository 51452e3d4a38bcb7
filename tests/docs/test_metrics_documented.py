"""Every metric that is exported is documented, and every documented one is exported."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from receiver.metrics import VERDICTS, Meter, Metrics
from receiver.store.service import Service

DEPLOY = (Path(__file__).parents[2] / "deploy" / "README.md").read_text("utf-8")


async def exported(folder: Path) -> dict[str, set[str]]:
    """Name, as Prometheus shows it → labels; asked of a real store."""
    meter = Meter()
    meter.count("one", "accepted", 0.1, 5)
    store = Service(folder / "receiver.db", run=None, lease_seconds=60)
    text = (await Metrics(meter, figures=store.figures, folders={"store": folder}).text()).decode()
    await store.close()
    found = {}
    for family in text_string_to_metric_families(text):
        ending = "_total" if family.type == "counter" and not family.name.endswith("_total") else ""
        found[family.name + ending] = {label for sample in family.samples for label in sample.labels}
    return found


def documented() -> dict[str, set[str]]:
    """Name → labels, as the table has them."""
    rows = re.findall(r"^\| (`receiver_.+?) \| (.*?) ?\| .+ \|$", DEPLOY, re.MULTILINE)
    return {
        name: set(re.findall(r"`(\w+)`", labels))
        for names, labels in rows
        for name in re.findall(r"`(\w+)`", names)
    }


@pytest.mark.anyio
async def test_the_table_of_metrics_has_every_metric_with_its_labels_and_no_other(tmp_path: Path) -> None:
    assert documented() == await exported(tmp_path)


@pytest.mark.parametrize("verdict", VERDICTS)
def test_every_verdict_is_explained(verdict: str) -> None:
    (row,) = re.findall(r"^\| `receiver_deliveries_total`.*", DEPLOY, re.MULTILINE)

    assert re.search(rf"\b{verdict}\b", row)
