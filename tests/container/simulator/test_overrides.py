"""Overrides against a task's configuration: each names something that is there, fits it and takes effect."""

from __future__ import annotations

import dataclasses
from dataclasses import MISSING, dataclass, field
from typing import Any

import pytest

from isaaclab_flows.container.simulator.overrides import ValueOverride, check_effect, check_value, parse_value
from isaaclab_flows.schemas.errors import ConfigError
from tests.container.simulator.test_failures import job


@dataclass
class Sim:
    gravity: tuple[float, ...] = (0.0, 0.0, -9.81)
    dt: float = 0.01
    name: str = "world"
    table: dict[str, float] = field(default_factory=lambda: {"a": 1.0})


@dataclass
class Environment:
    episode_length_s: float = 5.0
    decimation: int = 2
    weight: float = 1
    filtered: bool = True
    light: Any = None
    sim: Sim = field(default_factory=Sim)


@dataclass
class Agent:
    policy: Any = None
    empirical_normalization: Any = None
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        # As Isaac Lab leaves what a task does not set.
        self.policy = self.empirical_normalization = MISSING


AGENT = {"config": {"learning_rate": "5e-4", "mini_epochs": 8, "layers": [{"size": 3}]}}


@pytest.mark.parametrize(
    "override",
    [
        "env.episode_length_s=10",
        "env.episode_length_s=1e1",
        "env.decimation=4",
        "env.weight=0.5",
        "env.filtered=false",
        "env.light=null",
        "env.light=3",
        "env.sim.gravity=(0,0,-3)",
        "env.sim.gravity=[0,0,-3.5]",
        "env.sim.name=mars",
        "env.sim.table.a=2",
        "+env.sim.table.b=2",
        "env.sim=null",
    ],
)
def test_an_override_that_fits_passes(override: str) -> None:
    check_value(ValueOverride.of(override), Environment(), Agent())


@pytest.mark.parametrize("override", ["agent.config.learning_rate=1e-3", "agent.config.layers=[{'size': 4}]"])
def test_agents_that_are_dictionaries_are_looked_into(override: str) -> None:
    check_value(ValueOverride.of(override), Environment(), AGENT)


@pytest.mark.parametrize(
    ("override", "agent", "said"),
    [
        ("env.episode_length_s=ten", Agent(), ["'ten'", "takes a number", "5.0"]),
        ("env.decimation=2.5", Agent(), ["takes a whole number"]),
        ("env.decimation=true", Agent(), ["takes a whole number"]),
        ("env.filtered=1", Agent(), ["takes true or false"]),
        ("env.sim.gravity=3", Agent(), ["takes a list"]),
        ("env.sim.gravity=[a,b,c]", Agent(), ["takes a list of numbers"]),
        ("env.sim.name=3", Agent(), ["takes a text"]),
        ("env.sim={'dt': 1}", Agent(), ["values of the keys below it"]),
        ("env.sim.gravty=1", Agent(), ["'gravty'", "'env.sim' does not have", "Near keys: gravity"]),
        ("+env.sim.gravty=1", Agent(), ["Near keys: gravity"]),
        ("env.sym.dt=1", Agent(), ["'sym'", "'env' does not have", "sim"]),
        ("env.sim.table.aa=1", Agent(), ["A new key is added with +env.sim.table.aa=…"]),
        ("agent.learning_rte=1", Agent(), ["'learning_rte'", "learning_rate"]),
        ("agent.policy.actor_hidden_dims=[3]", Agent(), ["agent.actor.hidden_dims"]),
        ("agent.empirical_normalization=true", Agent(), ["agent.actor.obs_normalization"]),
        ("agent.config.mini_epochs=x", AGENT, ["takes a whole number"]),
        ("agent.config.layers.0.size=4", AGENT, ["A list is replaced as a whole: agent.config.layers=[…]"]),
    ],
)
def test_one_that_does_not_is_named_with_what_is_there(override: str, agent: Any, said: list[str]) -> None:
    with pytest.raises(ConfigError) as raised:
        check_value(ValueOverride.of(override), Environment(), agent)
    assert raised.value.where == "trainingConfig.hydraOverrides"
    assert all(part in raised.value.sentence for part in [override, *said]), raised.value.sentence


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 0.001), ("True", True), ("null", None), ("[policy,other]", ["policy", "other"]), ("(1,2)", (1, 2))],
)
def test_values_are_read_as_isaac_lab_and_hydra_read_them(text: str, value: object) -> None:
    assert parse_value(text) == value


def test_what_was_ordered_is_what_will_run() -> None:
    ordered = job(hydra_overrides=("env.sim.gravity=[0,0,-3]", "agent.config.mini_epochs=4", "physics=newton_mjwarp"))
    env_cfg = dataclasses.replace(Environment(), sim=Sim(gravity=(0, 0, -3)))
    check_effect(ordered, env_cfg, {"config": {"mini_epochs": 4}})
    with pytest.raises(ConfigError, match=r"'agent\.config\.mini_epochs=4' would not take effect.*is 2 in what"):
        check_effect(ordered, env_cfg, {"config": {"mini_epochs": 2}})
    with pytest.raises(ConfigError, match="order the value once"):
        check_effect(job(hydra_overrides=("env.decimation=3", "env.decimation=2")), env_cfg, {})
