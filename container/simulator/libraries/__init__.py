"""The reinforcement-learning libraries, looked up by the name that configurations give them."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from isaaclab_flows.container.simulator.libraries.base import Library

_CLASSES: Final = {
    "rsl_rl": "isaaclab_flows.container.simulator.libraries.rsl_rl:RslRl",
    "rl_games": "isaaclab_flows.container.simulator.libraries.rl_games:RlGames",
    "skrl": "isaaclab_flows.container.simulator.libraries.skrl:Skrl",
}


def library(name: str) -> Library:
    """Return a library by its name; importing it imports torch and the library."""
    module, _, attribute = _CLASSES[name].partition(":")
    found = getattr(import_module(module), attribute)()
    assert isinstance(found, Library)
    return found
