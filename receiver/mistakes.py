"""How mistakes in handlers are worded: where they are, and what was probably meant."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from pathlib import PurePath
from types import CodeType, FrameType
from typing import Any


def file_label(filename: str, module: str = "") -> str:
    """Name a file as its author would: `hooks.py`, and `my_package/hooks.py` for `my_package.hooks`."""
    path = PurePath(filename)
    depth = module.count(".") + 1 + (path.name == "__init__.py")
    return "/".join(path.parts[-depth:])


def place(function: Any) -> str:
    """Say where a function was written, for example "hooks.py:12, function publish"."""
    code = code_of(function)
    file = file_label(code.co_filename, function.__module__ or "")
    return f"{file}:{code.co_firstlineno}, function {function.__name__}"


def code_of(function: Any) -> CodeType:
    """Find the code that its author wrote, below decorators that use functools.wraps."""
    code: CodeType = getattr(inspect.unwrap(function), "__code__", function.__code__)
    return code


def place_of_frame(frame: FrameType, *, line: int | None = None) -> str:
    """Say where a frame stands, for example "hooks.py:12", with its function if it is in one.

    `line` is for the frame of a traceback, which has gone on since.
    """
    file = file_label(frame.f_code.co_filename, str(frame.f_globals.get("__name__", "")))
    name = frame.f_code.co_name
    return f"{file}:{line or frame.f_lineno}" + ("" if name.startswith("<") else f", function {name}")


def did_you_mean(word: str, valid: Iterable[str], *, otherwise: str = "") -> str:
    """Suggest the valid word that is nearest, or list them all, or say `otherwise` if there is none."""
    import difflib  # only needed once something is wrong

    names = list(dict.fromkeys(valid))
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    if near:
        return f'did you mean "{near[0]}"?'
    return f"valid are: {', '.join(names)}" if names else otherwise
