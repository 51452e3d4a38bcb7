"""Run what a handler's author wrote outside of handlers, and say plainly which line of it fails."""

from __future__ import annotations

import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import PurePath
from typing import TextIO, TypeVar

from receiver.errors import HandlerError
from receiver.mistakes import did_you_mean, file_label, place_of_frame
from receiver.router import Router

_Result = TypeVar("_Result")
# What stands in a traceback before the first line of the author's.
_MACHINERY = (
    "receiver.user_code",
    "receiver.importing",
    "receiver.loading",
    "receiver.router",
    "receiver.handler_settings",
    "importlib",
    "pydantic",
)


def run_user_code(code: Callable[[], _Result], *, subject: str = "") -> _Result:
    """Import a module, or the like; whatever goes wrong in it becomes a HandlerError.

    What it prints goes to standard error: standard output is read by programs.
    A ModuleNotFoundError for the module `subject` itself, or a package of it, passes through.
    """
    try:
        with _output_as_errors():
            return code()
    except HandlerError:
        raise
    # A stranger's module may raise anything, and one that calls sys.exit() is a mistake like any other.
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and f"{subject}.".startswith(f"{error.name}."):
            raise
        raise HandlerError(_explain(error, subject)) from error


@contextmanager
def _output_as_errors() -> Iterator[None]:
    """Turn standard output into standard error, for programs that are started meanwhile, too."""
    output = sys.__stdout__
    if output is None or sys.__stderr__ is None:  # closed from the start: their numbers may be anybody's
        yield
        return
    kept = _pointed(output, to=2)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.close(_pointed(output, to=kept))
        os.close(kept)


def _pointed(output: TextIO, *, to: int) -> int:
    """Let descriptor 1 be another one, and return a copy of what it was."""
    with suppress(OSError, ValueError):
        output.flush()
    former = os.dup(1)
    os.dup2(to, 1)
    return former


def _explain(error: BaseException, subject: str) -> str:
    steps = list(traceback.walk_tb(error.__traceback__))
    while steps and str(steps[0][0].f_globals.get("__name__", "")).startswith(_MACHINERY):
        del steps[0]
    if isinstance(error, SyntaxError) and error.filename:
        is_subject = PurePath(error.filename).stem == subject.rpartition(".")[2]
        file = file_label(error.filename, subject if is_subject else "")
        return f"{file}:{error.lineno}: {type(error).__name__}: {error.msg}; correct this line"
    # Whatever the module called into, its author looks for a line in that very file.
    own = [step for step in steps if step[0].f_code.co_filename == steps[0][0].f_code.co_filename]
    at = place_of_frame(own[-1][0], line=own[-1][1]) if own else "?"
    if isinstance(error, ImportError):
        return f"{at}: {_failed_import(error)}"
    text = " ".join("".join(traceback.format_exception_only(error)).split())[:500]
    unknown = re.search(r"\bRouter\.(on|__init__)\(\) got an unexpected keyword argument '(\w+)'", text)
    if unknown:
        return f"{at}: {_unknown_option(unknown[1], unknown[2])}"
    return f"{at}: {text}; correct what this line does while the module is loaded"


def _unknown_option(method: str, name: str) -> str:
    parameters = inspect.signature(getattr(Router, method)).parameters.values()
    valid = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    listed, near = f"valid are: {', '.join(valid)}", did_you_mean(name, valid)
    call = "@router.on" if method == "on" else "Router"
    return f"{call}(…) has no option {name}; {listed if near == listed else f'{near} {listed}'}"


def _failed_import(error: ImportError) -> str:
    text, source = str(error), error.name or ""
    wanted = re.match(r"cannot import name '(\w+)' from '", text)
    if source == "receiver" and wanted:
        near = did_you_mean(wanted[1], sys.modules["receiver"].__all__)
        return f"receiver has no {wanted[1]}; {near}"
    if source.startswith("receiver."):
        return f'there is no module {source}; handlers import what they need "from receiver" itself'
    if isinstance(error, ModuleNotFoundError):
        return f"there is no module {source}; install it beside receiver, or correct the name"
    if "relative import" in text:
        return f"{text}; name the module (my_package.hooks) instead of its path, or import without the dot"
    return f"ImportError: {text}; correct this import"
