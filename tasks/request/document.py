"""The request document: a request as one private JSON file. It may hold a secret, so it is never logged or copied."""

from __future__ import annotations

from pydantic import ValidationError

from isaaclab_flows.schemas.errors import ConfigError
from isaaclab_flows.schemas.reading import read_model
from isaaclab_flows.schemas.request import Request
from isaaclab_flows.tasks.storage import storage_at
from isaaclab_flows.tasks.storage.base import split_uri


def write_request(request: Request, uri: str) -> None:
    """Write a request document; of a callback, the token is not written: only the bridge does that."""
    folder, name = split_uri(uri)
    storage_at(folder).write(name, request.model_dump_json(indent=2).encode())


def read_request(uri: str) -> Request:
    """Read a request document.

    Raises:
        InputMissingError: There is none.
        ConfigError: It is no request; the message names keys, never values.
    """
    folder, name = split_uri(uri)
    content = storage_at(folder).read(name)
    try:
        return read_model(Request, content)
    except ValidationError as error:
        keys = ", ".join(".".join(str(part) for part in detail["loc"]) for detail in error.errors()[:5])
        raise ConfigError(
            f"The request document is not valid: {keys or 'it is no JSON object'}",
            where=uri,
            remedy="Send the request again.",
        ) from None
