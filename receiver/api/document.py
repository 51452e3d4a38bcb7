"""The OpenAPI document, made from the operations and the models that really read and answer."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import orjson
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from receiver import __version__
from receiver.api.operations import OPERATIONS, ROOT, Operation, Problem
from receiver.api.questions import Question
from receiver.api.stream import Gap

_REFERENCE = "#/components/schemas/{model}"
_MEANINGS = {
    200: "What was asked for.",
    202: "It has begun.",
    206: "The part that was asked for.",
    304: "It is what If-None-Match names.",
    400: "A parameter is unknown or wrong; its name is given.",
    401: "The token is missing or wrong.",
    404: "There is no such event or handler, or not what was asked for of it.",
    405: "Another method is answered here.",
    408: "The body did not arrive in time.",
    409: "The cursor is of another record; or another number of events is meant than was expected.",
    413: "The body is too large.",
    415: "The body is no JSON.",
    416: "The range is none that can be given.",
    429: "Too many requests with a bad token.",
    503: "It can't be answered now; come again after Retry-After.",
}
_ACCEPTED, _KNOWN = 202, 304
_ALWAYS = (400, 401, 405, 429, 503)
_EVENT_ID = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "The event's id, or the beginning of it when that is unique.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9_]{1,64}$"},
}


@cache
def document() -> bytes:
    """The document, as JSON."""
    answers = [model for each in OPERATIONS for model in (each.answer, each.begun) if model]
    models: list[type[BaseModel]] = [*dict.fromkeys(answers), Problem, Gap]
    bodies = [operation.body for operation in OPERATIONS if operation.body]
    _, definitions = models_json_schema(
        [*((model, "serialization") for model in models), *((model, "validation") for model in bodies)],
        ref_template=_REFERENCE,
    )
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        described = paths.setdefault(ROOT + operation.path, {})
        described[operation.method.lower()] = _described(operation)
    return orjson.dumps(
        {
            "openapi": "3.1.0",
            "info": {"title": "receiver", "version": __version__},
            "paths": paths,
            "components": {
                "schemas": definitions["$defs"],
                "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            },
            "security": [{"token": []}],
        }
    )


def _described(operation: Operation) -> dict[str, Any]:
    summary, _, rest = (operation.action.__doc__ or "").partition("\n\n")
    said = {"summary": summary, "description": " ".join(rest.split())}
    responses = {status: _answer(operation, status) for status in operation.statuses}
    responses |= {status: _problem(status) for status in (*_ALWAYS, *operation.problems)}
    return {
        "operationId": operation.action.__name__,
        **{name: text for name, text in said.items() if text},
        "parameters": _parameters(operation),
        **({} if operation.body is None else {"requestBody": _body(operation.body)}),
        "responses": {str(status): responses[status] for status in sorted(responses)},
    }


def _body(model: type[Question]) -> dict[str, Any]:
    schema = {"$ref": _REFERENCE.format(model=model.__name__)}
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    named = [_EVENT_ID] if "{id}" in operation.path else []
    return [*named, *_in_query(operation.question)]


def _in_query(question: type[Question]) -> list[dict[str, Any]]:
    schema = question.model_json_schema()
    shared = schema.get("$defs", {})
    return [
        {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", ()),
            "description": described.pop("description", ""),
            "schema": _plain(described, shared),
        }
        for name, described in schema.get("properties", {}).items()
    ]


def _plain(schema: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    """What a parameter may be when it is given: never null, and nothing that is defined elsewhere."""
    ways = [way for way in schema.get("anyOf", [schema]) if way.get("type") != "null"]
    way = ways[0]
    if "$ref" in way:
        way = shared[re.sub(".*/", "", way["$ref"])]
    left_out = ("title", "description", "default") if schema.get("default") is None else ("title",)
    return {name: value for name, value in way.items() if name not in left_out}


def _answer(operation: Operation, status: int) -> dict[str, Any]:
    if status == _KNOWN:
        return {"description": _MEANINGS[status]}
    schema: dict[str, Any] = {"type": "string"} if operation.kinds[0].startswith("text/") else {}
    model = operation.begun if status == _ACCEPTED else operation.answer
    if model is not None:
        schema = {"$ref": _REFERENCE.format(model=model.__name__)}
    content = {kind: {"schema": schema} for kind in operation.kinds}
    return {"description": _MEANINGS[status], "content": content}


def _problem(status: int) -> dict[str, Any]:
    schema = {"$ref": _REFERENCE.format(model=Problem.__name__)}
    return {"description": _MEANINGS[status], "content": {"application/json": {"schema": schema}}}
