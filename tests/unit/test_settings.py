"""The configuration: every key has its default, every mistake its line, and no line a secret."""

from __future__ import annotations

import os
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from receiver.errors import SettingsError
from receiver.settings import OpennoteSettings, Settings, load, parse

CANARY = "canary-4f1d9c-secret"
SOURCE = f'[sources.opennote]\nkind = "opennote"\norganization_id = "org"\napi_keys = ["{CANARY}"]\n'

DEFAULTS: dict[str, Any] = {
    "server.host": "127.0.0.1",
    "server.port": 8000,
    "server.public_url": None,
    "server.max_body": 2**30,
    "server.max_uploads": 64,
    "server.max_upload_bytes": 16 * 2**30,
    "server.trusted_proxies": (),
    "store.url": "sqlite:///data/receiver.db",
    "bodies.url": "file:///data/bodies",
    "bodies.reserve": 256 * 2**20,
    "admin.token": None,
    "listen.token": SecretStr(""),
    "admin.metrics_public": False,
    "worker.concurrency": 16,
    "worker.lease": timedelta(seconds=60),
    "worker.max_memory": 2 * 2**30,
    "worker.priority": "idle",
    "worker.max_video": 8 * 2**30,
    "retention.events": timedelta(days=30),
    "retention.dead": timedelta(days=90),
    "retention.bodies": timedelta(days=30),
    "watch.missed_after": timedelta(minutes=10),
    "watch.deadline": timedelta(hours=24),
    "watch.first_interval": timedelta(seconds=5),
    "watch.longest_interval": timedelta(minutes=5),
    "watch.requests_per_second": 5.0,
    "watch.concurrency": 8,
    "log.format": "auto",
    "log.level": "info",
    "sources.opennote.s3_base_url": "https://videofs-opennote-us-east-1.s3.us-east-1.amazonaws.com",
    "sources.opennote.api_url": "https://api.opennote.com",
    "sources.opennote.confirm": False,
    "sources.opennote.max_body": None,
    "handlers.load": ("save_video",),
}
REQUIRED = {"sources.opennote.kind", "sources.opennote.organization_id", "sources.opennote.api_keys"}

# As people write it, and what it means.
WRITTEN: dict[str, tuple[str, Any]] = {
    "server.host": ('"::1"', "::1"),
    "server.port": ("0", 0),
    "server.public_url": ('"https://hooks.example.com/"', "https://hooks.example.com"),
    "server.max_body": ('"2MiB"', 2 * 2**20),
    "server.max_uploads": ("1", 1),
    "server.max_upload_bytes": ('"4GiB"', 4 * 2**30),
    "server.trusted_proxies": ('["10.0.0.1", "10.0.0.2"]', ("10.0.0.1", "10.0.0.2")),
    "store.url": ('"sqlite:////var/lib/r.db"', "sqlite:////var/lib/r.db"),
    "bodies.url": ('"file:///bodies"', "file:///bodies"),
    "bodies.reserve": ("0", 0),
    "admin.metrics_public": ("true", True),
    "worker.concurrency": ("1", 1),
    "worker.lease": ('"90s"', timedelta(seconds=90)),
    "worker.max_memory": ('"512MB"', 512_000_000),
    "worker.priority": ('"low"', "low"),
    "worker.max_video": ('"1.5GiB"', 3 * 2**29),
    "retention.events": ('"72h"', timedelta(days=3)),
    "retention.dead": ('"2w"', timedelta(days=14)),
    "retention.bodies": ("3600", timedelta(hours=1)),
    "watch.missed_after": ('"90s"', timedelta(seconds=90)),
    "watch.deadline": ('"2d"', timedelta(days=2)),
    "watch.first_interval": ('"500ms"', timedelta(milliseconds=500)),
    "watch.longest_interval": ('"1h"', timedelta(hours=1)),
    "watch.requests_per_second": ("0.5", 0.5),
    "watch.concurrency": ("1", 1),
    "log.format": ('"json"', "json"),
    "log.level": ('"debug"', "debug"),
    "sources.opennote.s3_base_url": ('"http://127.0.0.1:9000/bucket"', "http://127.0.0.1:9000/bucket"),
    "sources.opennote.api_url": ('"http://localhost:9000"', "http://localhost:9000"),
    "sources.opennote.confirm": ("true", True),
    "sources.opennote.max_body": ('"1KiB"', 1024),
    "handlers.load": ('["my_package.hooks", "log"]', ("my_package.hooks", "log")),
}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("RECEIVER_"):
            monkeypatch.delenv(name)


def read(text: str, folder: Path) -> Settings:
    """Write a file and load it, as every command does."""
    file = folder / "receiver.toml"
    file.write_text(text, "utf-8")
    return load(str(file))


def mistakes(text: str, folder: Path) -> list[str]:
    """The lines of the error, without the name of the file; none holds the canary."""
    with pytest.raises(SettingsError) as caught:
        read(text, folder)
    message = str(caught.value)
    assert CANARY not in message
    assert CANARY not in repr(caught.value)
    return [line.replace(f"{folder / 'receiver.toml'}: ", "") for line in message.splitlines()]


def value_of(config: Any, key: str) -> Any:
    """Follow a dotted key; a source's name is a key of a mapping."""
    for part in key.split("."):
        config = config[part] if isinstance(config, dict) else getattr(config, part)
    return config


def keys_of_opennote(config: Settings) -> list[str]:
    """The API keys of the source that most tests configure."""
    source = config.sources["opennote"]
    assert isinstance(source, OpennoteSettings)
    return [key.get_secret_value() for key in source.api_keys]


def keys_of(config: Any, prefix: str = "") -> set[str]:
    """Every dotted key that a configuration has."""
    children = (
        dict(config)
        if isinstance(config, dict)
        else {name: getattr(config, name) for name in type(config).model_fields}
    )
    found: set[str] = set()
    for name, value in children.items():
        is_table = isinstance(value, dict) or hasattr(type(value), "model_fields")
        found |= keys_of(value, f"{prefix}{name}.") if is_table else {f"{prefix}{name}"}
    return found - {"folder", "file"}


def test_every_key_has_the_documented_default(tmp_path: Path) -> None:
    config = read(SOURCE, tmp_path)

    assert {key: value_of(config, key) for key in DEFAULTS} == DEFAULTS


def test_there_is_no_key_that_this_file_does_not_know(tmp_path: Path) -> None:
    config = read(SOURCE, tmp_path)

    assert keys_of(config) == set(DEFAULTS) | REQUIRED
    assert set(WRITTEN) == set(DEFAULTS) - {"admin.token", "listen.token"}


@pytest.mark.parametrize("key", sorted(WRITTEN))
def test_a_key_in_the_file_is_read_as_people_write_it(key: str, tmp_path: Path) -> None:
    text, meaning = WRITTEN[key]
    table, _, name = key.rpartition(".")
    addition = f"{name} = {text}\n"
    config = read(
        SOURCE + addition if table == "sources.opennote" else f"{SOURCE}[{table}]\n{addition}", tmp_path
    )

    assert value_of(config, key) == meaning


@pytest.mark.parametrize("key", sorted(WRITTEN))
def test_the_environment_overrides_the_file(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, meaning = WRITTEN[key]
    monkeypatch.setenv("RECEIVER_" + key.upper().replace(".", "__"), text.strip('"'))

    assert value_of(read(SOURCE, tmp_path), key) == meaning


def test_lists_come_from_the_environment_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECEIVER_SOURCES__OPENNOTE__API_KEYS", '["first", "second"]')

    assert keys_of_opennote(read(SOURCE, tmp_path)) == ["first", "second"]


def test_without_a_file_the_environment_may_be_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECEIVER_SOURCES__OPENNOTE__KIND", "opennote")
    monkeypatch.setenv("RECEIVER_SOURCES__OPENNOTE__ORGANIZATION_ID", "org")
    monkeypatch.setenv("RECEIVER_SOURCES__OPENNOTE__API_KEYS", f'["{CANARY}"]')

    config = load()

    assert config.file is None
    assert config.database == tmp_path / "data/receiver.db"


def test_the_variable_names_the_file_and_the_option_comes_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("option", "variable"):
        (tmp_path / name).write_text(f'{SOURCE}[server]\nhost = "{name}"\n', "utf-8")
    monkeypatch.setenv("RECEIVER_CONFIG", str(tmp_path / "variable"))

    assert load().server.host == "variable"
    assert load(str(tmp_path / "option")).server.host == "option"


def test_a_missing_file_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(
        SettingsError, match=r"no configuration at receiver\.toml; write one with `receiver init`"
    ):
        load()
    with pytest.raises(SettingsError, match="no configuration at elsewhere"):
        load("elsewhere")


def test_a_missing_file_that_was_named_is_an_error_even_with_a_full_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECEIVER_SOURCES__OPENNOTE__KIND", "opennote")
    monkeypatch.setenv("RECEIVER_CONFIG", str(tmp_path / "gone.toml"))

    with pytest.raises(SettingsError, match=r"no configuration at .*gone\.toml"):
        load()


@pytest.mark.fault("O11")
@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[server]\nprot = 1", 'server.prot: unknown key; did you mean "port"?'),
        ("[sever]\nport = 1", 'sever: unknown key; did you mean "server"?'),
        ("[worker]\nleas = 1", 'worker.leas: unknown key; did you mean "lease"?'),
        ("[admin]\ntokenfile = 'x'", 'admin.tokenfile: unknown key; did you mean "token_file"?'),
        (
            "[store]\nzzz = 1",
            "store.zzz: unknown key; valid are: url",
        ),
        (
            SOURCE.replace("organization_id", "organisation_id"),
            'sources.opennote.organisation_id: unknown key; did you mean "organization_id"?',
        ),
        (
            SOURCE.replace("api_keys", "api_key"),
            'sources.opennote.api_key: unknown key; did you mean "api_keys"?',
        ),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_valid_one(text: str, line: str, tmp_path: Path) -> None:
    assert line in mistakes(text, tmp_path)


@pytest.mark.parametrize("name", ["folder", "file"])
def test_what_settings_hold_beside_the_tables_is_no_key(name: str, tmp_path: Path) -> None:
    assert mistakes(f"{name} = '/x'", tmp_path) == [f"{name}: unknown key"]


@pytest.mark.fault("O11", "A12")
@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[server]\nport = 65536", "server.port: Input should be less than or equal to 65535"),
        ("[server]\nmax_body = 0", "server.max_body: Input should be greater than 0"),
        ("[server]\nmax_uploads = 0", "server.max_uploads: Input should be greater than or equal to 1"),
        ("[server]\nmax_upload_bytes = 0", "server.max_upload_bytes: Input should be greater than 0"),
        (
            "[server]\ntrusted_proxies = '10.0.0.1'",
            'server.trusted_proxies: expected a list, for example ["…"]',
        ),
        ("[handlers]\nload = 'log'", 'handlers.load: expected a list, for example ["…"]'),
        ("[worker]\nconcurrency = 0", "worker.concurrency: Input should be greater than or equal to 1"),
        ("[worker]\nmax_memory = '2 bananas'", "worker.max_memory: expected a number and a unit"),
        ("[worker]\nlease = '1 fortnight'", "worker.lease: expected a number and a unit"),
        ("[worker]\nlease = -1", "worker.lease: a duration lies between 0 and 100 years"),
        ("[log]\nlevel = 'loud'", "log.level: Input should be 'debug', 'info', 'warning' or 'error'"),
        ("[admin]\nmetrics_public = 'maybe'", "admin.metrics_public: Input should be a valid boolean"),
        ("[store]\nurl = 'postgresql://x'", "store.url: postgresql:… is not supported by this version"),
        ("[store]\nurl = '/var/lib/r.db'", "store.url: expected sqlite:///path (relative)"),
        ("[store]\nurl = 'sqlite:///'", "store.url: expected sqlite:///path (relative)"),
        ("[bodies]\nurl = 's3://bucket'", "bodies.url: s3:… is not supported by this version"),
        ("server = 5", "server: "),
        ("sources = 5", "sources: "),
        (SOURCE.replace('"org"', '""'), "sources.opennote.organization_id: must not be empty"),
        (SOURCE.replace('"org"', '"zoë"'), "sources.opennote.organization_id: must be printable ASCII"),
        (SOURCE.replace(f'["{CANARY}"]', "[]"), "sources.opennote.api_keys: "),
        (SOURCE.replace(f'["{CANARY}"]', '[""]'), "sources.opennote.api_keys: must not be empty"),
        (
            SOURCE.replace(f'["{CANARY}"]', f'["{CANARY}", ""]'),
            "sources.opennote.api_keys: must not be empty",
        ),
        (SOURCE.replace(f'["{CANARY}"]', f'"{CANARY}"'), "sources.opennote.api_keys: expected a list"),
        (
            SOURCE.replace(f'["{CANARY}"]', f'["{CANARY} "]'),
            "sources.opennote.api_keys: must be printable ASCII",
        ),
        (
            SOURCE.replace(f'["{CANARY}"]', f'["{CANARY}ö"]'),
            "sources.opennote.api_keys: must be printable ASCII",
        ),
        (
            SOURCE.replace(f'api_keys = ["{CANARY}"]', ""),
            "sources.opennote.api_keys (or api_keys_file): is missing",
        ),
        (
            SOURCE.replace("sources.opennote", 'sources."My Source"'),
            "sources.My Source: a source's name is part of",
        ),
        (SOURCE + "confirm = 'maybe'", "sources.opennote.confirm: Input should be a valid boolean"),
    ],
)
def test_a_wrong_value_is_named_by_its_key(text: str, line: str, tmp_path: Path) -> None:
    found = mistakes(text, tmp_path)

    assert len(found) == 1
    assert found[0].startswith(line)


@pytest.mark.parametrize(
    "key", ["server.public_url", "sources.opennote.s3_base_url", "sources.opennote.api_url"]
)
@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("http://hooks.example.com", "plain http is for loopback hosts only"),
        ("http://127.0.0.1.example.com", "plain http is for loopback hosts only"),
        ("http://localhost.example.com", "plain http is for loopback hosts only"),
        ("http://10.0.0.1", "plain http is for loopback hosts only"),
        ("http://0.0.0.0:80", "plain http is for loopback hosts only"),
        ("ftp://example.com", "expected a URL that begins with https://"),
        ("example.com", "expected a URL that begins with https://"),
        ("https://", "expected a URL that begins with https://"),
        ("https://example.com:abc", "its port is not a number"),
        ("https://example.com:70000", "its port is not a number"),
        (f"https://user:{CANARY}@example.com", "expected a base URL without user, query or fragment"),
        (f"https://example.com/?key={CANARY}", "expected a base URL without user, query or fragment"),
        ("https://example.com/#x", "expected a base URL without user, query or fragment"),
        ("https://[::1", ""),
    ],
)
def test_a_base_url_that_no_secret_may_travel_to_is_refused(
    key: str, url: str, complaint: str, tmp_path: Path
) -> None:
    table, _, name = key.rpartition(".")
    tail = f'{name} = "{url}"\n'
    found = mistakes(SOURCE + tail if table == "sources.opennote" else f"[{table}]\n{tail}", tmp_path)

    assert len(found) == 1
    assert found[0].startswith(f"{key}: {complaint}")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "http://127.8.8.8", "http://[::1]:9", "http://localhost/x"]
)
def test_plain_http_is_accepted_for_loopback(url: str, tmp_path: Path) -> None:
    assert read(f'{SOURCE}api_url = "{url}"', tmp_path).sources["opennote"].api_url == url


def test_several_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = "[server]\nprot = 1\nport = 'x'\n[worker]\nlease = 'x'\n" + SOURCE.replace('"org"', '""')

    found = mistakes(text, tmp_path)

    assert sorted(line.partition(":")[0] for line in found) == [
        "server.port",
        "server.prot",
        "sources.opennote.organization_id",
        "worker.lease",
    ]


def test_every_line_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        read("[server]\nprot = 1\nport = 'x'\n", tmp_path)

    assert all(line.startswith(f"{tmp_path / 'receiver.toml'}: ") for line in str(caught.value).splitlines())


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"[server\n", "not valid TOML"),
        (b'x = "\xff"', "not UTF-8 text"),
        (b"x = 1\nx = 2", "not valid TOML"),
    ],
)
def test_a_file_that_is_no_toml_is_named(content: bytes, complaint: str, tmp_path: Path) -> None:
    file = tmp_path / "receiver.toml"
    file.write_bytes(content)

    with pytest.raises(SettingsError, match=complaint) as caught:
        load(str(file))
    assert str(file) in str(caught.value)


def test_secrets_may_stand_in_files_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("first\n  second\n\n", "utf-8")
    (tmp_path / "token").write_text("a-token\n", "utf-8")
    text = (
        SOURCE.replace(f'api_keys = ["{CANARY}"]', 'api_keys_file = "keys"')
        + '[admin]\ntoken_file = "token"\n[listen]\ntoken_file = "token"\n'
    )

    config = read(text, tmp_path)

    assert keys_of_opennote(config) == ["first", "second"]
    assert config.admin.token == config.listen.token == SecretStr("a-token")


def test_a_secret_file_may_be_named_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keys").write_text("first", "utf-8")
    monkeypatch.setenv("RECEIVER_SOURCES__OPENNOTE__API_KEYS_FILE", "keys")

    config = read(SOURCE.replace(f'api_keys = ["{CANARY}"]', ""), tmp_path)

    assert keys_of_opennote(config) == ["first"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "sources.opennote.api_keys: "),
        (" \n", "sources.opennote.api_keys: "),
        (f"{CANARY}ö\n", "sources.opennote.api_keys: must be printable ASCII"),
    ],
)
def test_a_secret_file_without_a_good_secret_is_an_error(
    content: str, complaint: str, tmp_path: Path
) -> None:
    (tmp_path / "keys").write_text(content, "utf-8")

    found = mistakes(SOURCE.replace(f'api_keys = ["{CANARY}"]', 'api_keys_file = "keys"'), tmp_path)

    assert len(found) == 1
    assert found[0].startswith(complaint)


def test_a_secret_file_that_is_missing_or_given_twice_is_an_error(tmp_path: Path) -> None:
    assert (
        "sources.opennote.api_keys_file: can't read keys: No such file"
        in mistakes(SOURCE.replace("api_keys = ", "api_keys_file = 'keys'\n#"), tmp_path)[0]
    )
    assert mistakes(f"{SOURCE}api_keys_file = 'keys'", tmp_path) == [
        "sources.opennote.api_keys_file: give either api_keys or api_keys_file, not both"
    ]


@pytest.mark.fault("O1")
def test_no_secret_shows_in_what_is_printed(tmp_path: Path) -> None:
    config = read(f'{SOURCE}[admin]\ntoken = "{CANARY}"\n', tmp_path)

    for shown in (repr(config), str(config), config.model_dump_json(), str(config.model_dump())):
        assert CANARY not in shown
    assert keys_of_opennote(config) == [CANARY]


@pytest.mark.fault("O11")
def test_relative_paths_begin_at_the_folder_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/receiver.toml").write_text(SOURCE, "utf-8")
    monkeypatch.chdir(tmp_path)

    config = load("etc/receiver.toml")

    assert config.folder == tmp_path / "etc"
    assert config.database == tmp_path / "etc/data/receiver.db"
    assert config.bodies_folder == tmp_path / "etc/data/bodies"


def test_four_slashes_make_a_path_absolute(tmp_path: Path) -> None:
    config = read(f'{SOURCE}[store]\nurl = "sqlite:////var/r.db"\n[bodies]\nurl = "file:////var/b"', tmp_path)

    assert (config.database, config.bodies_folder) == (Path("/var/r.db"), Path("/var/b"))


def test_tables_of_handlers_are_kept_for_the_routers(tmp_path: Path) -> None:
    config = read(f'{SOURCE}[handlers.save_video]\ndirectory = "videos"\n', tmp_path)

    assert config.handlers.tables == {"save_video": {"directory": "videos"}}
    assert config.handlers.load == ("save_video",)


@pytest.mark.parametrize(
    "name",
    [
        "RECEIVER_SERVICE_HOST",
        "RECEIVER_SERVICE_PORT",
        "RECEIVER_SERVICE_PORT_HTTP",
        "RECEIVER_PORT",
        "RECEIVER_PORT_8000_TCP",
        "RECEIVER_PORT_8000_TCP_ADDR",
        "RECEIVER_PORT_8000_TCP_PORT",
        "RECEIVER_PORT_8000_TCP_PROTO",
        "RECEIVER_METRICS_PORT",
        "RECEIVER_NAME",
    ],
)
def test_what_container_platforms_set_is_not_ours(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read(SOURCE, tmp_path)
    monkeypatch.setenv(name, "tcp://10.0.0.1:8000")

    assert read(SOURCE, tmp_path) == before


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("RECEIVER_LOGLEVEL", "debug", "RECEIVER_LOGLEVEL: unknown variable; levels are parted by two"),
        ("RECEIVER_SERVER__PROT", "1", 'server.prot: unknown key; did you mean "port"?'),
        ("RECEIVER_SERVER__PORT", "eighty", "server.port: Input should be a valid integer"),
        ("RECEIVER_SOURCES__OPENNOTE__API_KEYS", f'["{CANARY}', "begins like JSON but is none"),
        ("RECEIVER_SOURCES__OPENNOTE__API_KEYS", CANARY, "api_keys: expected a list"),
        ("RECEIVER_SERVER__PORT__X", "1", "server.port"),
    ],
)
def test_a_mistake_in_the_environment_is_named(
    name: str, value: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)

    assert complaint in mistakes(SOURCE, tmp_path)[0]


def test_a_variable_for_a_table_and_one_for_its_key_contradict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECEIVER_SOURCES__OPENNOTE", "x")
    monkeypatch.setenv("RECEIVER_SOURCES__OPENNOTE__KIND", "opennote")

    assert "there is a variable for opennote itself, too" in mistakes(SOURCE, tmp_path)[0]


def test_settings_can_not_be_changed(tmp_path: Path) -> None:
    config = parse(tomllib.loads(SOURCE), folder=tmp_path)

    with pytest.raises(ValueError, match="frozen"):
        config.server.port = 1  # type: ignore[misc]


# What needs no configuration, and what is no setting.


def test_where_none_is_needed_the_defaults_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    config = load(is_needed=False)

    assert (config.sources, config.handlers.load, config.folder) == ({}, ("save_video",), tmp_path)
    with pytest.raises(SettingsError, match="no configuration at"):
        load(str(tmp_path / "missing.toml"), is_needed=False)


@pytest.mark.parametrize(
    ("asked", "value", "style"),
    [
        ("auto", "1", "auto-plain"),
        ("text", "1", "plain"),
        ("json", "1", "json"),
        ("auto", "", "auto"),
    ],
)
def test_no_color_takes_the_colours_of_the_log_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, value: str, style: str
) -> None:
    monkeypatch.setenv("NO_COLOR", value)
    file = tmp_path / "receiver.toml"
    file.write_text(f'[log]\nformat = "{asked}"\n')

    assert load(str(file)).log.format == style
