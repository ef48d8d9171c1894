"""A checkpoint of today as earlier versions of its library would have written it."""

from __future__ import annotations

from typing import Any

State = dict[str, Any]


def versions(library: str, today: State) -> dict[str, State]:
    """Return the earlier forms of a checkpoint, by version."""
    return {"rsl_rl": _rsl_rl, "skrl": _skrl, "rl_games": _rl_games}[library](today)


def _rsl_rl(today: State) -> dict[str, State]:
    actor, critic = today["actor_state_dict"], today["critic_state_dict"]
    rest = {"iter": today["iter"], "infos": None, "optimizer_state_dict": {"state": {}, "param_groups": []}}
    layers = {f"actor.{k.removeprefix('mlp.')}": v for k, v in actor.items() if k.startswith("mlp.")}
    layers |= {f"critic.{k.removeprefix('mlp.')}": v for k, v in critic.items() if k.startswith("mlp.")}
    spread = actor["distribution.std_param"]

    def normaliser(network: State, prefix: str = "") -> State:
        names = {k: k.removeprefix("obs_normalizer.") for k in network if k.startswith("obs_normalizer.")}
        return {f"{prefix}{name}": network[key] for key, name in names.items()}

    inside = normaliser(actor, "actor_obs_normalizer.") | normaliser(critic, "critic_obs_normalizer.")
    fourth = {("std" if k == "distribution.std_param" else k): v for k, v in actor.items()}
    second: State = {
        "model_state_dict": layers | {"std": spread},
        "obs_norm_state_dict": normaliser(actor),
        "privileged_obs_norm_state_dict": normaliser(critic),
    }
    return {
        "rsl_rl 2.x": second | rest,
        "rsl_rl 2.x log": second | {"model_state_dict": layers | {"log_std": spread.log()}} | rest,
        "rsl_rl 3.x": {"model_state_dict": layers | {"std": spread} | inside} | rest,
        "rsl_rl 4.x": {"actor_state_dict": fourth, "critic_state_dict": critic} | rest | {"infos": {}},
    }


def _skrl(today: State) -> dict[str, State]:
    first = {k: v for k, v in today.items() if k not in ("observation_preprocessor", "isaaclab_flows")}
    return {"skrl 1.x": first | {"state_preprocessor": today["observation_preprocessor"]}}


def _rl_games(today: State) -> dict[str, State]:
    model = today["model"]
    beside: dict[str, State] = {"running_mean_std": {}, "value_mean_std": {}}
    for name, values in beside.items():
        values |= {k.removeprefix(f"{name}."): v for k, v in model.items() if k.startswith(f"{name}.")}
    rest = {k: v for k, v in model.items() if not k.startswith(tuple(f"{name}." for name in beside))}
    old = {k: v for k, v in today.items() if k != "isaaclab_flows"} | {"model": rest}
    return {
        "rl_games old": old
        | {"running_mean_std": beside["running_mean_std"], "reward_mean_std": beside["value_mean_std"]}
    }
