"""`--set KEY=VALUE` on the command line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from isaaclab_flows.schemas.config import merge
from isaaclab_flows.schemas.dotted import nested, value_of
from isaaclab_flows.schemas.errors import ConfigError


def parse_overrides(items: Iterable[str]) -> dict[str, Any]:
    """Return the object that `a.b=1` items stand for; values are JSON where they parse as such, else strings.

    Raises:
        ConfigError: An item has no `=` or an empty key.
    """
    result: dict[str, Any] = {}
    for item in items:
        key, equals, text = item.partition("=")
        if not equals or not all(key.strip().split(".")):
            raise ConfigError(
                f"'--set {item}' is no KEY=VALUE", where="--set", remedy="For example: --set trainingConfig.numEnvs=64"
            )
        result = merge(result, nested(key.strip(), value_of(text)))
    return result
