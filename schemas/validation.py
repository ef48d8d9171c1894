"""Turns pydantic's findings into errors that name the key, the value, what is allowed and the nearest known key."""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from typing import Any

from pydantic import AliasChoices, BaseModel, ValidationError
from pydantic_core import ErrorDetails

from isaaclab_flows.schemas.errors import ConfigError
from isaaclab_flows.schemas.task_names import near_names

_MOST_SHOWN = 5


def explain(error: ValidationError, model: type[BaseModel], *, source: str) -> ConfigError:
    """Return one error whose sentence names up to five findings, each with its key, value and remedy."""
    findings = [_finding(detail, model) for detail in error.errors()]
    # One key at a time where only one is wrong, so that `where` is the key itself.
    shown = "; ".join(what for what, _ in findings[:_MOST_SHOWN])
    more = f"; and {len(findings) - _MOST_SHOWN} more" if len(findings) > _MOST_SHOWN else ""
    remedies = " ".join(dict.fromkeys(remedy for _, remedy in findings[:_MOST_SHOWN] if remedy))
    return ConfigError(shown + more, where=source, remedy=remedies)


def _finding(detail: ErrorDetails, model: type[BaseModel]) -> tuple[str, str]:
    path = [part for part in detail["loc"] if not _is_type_tag(part)]
    key = ".".join(str(part) for part in path)
    context: dict[str, Any] = detail.get("ctx", {})
    value = _shorten(detail["input"])
    match detail["type"]:
        case "extra_forbidden":
            known = known_keys(model, path[:-1])
            elsewhere = [place for place in _places_of(model, str(path[-1])) if place != key]
            if elsewhere:
                return f"The key '{key}' is unknown (value {value})", f"Its place is {' or '.join(elsewhere)}."
            near = near_names(str(path[-1]), known, most=1)
            hint = f"Did you mean '{near[0]}'?" if near else f"Known keys here: {', '.join(sorted(known))}."
            return f"The key '{key}' is unknown (value {value})", hint
        case "missing":
            return f"The key '{key}' is missing", f"Add '{key}'."
        case "literal_error":
            return f"'{key}' is {value}", f"Allowed: {context.get('expected')}."
        case "greater_than_equal":
            return f"'{key}' is {value}, below {context['ge']}", f"Allowed: {context['ge']} or more."
        case "less_than_equal":
            return f"'{key}' is {value}, above {context['le']}", f"Allowed: at most {context['le']}."
        case "tuple_type" | "list_type" if isinstance(detail["input"], str):
            return f"'{key}' is {value}, a text where a list is wanted", f'Write ["{detail["input"]}"].'
        case "value_error":
            return f"{context.get('error', detail['msg'])}", ""
        case "string_pattern_mismatch":
            return f"'{key}' is {value}", f"It must match {context.get('pattern')}."
        case _:
            return f"'{key}' is {value}: {detail['msg'].lower()}", ""


def known_keys(model: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    """Return the JSON keys that are known at a path below a model."""
    current: type[BaseModel] | None = model
    for part in path:
        current = _child(current, str(part)) if current is not None else None
    if current is None:
        return []
    keys: list[str] = []
    for name, field in current.model_fields.items():
        if isinstance(field.validation_alias, AliasChoices):
            keys += [c for c in field.validation_alias.choices if isinstance(c, str) and "_" not in c]
        else:
            keys.append(field.alias or name)
    return keys


def _places_of(model: type[BaseModel], key: str) -> list[str]:
    """Return the dotted places of a key one level below a model, and at its top."""
    places = [key] if key in known_keys(model, ()) else []
    for section in known_keys(model, ()):
        if key in known_keys(model, (section,)):
            places.append(f"{section}.{key}")
    return places


def _child(model: type[BaseModel], key: str) -> type[BaseModel] | None:
    for name, field in model.model_fields.items():
        if key in (field.alias, name):
            return _model_in(field.annotation)
    return None


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return next((found for arg in typing.get_args(annotation) if (found := _model_in(arg))), None)
    return None


def _is_type_tag(part: int | str) -> bool:
    """Union branches appear in the location with their schema's name; people should not see those."""
    return isinstance(part, str) and (part.startswith(("constrained-", "function-")) or "[" in part)


def _shorten(value: object, most: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}…"
