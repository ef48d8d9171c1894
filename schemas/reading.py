"""Reading files that other parts of the project wrote, which may be of another version, or torn."""

from __future__ import annotations

import logging

from pydantic import BaseModel, ValidationError

_log = logging.getLogger(__name__)


def read_model[Model: BaseModel](model: type[Model], content: bytes) -> Model:
    """Return what a file between our own parts says; a key that a newer part wrote is read over.

    Args:
        model: What it should be.
        content: The file's bytes.

    Raises:
        ValidationError: It is torn, empty, foreign, or lacks what is needed.
    """
    return model.model_validate_json(content, extra="ignore")


def read_if_whole[Model: BaseModel](model: type[Model], content: bytes, *, source: str) -> Model | None:
    """Return what such a file says, or None, with a warning, where it says nothing that can be understood.

    Args:
        model: What it should be.
        content: The file's bytes.
        source: Its name, for the warning.
    """
    try:
        return read_model(model, content)
    except ValidationError as error:
        keys = ", ".join(".".join(map(str, detail["loc"])) for detail in error.errors()[:3])
        _log.warning("%s cannot be read and counts as missing (%s)", source, keys or "it is no JSON")
        return None
