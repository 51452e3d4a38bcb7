"""What every test shares: the event loop, what is measured, and skips that are not tolerated everywhere."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator

import pytest
from hypothesis import settings

MEASURED = frozenset(
    {
        "api_contents",
        "api_document",
        "api_replays",
        "api_stream",
        "captures",
        "cli",
        "demo",
        "faults_dispatch",
        "listen",
        "listen_beside",
        "replay",
        "repost",
        "send",
        "serve",
        "submit",
        "upkeep",
        "videos",
        "watches",
    }
)
"""The modules of tests/acceptance whose programs are measured: between them they reach what the others do."""

# How long an example takes says what else the machine was doing.
settings.register_profile("receiver", deadline=None)
settings.load_profile("receiver")


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio, as the program does."""
    return "asyncio"


@pytest.fixture(scope="module", autouse=True)
def measured(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave the programs of most modules out of the coverage: measuring costs half as much again."""
    folder, _, name = request.module.__name__.rpartition(".test_")
    with pytest.MonkeyPatch.context() as patch:
        if folder == "tests.contract" or (folder == "tests.acceptance" and name not in MEASURED):
            for variable in [name for name in os.environ if name.startswith("COVERAGE_PROCESS_")]:
                patch.delenv(variable)
        yield


def _forbid_skip(report: pytest.TestReport | pytest.CollectReport, *, is_debian: bool) -> None:
    """Turn a skip for want of something installable into a failure, in continuous integration."""
    if not report.skipped or hasattr(report, "wasxfail") or os.environ.get("CI") != "true":
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if is_debian or reason.removeprefix("Skipped: ").startswith("needs"):
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be missing (CI=true): {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Judge the skip of a test."""
    report = yield
    _forbid_skip(report, is_debian=item.get_closest_marker("debian") is not None)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Judge the skip of a whole module."""
    report = yield
    _forbid_skip(report, is_debian=False)
    return report
