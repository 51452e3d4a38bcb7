"""Reading the TOML file and the environment: the only place that does either."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from receiver.errors import SettingsError
from receiver.settings.complaints import explain, misnamed
from receiver.settings.tables import SECRETS, Settings

DEFAULT_FILE = "receiver.toml"
_PREFIX = "RECEIVER_"
# What container platforms put into the environment for a service that is called "receiver". Two underscores
# in a row are ours: RECEIVER_SERVER__PORT.
_FOREIGN = re.compile(r"(?!\w*__)RECEIVER(_SERVICE_(HOST|PORT)\w*|(_\w+)?_PORT(_\d+_(TCP|UDP)\w*)?|_NAME)")


def config_file(option: str | None) -> Path:
    """Say which file is meant: the option, else `$RECEIVER_CONFIG`, else `./receiver.toml`."""
    return Path(option or os.environ.get("RECEIVER_CONFIG") or DEFAULT_FILE)


def load(option: str | None = None, *, is_needed: bool = True) -> Settings:
    """Read file and environment. Raise SettingsError, one line for each mistake.

    Where none is needed, and nobody names one, the defaults do.
    """
    path = config_file(option)
    overrides = _environment(os.environ)
    if path.is_file():
        return _painted(parse(_merge(_read(path), overrides), folder=path.absolute().parent, file=path))
    is_named = option is not None or bool(os.environ.get("RECEIVER_CONFIG"))
    if is_named or (is_needed and "sources" not in overrides):
        mend = "write one with `receiver init`, or name one with --config"
        raise SettingsError(f"no configuration at {path}; {mend}")
    # A container may be configured by its environment alone.
    return _painted(parse(overrides, folder=Path.cwd()))


def _painted(config: Settings) -> Settings:
    """Let the log do without colours where NO_COLOR is set (no-color.org): its formats have plain ones."""
    if not os.environ.get("NO_COLOR") or config.log.format == "json":
        return config
    plain = {"auto": "auto-plain", "text": "plain"}[config.log.format]
    return config.model_copy(update={"log": config.log.model_copy(update={"format": plain})})


def parse(tables: dict[str, Any], *, folder: Path, file: Path | None = None) -> Settings:
    """Validate tables that were read already. Raise SettingsError, one line for each mistake."""
    where = str(file) if file else "the environment"
    for reserved in ("folder", "file"):
        if reserved in tables:
            raise SettingsError(f"{where}: {reserved}: unknown key")
    mistakes = [f"{where}: {line}" for line in misnamed(tables)]
    if mistakes:
        raise SettingsError("\n".join(mistakes))
    try:
        return Settings.model_validate({**_with_secret_files(tables, folder), "folder": folder, "file": file})
    except ValidationError as error:
        lines = [f"{where}: {explain(dict(item))}" for item in error.errors()]
        raise SettingsError("\n".join(lines)) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not UTF-8 text") from error
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error


def _environment(environ: Mapping[str, str]) -> dict[str, Any]:
    tables: dict[str, Any] = {}
    for name, text in sorted(environ.items()):
        if not name.startswith(_PREFIX) or name == "RECEIVER_CONFIG" or _FOREIGN.fullmatch(name):
            continue
        *parents, leaf = name.removeprefix(_PREFIX).lower().split("__")
        if not parents:
            raise SettingsError(
                f"{name}: unknown variable; levels are parted by two underscores, as in RECEIVER_SERVER__PORT"
            )
        table = tables
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                raise SettingsError(f"{name}: there is a variable for {parent} itself, too")
        table[leaf] = _value(name, text)
    return tables


def _value(name: str, text: str) -> Any:
    if not text.lstrip().startswith(("[", "{")):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise SettingsError(f"{name}: begins like JSON but is none: {error.msg}") from None


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _with_secret_files(tables: dict[str, Any], folder: Path, parents: str = "") -> dict[str, Any]:
    """Replace every `api_keys_file`, `token_file` … by what the file holds."""
    result = dict(tables)
    for key, value in tables.items():
        name = parents + key
        if isinstance(value, dict) and name != "handlers":
            result[key] = _with_secret_files(value, folder, f"{name}.")
        secret = key.removesuffix("_file")
        if not key.endswith("_file") or secret not in SECRETS:
            continue
        if secret in tables:
            raise SettingsError(f"{name}: give either {secret} or {key}, not both")
        try:
            lines = (folder / str(value)).read_text("utf-8").split()
        except OSError as error:
            raise SettingsError(f"{name}: can't read {value}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise SettingsError(f"{name}: {value} is not UTF-8 text") from error
        del result[key]
        result[secret] = lines if secret.endswith("s") else "".join(lines)
    return result
