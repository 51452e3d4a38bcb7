"""Run what a handler's author wrote outside of handlers, and say plainly which line of it fails."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Callable
from pathlib import PurePath
from typing import TypeVar

from receiver.errors import HandlerError
from receiver.mistakes import did_you_mean, file_label, place_of_frame

_Result = TypeVar("_Result")
# What stands in a traceback before the first line of the author's.
_MACHINERY = (
    "receiver.user_code",
    "receiver.importing",
    "receiver.handler_settings",
    "importlib",
    "pydantic",
)


def run_user_code(code: Callable[[], _Result], *, subject: str = "") -> _Result:
    """Import a module, or the like; whatever goes wrong in it becomes a HandlerError.

    A ModuleNotFoundError for the module `subject` itself, or a package of it, passes through.
    """
    try:
        return code()
    except HandlerError:
        raise
    # A stranger's module may raise anything, and one that calls sys.exit() is a mistake like any other.
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and f"{subject}.".startswith(f"{error.name}."):
            raise
        raise HandlerError(_explain(error, subject)) from error


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
    return f"{at}: {text}; correct what this line does while the module is loaded"


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
