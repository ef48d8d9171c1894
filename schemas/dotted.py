"""Settings written as one line each: a dotted key, and a value that is JSON where it reads as such."""

from __future__ import annotations

import json
from typing import Any


def nested(key: str, value: Any) -> dict[str, Any]:
    """Return the object that a dotted key stands for: `a.b` and 1 give `{"a": {"b": 1}}`."""
    for part in reversed(key.split(".")):
        value = {part: value}
    result: dict[str, Any] = value
    return result


def value_of(text: str) -> Any:
    """Return what a text says as JSON (`64`, `true`, `["a=1"]`, `"64"` for the text), else the text itself."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
