"""The kinds of sources: each has its own keys, and is told its own mistakes."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from receiver.errors import SettingsError
from receiver.settings import CompatibleSettings, OpenaiSettings, Settings, parse

CANARY = "Y2FuYXJ5LTRmMWQ5Yw=="
OPENAI = f'[sources.openai]\nkind = "openai"\nwebhook_secrets = ["whsec_{CANARY}"]\napi_key = "key"\n'
GATEWAY = (
    '[sources.gateway]\nkind = "openai-compatible"\napi_key = "key"\napi_url = "https://api.example.com/v1"\n'
)
KINDS = '"opennote", "openai", "openai-compatible"'


def read(text: str, folder: Path) -> Settings:
    return parse(tomllib.loads(text), folder=folder)


def mistakes(text: str, folder: Path) -> list[str]:
    """The lines of the error; none holds the canary."""
    with pytest.raises(SettingsError) as caught:
        read(text, folder)
    assert CANARY.strip("=") not in str(caught.value)
    return [line.replace("the environment: ", "") for line in str(caught.value).splitlines()]


def test_a_source_of_openai_has_its_documented_defaults(tmp_path: Path) -> None:
    source = read(OPENAI, tmp_path).sources["openai"]

    assert isinstance(source, OpenaiSettings)
    assert source.api_url == "https://api.openai.com/v1"
    assert source.max_body == 2**20
    assert [secret.get_secret_value() for secret in source.webhook_secrets] == [f"whsec_{CANARY}"]


def test_a_gateway_has_its_documented_defaults(tmp_path: Path) -> None:
    source = read(GATEWAY, tmp_path).sources["gateway"]

    assert isinstance(source, CompatibleSettings)
    assert (source.api_url, source.max_body) == ("https://api.example.com/v1", 2**20)


def test_several_sources_of_every_kind_stand_side_by_side(tmp_path: Path) -> None:
    text = OPENAI + OPENAI.replace("sources.openai", "sources.second") + GATEWAY

    sources = read(text, tmp_path).sources

    assert {name: source.kind for name, source in sources.items()} == {
        "openai": "openai",
        "second": "openai",
        "gateway": "openai-compatible",
    }


@pytest.mark.fault("O11")
@pytest.mark.parametrize(
    "kind", ["", 'kind = ""', 'kind = "openapi"', "kind = 5", "kind = ['openai']", "kind = {}"]
)
def test_an_unknown_kind_is_told_all_kinds(kind: str, tmp_path: Path) -> None:
    found = mistakes(OPENAI.replace('kind = "openai"', kind), tmp_path)

    assert found == [f"sources.openai.kind: must be one of {KINDS}"]


@pytest.mark.fault("O11")
@pytest.mark.parametrize(
    ("text", "line"),
    [
        (OPENAI + "api_keys = ['x']", 'sources.openai.api_keys: unknown key; did you mean "api_key"?'),
        (
            OPENAI + "webhook_secret = 'x'",
            'sources.openai.webhook_secret: unknown key; did you mean "webhook_secrets"?',
        ),
        (OPENAI + "max_bodies = 1", 'sources.openai.max_bodies: unknown key; did you mean "max_body"?'),
        (
            GATEWAY + "confirm = true",
            "sources.gateway.confirm: unknown key; valid are: kind, api_key, api_url, max_body, api_key_file",
        ),
    ],
)
def test_an_unknown_key_is_told_the_nearest_one_of_its_kind(text: str, line: str, tmp_path: Path) -> None:
    assert mistakes(text, tmp_path) == [line]


@pytest.mark.fault("O11", "A12")
@pytest.mark.parametrize(
    ("text", "line"),
    [
        (OPENAI.replace(f'["whsec_{CANARY}"]', "[]"), "webhook_secrets: needs at least one"),
        (OPENAI.replace(f'["whsec_{CANARY}"]', '[""]'), "webhook_secrets: must not be empty"),
        (OPENAI.replace(f'["whsec_{CANARY}"]', f'["{CANARY}", ""]'), "webhook_secrets: must not be empty"),
        (OPENAI.replace(f'["whsec_{CANARY}"]', '["whsec_"]'), "webhook_secrets: a secret is base64"),
        (OPENAI.replace(f'["whsec_{CANARY}"]', f'"{CANARY}"'), "webhook_secrets: expected a list"),
        (OPENAI.replace(CANARY, f"whsec_{CANARY}"), "webhook_secrets: a secret is base64"),
        (OPENAI.replace(CANARY, CANARY.strip("=")), "webhook_secrets: a secret is base64"),
        (OPENAI.replace(CANARY, f" {CANARY}"), "webhook_secrets: a secret is base64"),
        (OPENAI.replace(CANARY, f"{CANARY[:4]}\\n{CANARY[4:]}"), "webhook_secrets: a secret is base64"),
        (OPENAI.replace(CANARY, CANARY.replace("w", "-")), "webhook_secrets: a secret is base64"),
        (OPENAI.replace(CANARY, CANARY.replace("Yw==", "Yx==")), "webhook_secrets: a secret is base64"),
        (OPENAI.replace('"key"', '""'), "api_key: must not be empty"),
        (OPENAI.replace('"key"', '"a key"'), "api_key: must be printable ASCII"),
        (OPENAI.replace('api_key = "key"', ""), "api_key (or api_key_file): is missing"),
        (
            OPENAI.replace("webhook_secrets = ", "# "),
            "webhook_secrets (or webhook_secrets_file): is missing",
        ),
        (OPENAI + 'api_url = "http://api.example.com/v1"', "api_url: plain http is for loopback hosts only"),
        (OPENAI + "max_body = 0", "max_body: Input should be greater than 0"),
    ],
)
def test_a_wrong_value_of_a_source_of_openai_is_named_by_its_key(
    text: str, line: str, tmp_path: Path
) -> None:
    (found,) = mistakes(text, tmp_path)

    assert found.startswith(f"sources.openai.{line}")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (GATEWAY.replace('"key"', '""'), "api_key: must not be empty"),
        (GATEWAY.replace("api_url = ", "# "), "api_url: is missing"),
        (GATEWAY.replace("https://", "ftp://"), "api_url: expected a URL that begins with https://"),
    ],
)
def test_a_wrong_value_of_a_gateway_is_named_by_its_key(text: str, line: str, tmp_path: Path) -> None:
    (found,) = mistakes(text, tmp_path)

    assert found.startswith(f"sources.gateway.{line}")


def test_secrets_and_keys_may_stand_in_files_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "secrets").write_text(f"whsec_{CANARY}\n{CANARY}\n", "utf-8")
    (tmp_path / "key").write_text("a-key\n", "utf-8")
    text = '[sources.openai]\nkind = "openai"\nwebhook_secrets_file = "secrets"\napi_key_file = "key"\n'

    source = read(text, tmp_path).sources["openai"]

    assert isinstance(source, OpenaiSettings)
    assert [secret.get_secret_value() for secret in source.webhook_secrets] == [f"whsec_{CANARY}", CANARY]
    assert source.api_key.get_secret_value() == "a-key"


@pytest.mark.fault("O1")
def test_no_secret_of_a_source_shows_in_what_is_printed(tmp_path: Path) -> None:
    config = read(OPENAI.replace('"key"', f'"{CANARY}"'), tmp_path)

    for shown in (repr(config), str(config), config.model_dump_json(), str(config.model_dump())):
        assert CANARY not in shown


def source_of(**table: Any) -> Any:
    return {"sources": {"openai": {"kind": "openai", "api_key": "key", **table}}}


@pytest.mark.parametrize("secret", [CANARY, f"whsec_{CANARY}"])
def test_a_secret_may_begin_with_whsec_or_not(secret: str, tmp_path: Path) -> None:
    source = parse(source_of(webhook_secrets=[secret]), folder=tmp_path).sources["openai"]

    assert isinstance(source, OpenaiSettings)
    assert source.webhook_secrets[0].get_secret_value() == secret
