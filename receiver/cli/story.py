"""The story of a video in words: what came, what each handler did with it, what happens next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from receiver.cli.output import bytes_in_words, last_seen, length, local, plain, when
from receiver.cli.wrapping import wrapped

if TYPE_CHECKING:
    from receiver.store.values import Row

_OUTCOMES = {
    "done": "done",
    "retry": "failed, to be tried again",
    "fail": "failed for good",
    "cancel": "not its business",
    "lost": "lost, which costs nothing",
}
_ENDED = ("done", "dead", "cancelled")
_NEWEST_DELIVERIES = 20


def tell(row: Row, *, marks: str, now: int, width: int | None) -> None:
    """Print it in lines of a width; without one (a file or a pipe has none), each sentence is one line."""
    for line in _story(row, marks, now):
        click.echo(wrapped(plain(line), width))


def _story(row: Row, marks: str, now: int) -> Iterator[str]:
    yield f"{row['id']}  {row['type']}  {row['source']}"
    facts = {
        "video": row["video_id"],
        "title": row["title"] or "-",
        "status": row["status"] or "-",
        "received": _received(row["deliveries"], row["arrivals"], now),
        **(
            {"copied": f"{when(row['copied_at'], now=now)}, from another receiver"}
            if row["copied_at"]
            else {}
        ),
        "body": _body(row, now),
        **({"looked up": _looked_up(row["object"])} if row["object"] else {}),
        "event key": f"{row['identity']}:{row['what']}",
        **({"watch": _watch(row["watch"], now)} if row["watch"] else {}),
        "marks": marks or "-",
    }
    for name, value in facts.items():
        yield f"  {name:10} {value}"
    yield "deliveries:"
    yield from _deliveries(row["deliveries"], row["arrivals"], now)
    yield "jobs:" if row["jobs"] else "jobs: none; no handler wants such an event"
    for job in row["jobs"]:
        attempts = [attempt for attempt in row["attempts"] if attempt["job"] == job["id"]]
        yield from _job(job, attempts, row["jobs"], now)


def _received(deliveries: Sequence[Row], arrivals: int, now: int) -> str:
    first, last = deliveries[0], deliveries[-1]
    said = when(first["received_at"], now=now)
    if arrivals == 1:
        return f"{said}, once"
    return f"{said}, {arrivals:,} times, the last {when(last['received_at'], now=now)}"


def _deliveries(deliveries: Sequence[Row], arrivals: int, now: int) -> Iterator[str]:
    """The first one and the newest; those between them are counted."""
    shown = [*deliveries[:1], *deliveries[1:][-_NEWEST_DELIVERIES:]]
    left_out = arrivals - len(shown)
    for number, delivery in enumerate(shown):
        if number == 1 and left_out:
            yield f"  … {left_out:,} more; `receiver export` has all of them"
        came, size = when(delivery["received_at"], now=now), bytes_in_words(delivery["bytes"])
        yield f"  {came}  {delivery['verdict']:9}  {delivery['via']}  {size}"


def _watch(watch: Row, now: int) -> str:
    seen = f"last seen {last_seen(watch['status'], watch['progress'])}"
    if watch["seen_at"] is not None:
        seen += f" {when(watch['seen_at'], now=now)}"
    times = f"asked {watch['asked']} times"
    if watch["ending"] is not None:
        return f"{watch['ending']} {when(watch['ended_at'], now=now)}, {times}, {seen}"
    error = f", but: {watch['last_error']}" if watch["last_error"] else ""
    until = f"until {local(watch['deadline_at'])}"
    return f"open {until}, {seen}, {times}{error}, next {when(watch['next_at'], now=now)}"


def _body(row: Row, now: int) -> str:
    said = bytes_in_words(row["bytes"])
    if row["body_removed_at"] is not None:
        return f"{said}, removed by retention {when(row['body_removed_at'], now=now)}"
    return said


def _looked_up(found: Row) -> str:
    """What the provider said of the video when it was asked."""
    said = [f"{name} {found[name]}" for name in ("status", "model", "seconds", "size") if found.get(name)]
    return ", ".join(said) or "the provider knows it"


def _job(job: Row, attempts: Sequence[Row], jobs: Sequence[Row], now: int) -> Iterator[str]:
    replay = f" (replay {job['replay']})" if job["replay"] else ""
    yield f"  {job['handler']}{replay}: {_state(job, len(attempts), jobs, now)}"
    if job["state"] in ("dead", "cancelled") and job["last_error"] and not _is_told(job, attempts):
        yield f"    because {job['last_error']}"
    for attempt in attempts:
        yield f"    {_attempt(attempt, now)}"
    if job["state"] == "running":
        began = when(job["started_at"], now=now)
        yield f"    attempt {job['attempts'] + 1}: {began}, running in worker {job['worker']}"
    if job["state"] in ("waiting", "ready") and job["expires_at"] is not None:
        yield f"    the link stops working {when(job['expires_at'], now=now)}"
    yield from _result(job["result"])


def _is_told(job: Row, attempts: Sequence[Row]) -> bool:
    """Whether the last attempt says why already."""
    return bool(attempts) and attempts[-1]["error"] == job["last_error"]


def _state(job: Row, attempts: int, jobs: Sequence[Row], now: int) -> str:
    state = job["state"]
    if state in _ENDED:
        ended = f" {when(job['ended_at'], now=now)}" if job["ended_at"] else ""
        tried = f" after {attempts} attempts" if attempts > 1 else ""
        return f"{state}{ended}{tried}"
    if state == "waiting":
        before = (job["waits_for"], job["replay"])
        others = [other["state"] for other in jobs if (other["handler"], other["replay"]) == before]
        return f"waiting for {job['waits_for']}, which is {others[-1] if others else 'not there'}"
    if state == "ready":
        alone = ", by itself, as its worker died" if job["crashes"] else ""
        if job["run_at"] is None or job["run_at"] <= now:
            return f"ready{alone}: attempt {job['attempts'] + 1} is due and waits for a free worker"
        return f"ready{alone}: attempt {job['attempts'] + 1} is due {when(job['run_at'], now=now)}"
    return "running"


def _attempt(attempt: Row, now: int) -> str:
    took = length(attempt["ended_at"] - attempt["started_at"])
    said = f"attempt {attempt['number']}: {when(attempt['started_at'], now=now)}, ended {_clock(attempt)}"
    said += f" after {took}: {_OUTCOMES[attempt['outcome']]}"
    error_class, error = attempt["error_class"], attempt["error"]
    if error_class and not (error or "").startswith(error_class):
        said += f": {error_class}"
    said += f": {error}" if error else ""
    return said + (f" [worker {attempt['worker']}]" if attempt["outcome"] == "lost" else "")


def _clock(attempt: Row) -> str:
    """The time of day is enough on the same day."""
    began, ended = local(attempt["started_at"]), local(attempt["ended_at"])
    return ended[11:] if began[:10] == ended[:10] else ended


def _result(text: str | None) -> Iterator[str]:
    """What the handler returned; a file before the rest."""
    import orjson

    if not text:
        return
    result: Any = orjson.loads(text)
    if isinstance(result, dict) and isinstance(result.get("path"), str):
        size = result.get("bytes")
        yield f"    file: {result['path']}" + (f" ({bytes_in_words(size)})" if isinstance(size, int) else "")
    yield f"    result: {text}"
