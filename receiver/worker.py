"""The worker process: how it is started, told to stop, and made to come after acknowledgements."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import orjson

from receiver import logs, settings
from receiver.errors import ReceiverError, UsageError
from receiver.lifeline import end_with_parent
from receiver.loading import Loaded, load, told_when_slow
from receiver.priority import step_back
from receiver.router import Router
from receiver.runner import Worker

_Load = Callable[[settings.Settings], Loaded]


def work(
    config: settings.Settings,
    specs: Sequence[str],
    *,
    name: str,
    relative_to: Path | None = None,
    list_to: int | None = None,
    alone: bool = False,
    router: Router | None = None,
    is_bare: bool = False,
) -> int:
    """Be a worker until SIGTERM or SIGINT; return the exit status. Raise HandlerError.

    A worker that runs its jobs `alone` takes those whose process died, and ends when there are no more.

    The handlers of a `router` are added to those that the SPECs name; it `is_bare` when there are none of
    these.

    SIGHUP reads credentials and handler settings afresh. Which handlers there are is written to the
    descriptor `list_to`, as one line of JSON, and their warnings to standard error.
    """
    import uvloop

    def load_first(config: settings.Settings) -> Loaded:
        if list_to is None:
            return load_handlers(config)
        with told_when_slow(specs or config.handlers.load):
            loaded = load_handlers(config)
        for warning in loaded.warnings:
            sys.stderr.write(f"receiver: warning: {warning}\n")
        with os.fdopen(list_to, "wb") as pipe:
            pipe.write(orjson.dumps([asdict(handler.card) for handler in loaded.handlers]) + b"\n")
        step_back(config.worker.priority)
        return loaded

    def load_handlers(config: settings.Settings) -> Loaded:
        loaded = load(
            () if is_bare else specs or config.handlers.load,
            folder=config.folder,
            tables=config.handlers.tables,
            sources=list(config.sources) or None,
            relative_to=relative_to,
        )
        return loaded if router is None else loaded.with_router(router)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_work(config, load_first, load_handlers, name=name, alone=alone))


async def _work(
    config: settings.Settings, load_first: _Load, load_handlers: _Load, *, name: str, alone: bool
) -> int:
    log = logs.get()
    worker = Worker(config, load_first(config), name=name, log=log, alone=alone)

    def reload() -> None:
        try:
            fresh = settings.load(str(config.file) if config.file else None)
            worker.reload(fresh, load_handlers(fresh))
        except UsageError as error:
            log.error("settings.refused", worker=name, reason=str(error))

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.drain)
    loop.add_signal_handler(signal.SIGHUP, reload)
    status = await worker.run()
    if status:
        logs.finish()
        os._exit(status)  # now: to close the loop is to wait for threads that nothing can stop
    return status


def _onward(config: settings.Settings, options: argparse.Namespace) -> Router | None:
    if options.onward is None:
        return None
    from receiver.onward import onward  # only for those who listen

    return onward(config, options.onward, sends_credentials=options.send_credentials)


def main() -> None:
    """`python -m receiver.worker`, started by `serve`; people use `receiver worker`."""
    parser = argparse.ArgumentParser(prog="receiver.worker")
    parser.add_argument("--config")
    parser.add_argument("--name", required=True)
    parser.add_argument("--handlers", action="append", default=[])
    parser.add_argument("--list-to", type=int)
    parser.add_argument("--onward", metavar="URL", help="post each event there, too")
    parser.add_argument("--send-credentials", action="store_true", help="even if that is no loopback address")
    parser.add_argument("--bare", action="store_true", help="load no other handlers")
    parser.add_argument("--alone", action="store_true", help="run jobs whose process died, one at a time")
    options = parser.parse_args()
    if options.list_to is not None:
        os.set_inheritable(options.list_to, False)  # its end is the end of this process, not of a handler's
    os.umask(0o077)
    end_with_parent()
    try:
        config = settings.load(options.config)
        if options.list_to is None:  # else all wait for its list, and nobody is served yet
            step_back(config.worker.priority)
        logs.configure(style=config.log.format, level=config.log.level, waits=False)
        specs = options.handlers
        relative_to = Path.cwd() if specs else None
        status = work(
            config,
            specs,
            name=options.name,
            relative_to=relative_to,
            list_to=options.list_to,
            alone=options.alone,
            router=_onward(config, options),
            is_bare=options.bare,
        )
    except ReceiverError as error:
        sys.stderr.write(f"receiver: {error}\n")
        status = 2 if isinstance(error, UsageError) else 1
    sys.stdout.flush()
    sys.stderr.flush()
    logs.finish()
    os._exit(status)  # a thread that can't be stopped must not keep the process


if __name__ == "__main__":
    main()
