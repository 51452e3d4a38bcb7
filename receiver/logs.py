"""Logging: what is said, in which form. Every event that is ever logged is listed here.

Lines go to standard error: readable on a terminal, else one JSON object per line. No line carries a
credential, a URL's query string, or text of a payload beyond id, status and title.
"""

from __future__ import annotations

import io
import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from types import ModuleType, TracebackType
from typing import Any, ClassVar, TextIO, cast

import orjson

# structlog loads rich where it finds it, for a renderer that is not used here. Each process is spared that.
_rich = sys.modules.get("rich")
sys.modules["rich"] = cast(ModuleType, _rich)  # None: can't be imported
import structlog  # noqa: E402

if _rich is None:
    del sys.modules["rich"]

from receiver.links import unsigned  # noqa: E402
from receiver.sink import Sink  # noqa: E402

EVENTS = {
    "server.started": "the endpoint listens",
    "server.stopping": "a signal arrived; what is under way is finished",
    "server.stopped": "everything has ended",
    "server.failed": "a request met a mistake of ours; the sender was told to come again",
    "settings.reloaded": "credentials and handler settings were read afresh (SIGHUP)",
    "settings.refused": "the configuration has a mistake, so that nothing was changed",
    "logs.dropped": "how many lines were lost while nobody read the log",
    "handlers.loaded": "which handlers will get jobs",
    "event.recorded": "a delivery became an event, durably",
    "event.refuted": "a provider denies what a callback said; no handler gets to see it",
    "delivery.repeated": "a delivery was a duplicate of a recorded event",
    "delivery.conflicted": "a delivery contradicts a completed event; nothing is dispatched",
    "deliveries.summed": "how many more were recorded in the last second, when there are too many to tell",
    "delivery.rejected": "a request was not believed",
    "delivery.refused": "a believed request could not be recorded, or its body was wrong",
    "delivery.abandoned": "the sender went away before its body was complete",
    "listener.connected": "another receiver's events are being followed",
    "listener.disconnected": "the other receiver was lost, or can't answer; when it is tried again",
    "event.copied": "an event of another receiver was recorded here, durably",
    "copies.summed": "how many more were recorded in the last second",
    "copy.delayed": "an event could not be fetched or recorded for a while; it is tried again",
    "events.missed": "events of another receiver are lost to this one: a gap, or one that can't be taken",
    "original.revealed": "an original body, or a video, was sent to somebody with the admin token",
    "originals.summed": "how many more were sent in the last second",
    "store.started": "the database is open",
    "store.migrated": "the database was brought up to date",
    "store.damaged": "the whole file was read, and something in it is wrong; the receiver is not ready",
    "store.failed": "the database can't be trusted to write any more; the store ends",
    "store.stopped": "the database was closed",
    "retention.applied": "what was over and old enough was removed",
    "retention.failed": "what is old could not be removed; the next hour tries again",
    "bodies.swept": "body files that belong to no event were removed",
    "bodies.missed": "events whose body file is gone",
    "process.started": "a child process was started",
    "process.died": "a child process ended by itself and is started again",
    "worker.started": "a worker takes jobs",
    "worker.draining": "a worker takes no more jobs and finishes those it has",
    "worker.stopped": "a worker has ended",
    "worker.disconnected": "a worker lost the store and tries again",
    "worker.expired": "a worker was silent for a whole lease; its jobs were given back",
    "worker.stalled": "an async handler held the worker's loop for over a second",
    "worker.killed": "a handler held the loop too long, or did not stop; the worker ends and is replaced",
    "worker.lapsed": "a worker can't renew its lease; it stops its handlers before that runs out, and ends",
    "poller.started": "providers are asked for videos of whose end nobody has told",
    "poller.stopped": "nobody is asked any more",
    "poller.disconnected": "the poller lost the store, or could not record an answer, and tries again",
    "watch.ended": "a video's end was found by asking",
    "watch.refused": "asking about a video failed in a new way; it is asked again until its deadline",
    "watch.expired": "a video was given up at its deadline, as failed (watch_expired)",
    "watches.summed": "how many more failed in that second",
    "job.started": "a handler runs",
    "jobs.summed": "more jobs began or were done in a second than are told of one by one; how many of which",
    "job.suspected": "a worker died while it had the job, which runs alone from now on",
    "worker.oversized": "a worker used more than worker.max_memory and was killed",
    "job.finished": "a handler is done",
    "job.retried": "an attempt failed; the job runs again later",
    "job.failed": "a job is dead",
    "job.cancelled": "a handler said that the event is not its business",
    "settlement.refused": "what came of an attempt can't be stored; its job is dead, and says so",
    "job.lost": "an attempt ended after its claim had gone to somebody else",
    "handler.raised": "the traceback of a failed attempt",
    "video.resumed": "a download goes on with what an earlier attempt left",
    "video.progressed": "how far a long download is, every ten seconds",
    "video.saved": "a video is complete, under its final name",
}

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff]")
# Names of fields whose values nobody should have logged.
_SECRET = re.compile(r"(?i)api[_-]?key|authorization|cookie|credential|passw|secret|signature|token")


def configure(*, style: str = "auto", level: str = "info", waits: bool = True) -> None:
    """Set the form (auto, json, text) and the least severity, once, for this process.

    `plain` is text without colours, `auto-plain` what auto is without them.

    A process that must not stand still when nobody reads its log sets `waits` to False: a thread
    writes the lines then, and `finish` comes before an end that Python does not notice.
    """
    is_terminal = sys.stderr.isatty()
    as_text = style in ("text", "plain") or (style.startswith("auto") and is_terminal)
    renderer: Any = _Text(colors=is_terminal and not style.endswith("plain")) if as_text else _json_line
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _harmless,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=_Loggers(_Unfailing(sys.stderr) if waits else Sink(sys.stderr.fileno())),
        cache_logger_on_first_use=True,
    )
    if not waits:
        sys.excepthook = _after_the_log


def _after_the_log(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print what ended the process when no line is being written any more: neither tears the other."""
    finish()
    sys.__excepthook__(kind, error, trace)


def finish() -> None:
    """Wait a second at most until what was logged is written: before `os._exit`."""
    loggers = structlog.get_config()["logger_factory"]
    if isinstance(loggers, _Loggers) and isinstance(loggers.stream, Sink):
        loggers.stream.finish()


class _Loggers(structlog.WriteLoggerFactory):
    """Makes loggers that write to a stream."""

    def __init__(self, stream: io.TextIOBase) -> None:
        super().__init__(cast(TextIO, stream))
        self.stream = stream


class _Unfailing(io.TextIOBase):
    """A stream that loses what can't be written: a full disk or a dead reader must not stop the work."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            return self._stream.write(text)
        return 0

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def get(**fields: Any) -> Any:
    """A logger that adds these fields to every line."""
    return structlog.get_logger(**fields)


def _harmless(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape control and bidi characters, so that nothing can forge a line or drive a terminal."""
    exception = line.get("exception")
    safe = {_plain(key): _unless_secret(key, value) for key, value in line.items()}
    if isinstance(exception, str):
        safe["exception"] = "\n".join(_plain(part) for part in exception.split("\n"))
    return safe


def _unless_secret(name: str, value: Any) -> Any:
    return "redacted" if _SECRET.search(name) else _plain(value)


def _plain(value: Any) -> Any:
    """Turn any value into one that JSON has, its texts escaped."""
    if isinstance(value, str):
        return unsigned(value if value.isprintable() else _CONTROL.sub(_escaped, value))
    if value is None or isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    if isinstance(value, Mapping):
        return {_plain(str(key)): _unless_secret(str(key), item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    return _plain(str(value))


def _escaped(found: re.Match[str]) -> str:
    return repr(found[0])[1:-1]


def _json_line(_: Any, __: str, line: MutableMapping[str, Any]) -> str:
    first = {key: line[key] for key in ("timestamp", "level", "event") if key in line}
    return orjson.dumps({**first, **line}).decode()


class _Text:
    """One readable line: time of day, event, fields."""

    _COLORS: ClassVar = {"warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[31m"}

    def __init__(self, *, colors: bool) -> None:
        self._colors = colors

    def __call__(self, _: Any, __: str, line: MutableMapping[str, Any]) -> str:
        fields = dict(line)
        time = str(fields.pop("timestamp", ""))[11:19]
        level = str(fields.pop("level", "info"))
        exception = fields.pop("exception", "")
        event = str(fields.pop("event", ""))
        said = " ".join(f"{key}={value}" for key, value in fields.items())
        start, end = (self._COLORS.get(level, "\x1b[1m"), "\x1b[0m") if self._colors else ("", "")
        mark = "" if level == "info" else f"{level}: "
        return f"{time} {start}{mark}{event}{end} {said}".rstrip() + _below(exception)


def _below(exception: str) -> str:
    """Indent a traceback, so that no text in it can pass for a line of its own."""
    return "".join(f"\n    {line}" for line in exception.splitlines())
