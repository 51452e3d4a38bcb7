"""Credentials are compared as digests in constant time, and never kept as they came."""

from __future__ import annotations

import ast
import hashlib
import hmac
from pathlib import Path

import orjson
import pytest

import receiver.sources
from receiver.sources.verify import Redactor, digest, is_one_of

KEY = b"the key of the fingerprints"
CANARY = b"sk_canary_5b0f"
SOURCES = Path(receiver.sources.__file__).parent
PACKAGE = SOURCES.parent
JUDGES = sorted(
    [
        *(SOURCES.rglob("*.py")),
        *(PACKAGE / "api").rglob("*.py"),
        *(PACKAGE / name for name in ("peers.py", "gate.py", "ingress.py", "endpoint.py")),
    ]
)
"""All that ever looks at what a sender, or a visitor, gives as a credential."""

# Names that hold what a sender sent, or what it should have sent.
_SECRET_WORDS = (
    "key",
    "secret",
    "token",
    "signature",
    "digest",
    "expected",
    "organization",
    "credential",
    "together",
)
_SECRET_CONSTANTS = ("PLATFORM", "ORIGIN")


def _names(node: ast.expr) -> set[str]:
    found = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    return found | {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}


def _is_secret(node: ast.expr) -> bool:
    return any(
        name in _SECRET_CONSTANTS or any(word in name.lower() for word in _SECRET_WORDS)
        for name in _names(node)
    )


def _is_about_names(node: ast.Compare) -> bool:
    """Membership in a payload compares its keys."""
    right = node.comparators[0]
    return isinstance(node.ops[0], ast.In) and isinstance(right, ast.Name) and right.id == "payload"


def short_circuits(tree: ast.AST) -> list[int]:
    """The lines on which something secret is compared by an operator that stops at the first difference."""
    unsafe = (ast.Eq, ast.NotEq, ast.In, ast.NotIn)
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        and not _is_about_names(node)
        and any(isinstance(operator, unsafe) for operator in node.ops)
        and any(_is_secret(side) for side in (node.left, *node.comparators))
    ]


@pytest.mark.fault("A2")
@pytest.mark.parametrize("file", JUDGES, ids=lambda file: file.name)
def test_no_operator_that_stops_early_compares_secrets(file: Path) -> None:
    assert short_circuits(ast.parse(file.read_text("utf-8"))) == []


@pytest.mark.parametrize(
    "code",
    [
        "value == self._api_key",
        "api_keys[0] != found",
        "value in self._expected",
        "found[name] == PLATFORM",
        "x == digest(y)",
    ],
)
def test_the_rule_sees_a_careless_comparison(code: str) -> None:
    assert short_circuits(ast.parse(code)) == [1]


@pytest.mark.fault("A2")
def test_only_verify_imports_hmac_and_it_compares_with_compare_digest() -> None:
    importers = [file.name for file in SOURCES.rglob("*.py") if "import hmac" in file.read_text("utf-8")]

    assert importers == ["verify.py"]
    assert "hmac.compare_digest(" in (SOURCES / "verify.py").read_text("utf-8")


@pytest.mark.fault("A2")
def test_what_is_compared_has_one_length_whatever_was_sent() -> None:
    assert {len(digest(value)) for value in (b"", b"x", b"x" * 10_000, b"\xff\x00")} == {32}


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_value_is_found_wherever_it_stands(position: int) -> None:
    known = [digest(b"a"), digest(b"b"), digest(b"c")]

    assert is_one_of(b"abc"[position : position + 1], known)


@pytest.mark.parametrize("value", [b"", b"A", b"a ", b"aa", b"\xff", b"a\x00", hashlib.sha256(b"a").digest()])
def test_what_differs_at_all_is_not_found(value: bytes) -> None:
    assert not is_one_of(value, [digest(b"a")])


def test_nothing_is_found_among_nothing() -> None:
    assert not is_one_of(b"", [])


@pytest.mark.fault("A2")
def test_every_known_value_is_compared_even_after_a_match(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def spy(left: bytes, right: bytes) -> bool:
        compared.append(right)
        return left == right

    monkeypatch.setattr(hmac, "compare_digest", spy)
    known = [digest(b"a"), digest(b"b"), digest(b"c")]

    assert is_one_of(b"a", known)
    assert compared == known


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "proxy-authorization",
        "cookie",
        "set-cookie",
        "x-api-key",
        "webhook-signature",
        "x-hub-signature-256",
        "x-amz-security-token",
        "x-secret",
        "my-password",
        "x-authentik-credential",
        "api-key",
        "x-webhook-pass",
        "x-vercel-oidc-token",
        "referer",
        "x-forwarded-uri",
        "x-original-url",
        "forwarded",
        "x-anything",
    ],
)
def test_headers_that_may_carry_a_secret_are_hidden(name: str) -> None:
    redacted = Redactor(KEY).redact([(name.encode(), CANARY)])

    assert CANARY.decode() not in str(redacted)
    assert redacted[0][1].startswith("redacted:")


@pytest.mark.parametrize(
    "name",
    [
        *("accept", "accept-encoding", "cf-ray", "connection", "content-length", "content-type", "date"),
        *("expect", "host", "traceparent", "transfer-encoding", "user-agent", "via", "webhook-id"),
        *("webhook-timestamp", "x-amzn-trace-id", "x-forwarded-for", "x-forwarded-host"),
        *("x-forwarded-proto", "x-organization-id", "x-origin", "x-request-id", "x-webhook-platform"),
    ],
)
def test_headers_that_are_known_to_be_harmless_are_kept(name: str) -> None:
    assert Redactor(KEY).redact([(name.encode(), b"value")]) == [(name, "value")]


def test_a_known_key_is_hidden_in_whatever_header_it_stands() -> None:
    redactor = Redactor(KEY, known=[CANARY])

    assert redactor.redact([(b"via", CANARY)]) == [("via", redactor.fingerprint(CANARY))]


def test_one_credential_has_one_fingerprint_that_depends_on_the_key() -> None:
    known, unknown = Redactor(KEY, known=[CANARY]), Redactor(KEY)

    assert known.fingerprint(CANARY) == unknown.fingerprint(CANARY)
    assert known.fingerprint(CANARY) != known.fingerprint(CANARY + b"x")
    assert known.fingerprint(CANARY) != Redactor(b"another").fingerprint(CANARY)


def test_a_fingerprint_is_an_hmac_cut_to_eight_digits() -> None:
    assert Redactor(KEY).fingerprint(CANARY) == "redacted:" + hmac.digest(KEY, CANARY, "sha256").hex()[:8]


def test_names_and_their_order_and_repetitions_are_kept() -> None:
    headers = [(b"b", b"1"), (b"a", b"2"), (b"b", b"3"), (b"x-api-key", b"s"), (b"x-api-key", b"t")]

    assert [name for name, _ in Redactor(KEY).redact(headers)] == ["b", "a", "b", "x-api-key", "x-api-key"]


def test_any_bytes_can_be_kept_as_text() -> None:
    assert Redactor(KEY).redact([(b"via", bytes(range(256)))]) == [
        ("via", bytes(range(256)).decode("latin-1"))
    ]


def test_an_absurdly_long_value_is_cut() -> None:
    [(_, value)] = Redactor(KEY).redact([(b"via", b"v" * 5000)])

    assert len(value) == 1024


def test_the_json_of_headers_says_the_same_however_many_were_seen_before() -> None:
    redactor = Redactor(KEY, known=[CANARY])
    common = [(b"x-api-key", CANARY), (b"via", b'1.1 "a" \xff'), (b"via", CANARY), (b"x-other", b"")]

    for number in range(3000):
        headers = [*common, (b"x-request-id", b"v%d" % number)]
        assert orjson.loads(redactor.to_json(headers)) == [list(pair) for pair in redactor.redact(headers)]
    assert redactor.to_json([]) == "[]"
    assert len(redactor._as_json) <= 1024
