"""Faults of AWS where they come from: between botocore's own tries and the network."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

import botocore.endpoint
import pytest

type Try = tuple[Any, Exception | None]
"""What botocore has of one try: an answer, or what the network did."""


def around_each_try(patch: pytest.MonkeyPatch, decide: Callable[[str, str, Callable[[], Try]], Try]) -> None:
    """Let every single try of every call pass through a function.

    Args:
        patch: Undoes it.
        decide: Given the operation, the path of its URL and what sends it; returns what botocore shall see.
    """
    send = botocore.endpoint.Endpoint._get_response  # type: ignore[attr-defined]

    def tried(self: Any, request: Any, operation_model: Any, context: Any) -> Try:
        path = unquote(urlsplit(request.url).path)
        return decide(operation_model.name, path, lambda: send(self, request, operation_model, context))

    patch.setattr(botocore.endpoint.Endpoint, "_get_response", tried)


def without_pauses(patch: pytest.MonkeyPatch) -> None:
    """Let botocore try again at once."""
    patch.setattr(botocore.endpoint, "time", SimpleNamespace(sleep=lambda _: None))


def refused(code: str, status: int) -> Try:
    """Return a try that the service refused."""
    parsed = {"Error": {"Code": code, "Message": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return (SimpleNamespace(status_code=status, headers={}), parsed), None
