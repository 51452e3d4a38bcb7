"""The configuration: the only reader of the TOML file and of the environment.

A value comes from the environment (`RECEIVER_SERVER__PORT=9000`), else from the file, else from the
default beside its field. Relative paths are relative to the file's folder.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import os
import re
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError

from receiver.errors import SettingsError
from receiver.units import Duration, Size

DEFAULT_FILE = "receiver.toml"
_SECRETS = ("api_keys", "api_key", "webhook_secrets", "token")
_PREFIX = "RECEIVER_"
# What container platforms put into the environment for a service that is called "receiver".
_FOREIGN = re.compile(r"RECEIVER(_SERVICE_(HOST|PORT)\w*|(_\w+)?_PORT(_\d+_(TCP|UDP)\w*)?|_NAME)")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def is_loopback(host: str) -> bool:
    """Say whether a host name or address can only mean this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _base_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError("expected a URL that begins with https://")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError("plain http is for loopback hosts only; use https://")
    if parts.query or parts.fragment or parts.username or parts.password:
        raise ValueError("expected a base URL without user, query or fragment")
    return value.rstrip("/")


def _header_secret(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text:
        raise ValueError("must not be empty")
    if not re.fullmatch(r"[\x21-\x7e]+", text):
        raise ValueError("must be printable ASCII without blanks, as it travels in a header")
    return value


def _header_text(value: str) -> str:
    return _header_secret(SecretStr(value)).get_secret_value()


def _file_url(value: str, scheme: str, later: str) -> str:
    if value.startswith(later):
        raise ValueError(f"{later}… is not supported by this version; use {scheme}:///…")
    if not value.startswith(f"{scheme}:///") or len(value) <= len(scheme) + 4:
        raise ValueError(f"expected {scheme}:///path (relative) or {scheme}:////path (absolute)")
    return value


BaseUrl = Annotated[str, AfterValidator(_base_url)]
HeaderSecret = Annotated[SecretStr, AfterValidator(_header_secret)]
HeaderText = Annotated[str, AfterValidator(_header_text)]
StoreUrl = Annotated[str, AfterValidator(lambda value: _file_url(value, "sqlite", "postgresql:"))]
BodiesUrl = Annotated[str, AfterValidator(lambda value: _file_url(value, "file", "s3:"))]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


class ServerSettings(_Table):
    """`[server]`: the endpoint."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="TCP port; 0 = any free one.")
    public_url: BaseUrl | None = Field(None, description="Where senders reach this receiver.")
    max_body: Size = Field(2**30, gt=0, description="Largest body that is accepted.")
    trusted_proxies: tuple[str, ...] = Field((), description="Addresses whose X-Forwarded-For counts.")


class StoreSettings(_Table):
    """`[store]`: where events are recorded."""

    url: StoreUrl = Field("sqlite:///data/receiver.db", description="The database.")


class BodiesSettings(_Table):
    """`[bodies]`: where bodies over 64 KiB are kept."""

    url: BodiesUrl = Field("file:///data/bodies", description="The folder of the body files.")
    reserve: Size = Field(256 * 2**20, description="Disk space that large bodies must leave free.")


class AdminSettings(_Table):
    """`[admin]`: who may look from outside."""

    token: SecretStr | None = Field(None, description="Token of the API; none = the API is off.")
    metrics_public: bool = Field(False, description="Whether metrics need no token.")


class WorkerSettings(_Table):
    """`[worker]`: how handlers are run."""

    concurrency: int = Field(16, ge=1, le=10_000, description="Jobs at a time in one worker process.")
    lease: Duration = Field(timedelta(seconds=60), description="How long a silent worker keeps its jobs.")
    max_memory: Size = Field(2 * 2**30, description="Memory at which a worker process is replaced.")
    max_video: Size = Field(8 * 2**30, gt=0, description="Largest video that is fetched.")


class RetentionSettings(_Table):
    """`[retention]`: how long things are kept."""

    events: Duration = Field(timedelta(days=30), description="Events whose jobs are all done.")
    dead: Duration = Field(timedelta(days=90), description="Events with a dead job.")
    bodies: Duration = Field(timedelta(days=30), description="Body files of finished events.")


class LogSettings(_Table):
    """`[log]`: what is written to standard error."""

    format: Literal["auto", "json", "text"] = Field("auto", description="auto: text on a terminal, else JSON lines.")
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least severity that is written.")


class OpennoteSettings(_Table):
    """`[sources.NAME]` of kind `opennote`: one organisation."""

    kind: Literal["opennote"]
    organization_id: HeaderText = Field(description="What X-Organization-Id must say.")
    api_keys: tuple[HeaderSecret, ...] = Field(min_length=1, description="All live keys; X-API-Key must be one of them.")
    s3_base_url: BaseUrl = Field(
        "https://videofs-opennote-us-east-1.s3.us-east-1.amazonaws.com",
        description="Videos are fetched from below this URL only.",
    )
    api_url: BaseUrl = Field("https://api.opennote.com", description="The provider's API.")
    confirm: Literal[False] = Field(False, description="Not supported by this version: must be false.")
    max_body: Size | None = Field(None, gt=0, description="Largest body; default: the server's.")


class HandlersSettings(BaseModel):
    """`[handlers]`: what is loaded; every other key is the table of a router's settings."""

    model_config = ConfigDict(extra="allow", frozen=True)
    load: tuple[str, ...] = Field(("save_video",), description="Handler modules, each a SPEC.")

    @property
    def tables(self) -> dict[str, dict[str, Any]]:
        """The settings of routers, by the router's name."""
        return dict(self.__pydantic_extra__ or {})


class Settings(_Table):
    """The whole configuration, and the folder that its relative paths start from."""

    server: ServerSettings = ServerSettings()
    store: StoreSettings = StoreSettings()
    bodies: BodiesSettings = BodiesSettings()
    admin: AdminSettings = AdminSettings()
    worker: WorkerSettings = WorkerSettings()
    retention: RetentionSettings = RetentionSettings()
    log: LogSettings = LogSettings()
    sources: dict[str, OpennoteSettings] = Field(default_factory=dict)
    handlers: HandlersSettings = HandlersSettings()
    folder: Path = Field(exclude=True)
    file: Path | None = Field(exclude=True)

    @property
    def database(self) -> Path:
        """The path of the SQLite file."""
        return self.folder / self.store.url.removeprefix("sqlite:///")

    @property
    def bodies_folder(self) -> Path:
        """The folder of the body files."""
        return self.folder / self.bodies.url.removeprefix("file:///")


def config_file(option: str | None) -> Path:
    """Say which file is meant: the option, else `$RECEIVER_CONFIG`, else `./receiver.toml`."""
    return Path(option or os.environ.get("RECEIVER_CONFIG") or DEFAULT_FILE)


def load(option: str | None = None) -> Settings:
    """Read file and environment. Raise SettingsError, one line for each mistake."""
    path = config_file(option)
    overrides = _environment(os.environ)
    if path.is_file():
        tables = _read(path)
    elif option is None and "RECEIVER_CONFIG" not in os.environ and "sources" in overrides:
        tables, path = {}, None  # a container may be configured by its environment alone
    else:
        raise SettingsError(f"no configuration at {path}; write one with `receiver init`, or name one with --config")
    folder = path.absolute().parent if path else Path.cwd()
    return parse(_merge(tables, overrides), folder=folder, file=path)


def parse(tables: dict[str, Any], *, folder: Path, file: Path | None = None) -> Settings:
    """Validate tables that were read already. Raise SettingsError, one line for each mistake."""
    where = str(file) if file else "the environment"
    for reserved in ("folder", "file"):
        if reserved in tables:
            raise SettingsError(f"{where}: {reserved}: unknown key")
    mistakes = [f"{where}: {line}" for line in _misnamed(tables)]
    if mistakes:
        raise SettingsError("\n".join(mistakes))
    try:
        return Settings.model_validate({**_with_secret_files(tables, folder), "folder": folder, "file": file})
    except ValidationError as error:
        lines = [f"{where}: {_explain(dict(item))}" for item in error.errors()]
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
            raise SettingsError(f"{name}: unknown variable; levels are parted by two underscores, as in RECEIVER_SERVER__PORT")
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


def _with_secret_files(tables: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Replace every `api_keys_file`, `token_file` … by what the file holds."""
    result = dict(tables)
    for key, value in tables.items():
        if isinstance(value, dict) and key != "handlers":
            result[key] = _with_secret_files(value, folder)
        secret = key.removesuffix("_file")
        if key == secret or secret not in _SECRETS:
            continue
        if secret in tables:
            raise SettingsError(f"{key}: give either {secret} or {key}, not both")
        try:
            lines = (folder / str(value)).read_text("utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{key}: can't read {value}: {error}") from error
        del result[key]
        result[secret] = lines if secret.endswith("s") else "".join(lines)
    return result


def _misnamed(tables: dict[str, Any]) -> list[str]:
    """Mistakes that a model can't name well: foreign kinds and names of sources."""
    sources = tables.get("sources")
    lines = []
    for name, table in (sources if isinstance(sources, dict) else {}).items():
        if not _NAME.fullmatch(name):
            lines.append(f"sources.{name}: a source's name is part of its URL: a-z, 0-9, - and _ only")
        if isinstance(table, dict) and table.get("kind") != "opennote":
            lines.append(f'sources.{name}.kind: must be "opennote", the only kind that this version knows')
    return lines


def _explain(error: dict[str, Any]) -> str:
    """One line that names the key and what is wrong, without the value (it may be a secret)."""
    location = [part for part in error["loc"] if not isinstance(part, int)]
    key = ".".join(str(part) for part in location)
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(location[-1]), _valid_keys(location[:-1]), n=1, cutoff=0.5)
        valid = f'did you mean "{near[0]}"?' if near else "valid are: " + ", ".join(_valid_keys(location[:-1]))
        return f"{key}: unknown key; {valid}"
    if error["type"] == "missing":
        also = f" (or {location[-1]}_file)" if location[-1] in _SECRETS else ""
        return f"{key}{also}: is missing"
    if error["type"] == "tuple_type":
        return f'{key}: expected a list, for example ["…"]'
    return f"{key}: {error['msg'].removeprefix('Value error, ')}"


def _valid_keys(location: list[Any]) -> list[str]:
    model: Any = Settings
    for part in location:
        if model is None:
            return []
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        model = OpennoteSettings if part == "sources" else annotation
        if part != "sources" and location[0] == "sources":
            model = OpennoteSettings
    keys = [key for key in model.model_fields if key not in ("folder", "file")] if model else []
    return keys + [f"{key}_file" for key in keys if key in _SECRETS]
