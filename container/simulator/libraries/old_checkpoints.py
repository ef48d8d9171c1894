"""Checkpoints as earlier versions of the libraries wrote them, turned into what the installed ones read.

Everything here looks at a file's keys alone; whether the networks fit is for the library to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

State = dict[str, Any]

_MEMORIES: Final = {"actor": "memory_a.", "critic": "memory_c.", "student": "memory_s.", "teacher": "memory_t."}
_NORMALISERS: Final = {
    "actor": "obs_norm_state_dict",
    "student": "obs_norm_state_dict",
    "critic": "privileged_obs_norm_state_dict",
    "teacher": "privileged_obs_norm_state_dict",
}
"""Where rsl_rl 1.x and 2.x kept what the runner normalised with."""
_OLDEST_CRITIC: Final = "critic_obs_norm_state_dict"
_STATE: Final = "_state_dict"
_SPREADS: Final = {"std": "distribution.std_param", "log_std": "distribution.log_std_param"}


@dataclass(frozen=True)
class Converted:
    """A checkpoint in the installed library's form."""

    state: State
    written_by: str | None = None
    """The library and its versions, where the file is not of the installed one's."""


def convert_rsl_rl(state: Mapping[str, Any]) -> Converted:
    """Return an rsl_rl checkpoint as version 5 has it.

    Versions 1 to 3 have one ``model_state_dict`` for all networks; version 4 has the spread of the actions beside the
    actor's layers. Optimisers are left out: their order of weights was another.
    """
    if isinstance(model := state.get("model_state_dict"), Mapping):
        parts = [part for part in _MEMORIES if any(key.startswith(f"{part}.") for key in model)]
        found: State = {f"{part}_state_dict": _part(part, model, state) for part in parts}
        inside = any("_obs_normalizer." in key for key in model)
        return Converted(_kept(state) | found, "rsl_rl 3.x" if inside else "rsl_rl 1.x or 2.x")
    networks = {key: value for key, value in state.items() if key.endswith(_STATE) and isinstance(value, Mapping)}
    if any(spread in network for network in networks.values() for spread in _SPREADS):
        renamed = {
            key: {_SPREADS.get(name, name): value for name, value in network.items()}
            for key, network in networks.items()
            if not key.startswith("optimizer")
        }
        return Converted(_kept(state) | renamed, "rsl_rl 4.x")
    return Converted(dict(state))


def convert_skrl(state: Mapping[str, Any]) -> Converted:
    """Return a skrl checkpoint as version 2 has it; version 1 called the observations' scaler that of the states."""
    if "policy" in state and "state_preprocessor" in state and "observation_preprocessor" not in state:
        moved = {key: value for key, value in state.items() if key != "state_preprocessor"}
        return Converted(moved | {"observation_preprocessor": state["state_preprocessor"]}, "skrl 1.x")
    return Converted(dict(state))


def convert_rl_games(state: Mapping[str, Any]) -> Converted:
    """Return an rl_games checkpoint whose normalisers are among the model's weights, as since version 1.5."""
    model = state.get("model")
    if not isinstance(model, Mapping):
        return Converted(dict(state))
    moved: State = {}
    for old, new in (("running_mean_std", "running_mean_std"), ("reward_mean_std", "value_mean_std")):
        beside = state.get(old)
        if isinstance(beside, Mapping) and not any(key.startswith(f"{new}.") for key in model):
            moved |= {f"{new}.{key}": value for key, value in beside.items()}
    return Converted(dict(state) | {"model": {**model, **moved}}, "rl_games before 1.5" if moved else None)


CONVERTERS: Final[dict[str, Callable[[Mapping[str, Any]], Converted]]] = {
    "rsl_rl": convert_rsl_rl,
    "skrl": convert_skrl,
    "rl_games": convert_rl_games,
}


def fit_spread(network: State, wanted: Mapping[str, Any]) -> State:
    """Return a network's weights with the actions' spread in the form that the agent has: itself or its logarithm."""
    plain, logarithm = _SPREADS.values()
    if plain in network and logarithm in wanted and plain not in wanted:
        return {key: value for key, value in network.items() if key != plain} | {logarithm: network[plain].log()}
    if logarithm in network and plain in wanted and logarithm not in wanted:
        return {key: value for key, value in network.items() if key != logarithm} | {plain: network[logarithm].exp()}
    return network


def _part(part: str, model: Mapping[str, Any], state: Mapping[str, Any]) -> State:
    layers = {
        f"mlp.{key.removeprefix(f'{part}.')}": value for key, value in model.items() if key.startswith(f"{part}.")
    }
    memory, inside = _MEMORIES[part], f"{part}_obs_normalizer."
    layers |= {f"rnn.{key.removeprefix(memory)}": value for key, value in model.items() if key.startswith(memory)}
    layers |= {f"obs_normalizer.{key.removeprefix(inside)}": v for key, v in model.items() if key.startswith(inside)}
    beside = state.get(_NORMALISERS[part]) or (state.get(_OLDEST_CRITIC) if part in ("critic", "teacher") else None)
    if isinstance(beside, Mapping):
        layers |= {f"obs_normalizer.{key}": value for key, value in beside.items()}
    if part in ("actor", "student"):
        layers |= {new: model[old] for old, new in _SPREADS.items() if old in model}
    return layers


def _kept(state: Mapping[str, Any]) -> State:
    return {key: value for key, value in state.items() if not key.endswith(_STATE)}
