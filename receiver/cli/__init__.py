"""The command line. Each command lives in a module that is imported when it is asked for."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from io import TextIOWrapper
from typing import Any

import click

from receiver import __version__
from receiver.errors import ReceiverError, StoreDamaged, StoreInUse, UsageError

# Where each command is, and its line in the help, so that `--help` imports none of them.
COMMANDS = {
    "init": ("setup", "Write a commented receiver.toml with fresh development credentials."),
    "serve": ("serve", "Receive callbacks, record them, run handlers."),
    "worker": ("serve", "Run one more worker process beside a running server."),
    "check": ("check", "Validate configuration, handlers, store, disk and clock."),
    "handlers": ("setup", "List the handlers and what each would run on."),
    "events": ("events", "List events, newest first."),
    "show": ("events", "Show everything about one event, or its original body."),
    "watch": ("watch", "Ask about videos until their end is known; list what is asked about."),
    "replay": ("replay", "Run handlers again on stored events."),
    "replays": ("replays", "List the last replays, and what became of them."),
    "export": ("capture", "Write recorded events into one portable file."),
    "import": ("capture", "Record the events of such a file here."),
    "prune": ("upkeep", "Remove what is old, now; a server does so every hour."),
    "backup": ("upkeep", "Copy the database while the server runs."),
    "rejections": ("events", "List the last requests that were not believed."),
    "listen": ("listen", "Follow another receiver: record and handle its events here."),
    "submit": ("submit", "Ask a provider for a video, and see to it that its end is heard of."),
    "videos": ("videos", "List the videos that a provider has, or change one."),
    "send": ("send", "Post a sample callback with the configured credentials."),
    "sandbox": ("sandbox", "Serve stand-ins for the providers' APIs on this machine."),
    "demo": ("demo", "See it all: from nothing to videos on disk."),
}


class _Commands(click.Group):
    """A group that knows its commands by name and imports them late."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"receiver.cli.{COMMANDS[cmd_name][0]}")
        # A command whose name is a word of Python's own has an underscore after it.
        command: click.Command = getattr(module, cmd_name, None) or getattr(module, f"{cmd_name}_")
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; whoever reads its output may stop when they have seen enough.

        Here, as click itself would end the program with status 1.
        """
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nothing more is said, at exit either
            return 0

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config", metavar="FILE", help="The configuration.  [default: ./receiver.toml or $RECEIVER_CONFIG]"
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@click.version_option(__version__, prog_name="receiver")
@click.pass_context
def cli(ctx: click.Context, config: str | None, as_json: bool) -> None:
    """Receive the callbacks of video-generation APIs, and lose none.

    Acknowledged means committed; each handler runs at least once per event until it is done, dead
    or cancelled; order is not promised.
    """
    ctx.obj = {"config": config, "as_json": as_json}


def main() -> None:
    """Run a command. Exit status: 0 fine, 1 it did not work, 2 wrong usage or configuration."""
    _open_missing_streams()
    if isinstance(sys.stdout, TextIOWrapper):  # what a terminal has no letters for is escaped there
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(_status_of_command())


def _open_missing_streams() -> None:
    """Have all three, whichever the caller has closed: else the next file that is opened gets its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(descriptor, True)
            setattr(sys, name, os.fdopen(descriptor, mode))


def _status_of_command() -> int:
    try:
        status = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return 128 + signal.SIGINT
    except ReceiverError as error:
        from receiver.cli.output import plain  # others may have a say in what went wrong

        for line in str(error).splitlines():
            click.echo(f"receiver: {plain(line)}", err=True)
        return 2 if isinstance(error, (UsageError, StoreInUse, StoreDamaged)) else 1
    except OSError as error:
        click.echo(
            f"receiver: {error.filename or ''}: {error.strerror or error}".replace(": :", ":"), err=True
        )
        return 1
    return status if isinstance(status, int) else 0
