"""Which of rsl_rl's algorithms the captured steps cover exactly; the others keep rsl_rl's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from rsl_rl.algorithms import PPO
from rsl_rl.models import MLPModel
from rsl_rl.modules.distribution import GaussianDistribution, HeteroscedasticGaussianDistribution
from rsl_rl.utils import resolve_callable

_OPTIMISERS: Final = ("adam", "adamw")
_DISTRIBUTIONS: Final = (GaussianDistribution, HeteroscedasticGaussianDistribution)


def not_covered(config: dict[str, Any]) -> str | None:
    """Return why an agent's configuration keeps rsl_rl's own steps, or None where the captured ones give the same.

    Args:
        config: The runner's, as rsl_rl takes it: class_name, algorithm, actor, critic, torch_compile_mode.
    """
    if config.get("class_name", "OnPolicyRunner") != "OnPolicyRunner":
        return f"the runner is {config['class_name']}"
    algorithm = config["algorithm"]
    distribution = config["actor"].get("distribution_cfg") or {"class_name": "none"}
    reasons: tuple[tuple[bool, Callable[[], str]], ...] = (
        (not _is(algorithm, PPO), lambda: f"the algorithm is {_name(algorithm)}"),
        (not _is(config["actor"], MLPModel), lambda: f"the actor is {_name(config['actor'])}"),
        (not _is(config["critic"], MLPModel), lambda: f"the critic is {_name(config['critic'])}"),
        (not _is(distribution, *_DISTRIBUTIONS), lambda: f"the actions' distribution is {_name(distribution)}"),
        (bool(config["critic"].get("distribution_cfg")), lambda: "the critic has a distribution"),
        (bool(algorithm.get("rnd_cfg")), lambda: "it explores by random network distillation"),
        (bool(algorithm.get("symmetry_cfg")), lambda: "it augments its samples by symmetry"),
        (bool(algorithm.get("use_mixed_precision")), lambda: "it computes in mixed precision"),
        (bool(config.get("torch_compile_mode")), lambda: "its models are compiled"),
        (
            str(algorithm.get("optimizer", "adam")).lower() not in _OPTIMISERS,
            lambda: f"the optimiser is {algorithm['optimizer']}",
        ),
    )
    return next((reason() for applies, reason in reasons if applies), None)


def _is(config: dict[str, Any], *classes: type) -> bool:
    """Exactly one of the classes: one derived from them may do anything."""
    name = config.get("class_name")
    if name is None or name == "none":
        return False
    return resolve_callable(name) in classes


def _name(config: dict[str, Any]) -> str:
    name = config.get("class_name", "unknown")
    return name if isinstance(name, str) else str(getattr(name, "__name__", name))
