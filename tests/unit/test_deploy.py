"""The example configuration and the systemd unit: complete, consistent, and accepted by what reads them."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from receiver import settings

DEPLOY = Path(__file__).parents[2] / "deploy"
CREDENTIALS = "/run/credentials/receiver.service"
SECRETS = {name: f"{name}_file" for name in ("token", "api_keys", "api_key", "webhook_secrets")}

FILES = {
    "admin_token": "a-token\n",
    "opennote_api_keys": "first-key\nsecond-key\n",
    "openai_webhook_secrets": "whsec_Zmlyc3Q=\nc2Vjb25k\n",
    "openai_api_key": "a-key\n",
    "ope_api_key": "a-key\n",
}


def example(*, with_defaults: bool = False) -> str:
    """The text of the example; `with_defaults` takes the comment sign from defaults and tables."""
    text = (DEPLOY / "receiver.toml").read_text("utf-8")
    return re.sub(r"^# (?=\[|[a-z0-9_]+ = )", "", text, flags=re.MULTILINE) if with_defaults else text


def load(text: str, folder: Path) -> settings.Settings:
    """Read the example as the program does, with credentials in a folder of our own."""
    for name, content in FILES.items():
        (folder / name).write_text(content, "utf-8")
    return settings.parse(tomllib.loads(text.replace(CREDENTIALS, str(folder))), folder=folder)


def unit_values(key: str, unit: str = "receiver.service") -> list[str]:
    """What a unit says for a key, once per line."""
    text = (DEPLOY / unit).read_text("utf-8")
    return re.findall(rf"^{key}=(.*)$", text, flags=re.MULTILINE)


def names(model: type[BaseModel]) -> set[str]:
    """The keys of a table as the example writes them."""
    return {SECRETS.get(name, name) for name in model.model_fields}


def test_the_example_is_a_valid_configuration(tmp_path: Path) -> None:
    loaded = load(example(), tmp_path)

    source = loaded.sources["opennote"]
    assert isinstance(source, settings.OpennoteSettings)
    assert [key.get_secret_value() for key in source.api_keys] == ["first-key", "second-key"]
    assert loaded.admin.token is not None
    assert loaded.admin.token.get_secret_value() == "a-token"


def test_the_example_shows_every_key_of_every_table(tmp_path: Path) -> None:
    tables: dict[str, Any] = tomllib.loads(example(with_defaults=True))
    sources = load(example(with_defaults=True), tmp_path).sources

    models = {
        name: field.annotation
        for name, field in settings.Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }
    assert tables.keys() == models.keys() | {"sources"}
    for name in models.keys() - {"handlers"}:
        model = models[name]
        assert model is not None
        assert {SECRETS.get(key, key) for key in tables[name]} == names(model), name
    assert {source.kind for source in sources.values()} == settings.SOURCES.keys()
    for name, source in sources.items():
        assert tables["sources"][name].keys() == names(type(source)), name


def test_what_the_example_shows_in_comments_are_the_defaults(tmp_path: Path) -> None:
    plain, shown = load(example(), tmp_path), load(example(with_defaults=True), tmp_path)

    assert shown.sources["opennote"].max_body == plain.server.max_body
    for source in shown.sources.values():
        for name, field in type(source).model_fields.items():
            shared = name == "max_body" and field.default is None
            assert shared or field.is_required() or getattr(source, name) == field.default, name
    assert shown.model_copy(update={"handlers": plain.handlers, "sources": plain.sources}) == plain


def test_the_example_shows_every_setting_of_save_video() -> None:
    from handlers.save_video import Settings

    table = tomllib.loads(example(with_defaults=True))["handlers"]["save_video"]

    assert table.keys() == Settings.model_fields.keys()
    assert Settings(template=table["template"]) == Settings()


def test_the_example_shows_every_setting_of_a_target_of_forward() -> None:
    from handlers.forward import Settings, Target

    tables = tomllib.loads(example(with_defaults=True))["handlers"]["forward"]
    (shown,) = tables["targets"]

    assert tables.keys() == Settings.model_fields.keys()
    assert shown.keys() == Target.model_fields.keys() - {"secret"}
    given = {"name": shown["name"], "url": shown["url"], "secret": "whsec_c2VjcmV0", "secret_file": None}
    plain = Target.model_validate(given)
    assert Target.model_validate(shown | given).model_dump() == plain.model_dump()


def test_every_credential_of_the_example_is_loaded_by_the_unit() -> None:
    wanted = set(re.findall(rf'^[^#\n]*"{CREDENTIALS}/(\w+)"', example(), flags=re.MULTILINE))

    assert wanted == {value.partition(":")[0] for value in unit_values("LoadCredential")}
    assert unit_values("User") == ["receiver"]


def test_the_example_writes_only_where_the_unit_allows_it(tmp_path: Path) -> None:
    loaded = load(example(), tmp_path)
    state = Path("/var/lib") / unit_values("StateDirectory")[0]

    directories = [
        loaded.database,
        loaded.bodies_folder,
        Path(loaded.handlers.tables["save_video"]["directory"]),
    ]
    assert all(directory.is_relative_to(state) for directory in directories)


def test_the_service_takes_the_socket_of_the_other_unit_which_is_where_the_example_listens(
    tmp_path: Path,
) -> None:
    server = load(example(), tmp_path).server

    assert unit_values("ListenStream", "receiver.socket") == [f"{server.host}:{server.port}"]
    assert unit_values("Accept", "receiver.socket") == ["no"]
    assert unit_values("ExecStart")[0].endswith(" serve --fd 3"), "systemd passes descriptors from 3 on"
    assert "receiver.socket" in unit_values("Requires")


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """A copy of the unit whose program exists on this machine, with its socket beside it."""
    shutil.copy(DEPLOY / "receiver.socket", tmp_path)
    text = (DEPLOY / "receiver.service").read_text("utf-8")
    assert "\nExecStart=/opt/receiver/bin/receiver " in text
    copy = tmp_path / "receiver.service"
    copy.write_text(text.replace("/opt/receiver/bin/receiver ", "/bin/true "), "utf-8")
    return copy


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze, or skip the test where it is missing or too old."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("needs systemd-analyze (Debian package systemd)")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, timeout=30)
    if int(version.stdout.split()[1].partition(".")[0]) < 250:
        pytest.skip("needs systemd-analyze 250 or newer (Debian package systemd)")
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.debian
def test_systemd_knows_every_setting_of_the_unit(unit: Path) -> None:
    verdict = analyze("verify", "--man=no", str(unit), str(unit.with_suffix(".socket")))

    # An unknown setting is only a warning to systemd: nothing at all may be said about our files.
    assert [line for line in verdict.stderr.splitlines() if "receiver." in line] == []
    assert verdict.returncode == 0, verdict.stderr


@pytest.mark.debian
def test_the_exposure_of_the_unit_is_below_three(unit: Path) -> None:
    verdict = analyze("security", "--offline=true", "--threshold=29", "--no-pager", str(unit))

    assert verdict.returncode == 0, verdict.stdout[-200:] + verdict.stderr
