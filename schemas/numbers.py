"""Numbers as people write them: quoted, or whole ones with a decimal point."""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping
from typing import Any

from pydantic import AliasChoices, BaseModel

_WHOLE = re.compile(r"\s*[+-]?\d{1,20}\s*")
_NUMBER = re.compile(r"\s*[+-]?(\d{1,20}\.?\d{0,20}|\.\d{1,20})([eE][+-]?\d{1,3})?\s*")


def numbers_of(model: type[BaseModel], data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model's data with numbers where its fields take numbers and no text.

    Text that is no number, and a fraction where a whole number is wanted, stay as they are: they are errors.
    """
    read = dict(data)
    for name, field in model.model_fields.items():
        kinds = _kinds(field.annotation)
        if str in kinds or not kinds & {int, float}:
            continue
        for key in {name, field.alias or name, *_choices(field.validation_alias)} & read.keys():
            value = read[key]
            read[key] = [_number(v, kinds) for v in value] if isinstance(value, list) else _number(value, kinds)
    return read


def _number(value: Any, kinds: set[type]) -> Any:
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value)
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, float) and float not in kinds and value.is_integer():
        return int(value)
    return value


def _kinds(annotation: Any) -> set[type]:
    """Return the plain types within an annotation: of ``Annotated[int, …] | None``, int and None's."""
    arguments = typing.get_args(annotation)
    if not arguments:
        return {annotation} if isinstance(annotation, type) else set()
    if typing.get_origin(annotation) is typing.Annotated:
        return _kinds(arguments[0])
    if typing.get_origin(annotation) is typing.Literal:
        return {type(value) for value in arguments}
    return set().union(*(_kinds(argument) for argument in arguments if argument is not Ellipsis))


def _choices(alias: object) -> list[str]:
    return [choice for choice in alias.choices if isinstance(choice, str)] if isinstance(alias, AliasChoices) else []
