"""What a `*-sweep-config.json` may say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isaaclab_flows.schemas.errors import ConfigError
from isaaclab_flows.schemas.sweep import check_sweep, is_sweep, parse_sweep, sweep_json_schema, sweep_schema_file


def minimal(**sweep: Any) -> dict[str, Any]:
    return {
        "name": "Nightly",
        "description": "",
        "sweepConfig": {
            "checkpoints": ["checkpoints/*.pt"],
            "tasks": ["Isaac-Cartpole-Direct-v0"],
            "rlLibrary": "rsl_rl",
            "numEpisodes": 1,
            "stepsPerEpisode": 300,
        }
        | sweep,
        "computeConfig": {"numNodes": 1},
    }


def test_a_minimal_sweep_evaluates_the_task_as_it_is() -> None:
    config = check_sweep(minimal(), source="x")
    assert config.sweep_config.seeds == (42,)
    assert config.sweep_config.variations == ()
    assert config.folder == "nightly"
    assert is_sweep(minimal())
    assert not is_sweep({"trainingConfig": {}})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": [1]}, "Did you mean 'seeds'"),
        ({"seeds": [1, 1]}, "names 1 more than once"),
        ({"seeds": ["one"]}, "seeds"),
        ({"numEnvs": [0]}, "1 or more"),
        ({"checkpoints": []}, "checkpoints"),
        ({"tasks": ["Isaac-Cartpol-Direct"]}, "Isaac-Cartpole-Direct"),
        ({"tasks": ["Isaac-Velocity-Flat-G1"], "rlLibrary": "rl_games"}, "rsl_rl, skrl"),
        ({"variations": [{"name": "a", "hydraOverrides": ["rm -rf"]}]}, "Allowed: env"),
        ({"variations": [{"name": "../up"}]}, "must match"),
        ({"rankBy": "mean"}, "meanReturn"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_sweep(minimal(**change), source="x-sweep-config.json")
    assert said in caught.value.sentence
    assert "x-sweep-config.json" in caught.value.sentence or "trainingConfig" in caught.value.sentence


def test_another_kinds_file_is_told_apart() -> None:
    with pytest.raises(ConfigError, match="looks like a training's"):
        parse_sweep(json.dumps({"trainingConfig": {"mode": "train"}}), source="x")
    with pytest.raises(ConfigError, match="not valid JSON"):
        parse_sweep("{", source="x")


def test_a_task_of_a_custom_environment_is_not_looked_up() -> None:
    assert check_sweep(minimal(tasks=["My-Task"], customEnvironmentPath="mine.whl"), source="x").custom_environment


def test_the_committed_schema_is_current() -> None:
    assert json.loads(sweep_schema_file().read_text()) == sweep_json_schema(), "write it again: make schema"


def test_the_example_and_the_documented_sweep_are_valid() -> None:
    root = Path(__file__).parents[2]
    example = root / "examples/cartpole/evaluation/cartpole-sweep-config.json"
    assert parse_sweep(example.read_text(), source=str(example)).folder == "cartpole-checkpoints"
    documented = (root / "docs/sweeps.md").read_text().partition("```json\n")[2].partition("```")[0]
    assert len(parse_sweep(documented, source="docs/sweeps.md").sweep_config.variations) == 2
