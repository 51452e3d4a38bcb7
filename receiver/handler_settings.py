"""Validate `[handlers.NAME]` with the model that the router of that name declares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import AliasChoices, AliasPath, BaseModel, ValidationError
from pydantic.fields import FieldInfo

from receiver.errors import HandlerError
from receiver.mistakes import did_you_mean
from receiver.user_code import run_user_code

_MOST = 3


def validate(
    model: type[BaseModel] | None, table: Mapping[str, Any] | None, *, name: str, label: str, folder: Path
) -> BaseModel | None:
    """Turn the table of router `name` (declared in the file `label`) into its settings.

    Relative values of fields of type Path, defaults included, start from `folder`. Raise
    HandlerError, which names the table and the key but no value, as that may be a secret.
    """
    if model is None:
        if table is None:
            return None
        mend = "declare them with Router(settings=Settings), or remove the table"
        raise HandlerError(f"[handlers.{name}]: the router in {label} declares no settings; {mend}")
    if table is not None and not isinstance(table, Mapping):
        problem = f"it holds the settings of {label}, so it must be a table"
        raise HandlerError(f"handlers.{name}: {problem}; write [handlers.{name}]")
    _refuse_unknown(model, table or {}, where=f"[handlers.{name}]", label=label)
    given = _anchored(model, table or {}, folder)
    return _with_anchored_defaults(run_user_code(lambda: _validated(model, given, name, label)), folder)


def _validated(model: type[BaseModel], table: Mapping[str, Any], name: str, label: str) -> BaseModel:
    try:
        return model.model_validate(table)
    except ValidationError as error:
        mistakes = [(".".join(str(part) for part in item["loc"]), item) for item in error.errors()]
    missing = [key for key, item in mistakes if item["type"] == "missing"]
    if missing:
        mend = f"add {', '.join(f'{key} = …' for key in missing)} to [handlers.{name}] in the configuration"
        raise HandlerError(f"[handlers.{name}]: {label} needs the setting {' and '.join(missing)}; {mend}")
    lines = [f"{key or 'the table'}: {item['msg'].removeprefix('Value error, ')}" for key, item in mistakes]
    raise HandlerError(f"[handlers.{name}]: {'; '.join(lines[:_MOST])} (settings of {label}); correct it")


def _refuse_unknown(model: type[BaseModel], table: Mapping[str, Any], *, where: str, label: str) -> None:
    """An ignored key is a typing mistake that nobody sees; only a model that allows extras gets them."""
    keys = {key: field for name, field in model.model_fields.items() for key in _keys(name, field, model)}
    for key, value in table.items():
        if key in keys:
            nested = _model_in(keys[key].annotation)
            if nested is None:
                continue
            for at, table in _tables(key, value):
                _refuse_unknown(nested, table, where=f"{where} {at}", label=label)
        elif model.model_config.get("extra") != "allow":
            near = did_you_mean(key, keys, otherwise="there are none, remove it")
            raise HandlerError(f"{where}: unknown key {key}; {near} (settings of {label})")


def _tables(key: str, value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The tables that stand under a key, one or a list of them, each with where it is."""
    if isinstance(value, Mapping):
        yield key, value
    elif isinstance(value, list):
        yield from ((f"{key}.{at}", item) for at, item in enumerate(value) if isinstance(item, Mapping))


def _keys(name: str, field: FieldInfo, model: type[BaseModel]) -> Iterator[str]:
    """Under which names a field may be given."""
    alias = field.validation_alias
    for choice in alias.choices if isinstance(alias, AliasChoices) else [alias]:
        if isinstance(choice, (str, AliasPath)):
            yield choice if isinstance(choice, str) else str(choice.path[0])
    by_name = model.model_config.get("populate_by_name") or model.model_config.get("validate_by_name")
    if alias is None or by_name:
        yield name


def _anchored(model: type[BaseModel], table: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Make the relative paths of a table absolute, before a model may look whether they exist."""
    fields = {key: field for name, field in model.model_fields.items() for key in _keys(name, field, model)}
    result = dict(table)
    for key, value in table.items():
        annotation = fields[key].annotation if key in fields else None
        nested = _model_in(annotation)
        if nested is not None and isinstance(value, (Mapping, list)):
            result[key] = _each_anchored(nested, value, folder)
        elif _is_path(annotation):
            result[key] = _under(folder, value)
    return result


def _each_anchored(model: type[BaseModel], value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return [_each_anchored(model, item, folder) for item in value]
    return _anchored(model, value, folder) if isinstance(value, Mapping) else value


def _under(folder: Path, value: Any) -> Any:
    if isinstance(value, list):
        return [_under(folder, item) for item in value]
    return folder / value if isinstance(value, (str, Path)) else value


def _with_anchored_defaults(settings: BaseModel, folder: Path) -> BaseModel:
    update: dict[str, Any] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, Path) and not value.is_absolute():
            update[name] = folder / value
        elif isinstance(value, BaseModel):
            update[name] = _with_anchored_defaults(value, folder)
    return settings.model_copy(update=update) if update else settings


def _members(annotation: Any) -> Iterator[Any]:
    """The types that an annotation is made of: those of `Path | None` are Path and NoneType."""
    if not get_args(annotation):
        yield annotation
    for part in get_args(annotation):
        yield from _members(part)


def _is_path(annotation: Any) -> bool:
    members = set(_members(annotation))
    return Path in members and str not in members  # text that may be no path stays text


def _model_in(annotation: Any) -> type[BaseModel] | None:
    models = [part for part in _members(annotation) if isinstance(part, type) and issubclass(part, BaseModel)]
    is_plain = get_origin(annotation) in (None, Union, UnionType, list, tuple)
    return models[0] if len(models) == 1 and is_plain else None
