"""A task's configuration with the job's overrides: each names something that is there, fits it, and takes effect.

Isaac Lab itself sets whatever it is told: an unknown key becomes a new one, and a text takes a number's place.
"""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

import yaml

from isaaclab_flows.container.simulator import failures
from isaaclab_flows.schemas.errors import ConfigError
from isaaclab_flows.schemas.overrides import key_of, selects_preset
from isaaclab_flows.schemas.simulator import SimulatorJob
from isaaclab_flows.schemas.task_names import agent_entry_point, near_names

RENAMED: Final = {
    "agent.policy.actor_hidden_dims": "agent.actor.hidden_dims",
    "agent.policy.critic_hidden_dims": "agent.critic.hidden_dims",
    "agent.policy.activation": "agent.actor.activation and agent.critic.activation",
    "agent.policy.init_noise_std": "agent.actor.distribution_cfg.init_std",
    "agent.policy.noise_std_type": "agent.actor.distribution_cfg.std_type",
    "agent.policy.actor_obs_normalization": "agent.actor.obs_normalization",
    "agent.policy.critic_obs_normalization": "agent.critic.obs_normalization",
    "agent.policy.rnn_type": "agent.actor.rnn_type and agent.critic.rnn_type",
    "agent.policy.rnn_hidden_dim": "agent.actor.rnn_hidden_dim and agent.critic.rnn_hidden_dim",
    "agent.policy.rnn_hidden_size": "agent.actor.rnn_hidden_dim and agent.critic.rnn_hidden_dim",
    "agent.policy.rnn_num_layers": "agent.actor.rnn_num_layers and agent.critic.rnn_num_layers",
    "agent.actor.init_noise_std": "agent.actor.distribution_cfg.init_std",
    "agent.actor.noise_std_type": "agent.actor.distribution_cfg.std_type",
    "agent.empirical_normalization": "agent.actor.obs_normalization and agent.critic.obs_normalization",
}
"""rsl_rl's spellings in Isaac Lab 2.x, and what has taken their place."""
_LITERALS: Final = {"true": True, "false": False, "none": None, "null": None}
_NOTHING: Final = object()


@dataclasses.dataclass(frozen=True)
class ValueOverride:
    """An override that sets one value."""

    text: str
    """As ordered."""
    key: str
    value: Any
    adds: bool
    """Written with ``+``: the key may be new where keys are free."""

    @classmethod
    def of(cls, text: str) -> ValueOverride:
        """Read an override as Isaac Lab does, and Hydra's lists of words as lists."""
        return cls(text, key_of(text), parse_value(text.partition("=")[2]), text.startswith("+"))

    @property
    def argument(self) -> str:
        """The override as Isaac Lab reads it without Hydra's part in it, which would make folders and merge."""
        value = self.value if isinstance(self.value, str) else repr(self.value)
        return f"{self.key}={value}"


def parse_value(text: str) -> Any:
    """Return what an override's text stands for: a literal, a list or an object, else the text."""
    if text.lower() in _LITERALS:
        return _LITERALS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        pass
    if text[:1] in "[{":
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError:
            return text
    return text


def resolve_task(job: SimulatorJob, *, play: bool) -> tuple[Any, Any]:
    """Return the configurations of environment and agent, resolved with the job's overrides.

    Raises:
        ConfigError: An override names nothing that is there, or does not fit it.
    """
    from isaaclab_tasks.utils import resolve_task_config

    entry = agent_entry_point(job.library, job.agent)

    def resolved(overrides: Sequence[str]) -> tuple[Any, Any]:
        try:
            env_cfg, agent_cfg = resolve_task_config(job.task, entry, play_mode=play, overrides=list(overrides))
        except (ValueError, AttributeError, KeyError, TypeError, SystemExit) as error:
            if overrides:
                raise failures.bad_overrides(error, job) from error
            raise
        return env_cfg, agent_cfg

    if not job.hydra_overrides:
        return resolved(())
    presets = _preset_paths(job.task, entry)
    values = value_overrides(job)
    replaced = {value.key for value in values if isinstance(value.value, str) and value.key in presets}
    selectors = [text for text in job.hydra_overrides if selects_preset(text)]
    base = resolved([*selectors, *(value.argument for value in values if value.key in replaced)])
    for value in values:
        if value.key not in replaced:
            check_value(value, *base)
    return resolved([*selectors, *(value.argument for value in values)])


def value_overrides(job: SimulatorJob) -> list[ValueOverride]:
    """Return the job's overrides that set values, presets by their path included."""
    return [ValueOverride.of(text) for text in job.hydra_overrides if not selects_preset(text)]


def check_effect(job: SimulatorJob, env_cfg: Any, agent_cfg: Any) -> None:
    """Check that the configuration that will run holds what the overrides ordered.

    Raises:
        ConfigError: Something else has taken an override's place.
    """
    for value in value_overrides(job):
        found = at(value.key, env_cfg, agent_cfg)
        preset = isinstance(value.value, str) and not isinstance(found, str)
        if found is _NOTHING or _is_unset(found) or preset or same(value.value, found):
            continue
        raise _refused(
            f"The override '{value.text}' would not take effect: '{value.key}' is {_short(found)} in what would run",
            "Leave it out, or order the value once and one that the task can take.",
        )


def check_value(override: ValueOverride, env_cfg: Any, agent_cfg: Any) -> None:
    """Check an override against the configuration without it.

    Raises:
        ConfigError: There is no such key, or the value is of another type.
    """
    renamed = RENAMED.get(override.key)
    section, _, rest = override.key.partition(".")
    node, walked = {"env": env_cfg, "agent": agent_cfg}[section], section
    parts = rest.split(".")
    annotation = ""
    for place, part in enumerate(parts):
        child = _child(node, part)
        free = isinstance(node, dict) and place == len(parts) - 1
        if child is _NOTHING and override.adds and free:
            return
        absent = child is _NOTHING or (renamed is not None and _is_unset(child))
        if absent:
            near = near_names(part, _known(node))
            hint = f"Isaac Lab 3.0 calls it {renamed}." if renamed else f"Near keys: {', '.join(near) or 'none'}."
            if _is_unset(node) and renamed is None:
                hint = f"The task leaves it open: set it as a whole, {walked}={{…}}."
            if isinstance(node, list | tuple):
                hint = f"A list is replaced as a whole: {walked}=[…]."
            more = f" A new key is added with +{override.key}=…" if free and not renamed else ""
            raise _refused(
                f"The override '{override.text}' names the key '{part}', which '{walked}' does not have", hint + more
            )
        annotation = str(getattr(getattr(type(node), "__dataclass_fields__", {}).get(part), "type", ""))
        node, walked = child, f"{walked}.{part}"
    wanted = wrong_type(node, override.value, annotation=annotation)
    if wanted is not None:
        raise _refused(
            f"The override '{override.text}' gives {_short(override.value)}, and '{override.key}' takes {wanted}",
            f"Its value in the task is {_short(node)}.",
        )


def wrong_type(old: Any, new: Any, *, annotation: str = "") -> str | None:
    """Return what a key takes, in words, when a new value is of another type than its old one; None when it fits."""
    if new is None or old is None or _is_unset(old):
        return None
    number = isinstance(new, int | float) and not isinstance(new, bool)
    match old:
        case bool():
            return None if isinstance(new, bool) else "true or false"
        case int():
            whole = number and (isinstance(new, int) or "float" in annotation)
            return None if whole else "a whole number"
        case float():
            return None if number else "a number"
        case str():
            return None if isinstance(new, str) or (number and _is_number(old)) else "a text"
        case list() | tuple():
            if not isinstance(new, list | tuple):
                return "a list such as [1, 2]"
            numbers = old and all(isinstance(item, int | float) for item in old)
            return "a list of numbers" if numbers and not all(isinstance(i, int | float) for i in new) else None
        case Mapping():
            return None if isinstance(new, Mapping) else "an object such as {'a': 1}, or null"
    if dataclasses.is_dataclass(old):
        return "null, or values of the keys below it"
    return None


def same(ordered: Any, found: Any) -> bool:
    """Whether a value that was ordered and one that is there are the same; lists and tuples are alike."""
    if isinstance(ordered, list | tuple) and isinstance(found, list | tuple):
        return len(ordered) == len(found) and all(map(same, ordered, found))
    if isinstance(ordered, Mapping) and isinstance(found, Mapping):
        return set(ordered) == set(found) and all(same(ordered[key], found[key]) for key in ordered)
    if isinstance(ordered, bool) is not isinstance(found, bool):
        return False
    return bool(ordered == found)


def at(key: str, env_cfg: Any, agent_cfg: Any) -> Any:
    """Return what lies at a key such as ``env.sim.dt``; a sentinel where nothing does."""
    section, _, rest = key.partition(".")
    node = {"env": env_cfg, "agent": agent_cfg}.get(section, _NOTHING)
    for part in rest.split("."):
        node = _child(node, part)
    return node


def _child(node: Any, part: str) -> Any:
    if isinstance(node, Mapping):
        return node.get(part, _NOTHING)
    if isinstance(node, list | tuple | str | int | float) or node is None or _is_unset(node):
        return _NOTHING
    return getattr(node, part, _NOTHING) if part in _known(node) else _NOTHING


def _known(node: Any) -> list[str]:
    if isinstance(node, Mapping):
        return [str(key) for key in node]
    fields = list(getattr(type(node), "__dataclass_fields__", {}))
    # Scenes get entities beyond their class's fields.
    own = [name for name in getattr(node, "__dict__", {}) if not name.startswith("_")]
    inherited = [name for cls in type(node).__mro__[:-1] for name in vars(cls) if not name.startswith("_")]
    return list(
        dict.fromkeys([*fields, *own, *(name for name in inherited if not callable(getattr(node, name, None)))])
    )


def _preset_paths(task: str, entry: str) -> set[str]:
    from isaaclab_tasks.utils.hydra import collect_presets
    from isaaclab_tasks.utils.parse_cfg import load_cfg_from_registry

    found: set[str] = set()
    for section, key in (("env", "env_cfg_entry_point"), ("agent", entry)):
        for path in collect_presets(load_cfg_from_registry(task, key), section):
            found.add(path)
    return found


def _is_unset(value: Any) -> bool:
    # Configurations are copied deeply, and the mark with them.
    return isinstance(value, type(dataclasses.MISSING))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _refused(what: str, remedy: str) -> ConfigError:
    return ConfigError(what, where="trainingConfig.hydraOverrides", remedy=remedy)


def _short(value: Any, most: int = 60) -> str:
    text = type(value).__name__ if dataclasses.is_dataclass(value) and not isinstance(value, type) else repr(value)
    return text if len(text) <= most else f"{text[:most]}…"
