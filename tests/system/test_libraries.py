"""rl_games and skrl train Cartpole to success, in two processes that share the way, and evaluations say so."""

from __future__ import annotations

import csv
import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from isaaclab_flows.schemas.simulator import CheckpointEvent, EvaluationOrder, IterationEvent
from tests.system.simulator_child import Child, curve, training

pytestmark = pytest.mark.isaaclab

FIRST, SECOND = 2, 4
"""Iterations of the two checkpoints that are compared."""
# Isaac Lab's own minibatches are made for thousands of environments.
OVERRIDES = {"rl_games": ("agent.params.config.minibatch_size=1024",), "skrl": ()}


def _rl_games(state: dict[str, Any]) -> dict[str, float]:
    return {
        "optimiser": float(state["optimizer"]["state"][0]["step"]),
        "observations seen": float(state["model"]["running_mean_std.count"]) - 1,
        "frames": state["frame"],
        "environment's steps": state["isaaclab_flows"]["common_step_counter"],
    }


def _skrl(state: dict[str, Any]) -> dict[str, float]:
    return {
        "optimiser": float(state["optimizer"]["state"][0]["step"]),
        "observations seen": float(state["observation_preprocessor"]["current_count"]) - 1,
        "environment's steps": state["isaaclab_flows"]["common_step_counter"],
    }


@pytest.mark.parametrize(
    ("library", "total", "names", "success", "progress"),
    [
        (
            "rl_games",
            55,
            ("last_cartpole_direct_ep_2.pth", "last_cartpole_direct_ep_4.pth", "last_cartpole_direct_ep_55.pth"),
            "Episode/Metrics/success_rate",
            _rl_games,
        ),
        ("skrl", 70, ("agent_64.pt", "agent_128.pt", "agent_2240.pt"), "Metrics/success_rate", _skrl),
    ],
)
def test_a_library_resumes_where_it_ended_and_trains_to_success(
    library: str, total: int, names: tuple[str, str, str], success: str, progress: Any, tmp_path: Path
) -> None:
    import torch

    order: dict[str, Any] = {"library": library, "num_envs": 256, "hydra_overrides": OVERRIDES[library]}
    first = Child.start(tmp_path, training=training(FIRST, interval=FIRST), **order)
    checkpoints = tmp_path / "run" / "checkpoints"
    assert first.success().last_checkpoint == str(checkpoints / names[0])

    second = Child.start(
        tmp_path, attempt=2, training=training(total, interval=SECOND, resume=checkpoints / names[0]), **order
    )
    result = second.success(seconds=900)
    assert result.iterations == total
    assert result.last_checkpoint == str(checkpoints / names[2])
    assert second.events(IterationEvent)[0].iteration == FIRST
    assert second.events(CheckpointEvent)[0].path == str(checkpoints / names[1])

    # What grows by the same with each iteration shows that the second process went on and did not begin anew.
    before, after = (
        progress(torch.load(checkpoints / name, weights_only=True, map_location="cpu")) for name in names[:2]
    )
    assert after == pytest.approx({key: value * SECOND / FIRST for key, value in before.items()})

    rates = curve(tmp_path, success)
    assert sorted(rates) == list(range(total))
    assert max(list(rates.values())[-10:]) > 0.9

    check = json.loads((tmp_path / "run" / "exported" / "check.json").read_text())
    assert check["checkpoint"] == names[2]
    assert {file["file"]: file["agrees"] for file in check["files"]} == {"policy.pt": True, "policy.onnx": True}

    evaluation = EvaluationOrder(
        checkpoints=(str(checkpoints / names[0]), str(checkpoints / names[2])), num_episodes=1, steps_per_episode=300
    )
    third = Child.start(tmp_path, attempt=3, evaluation=evaluation, **(order | {"num_envs": 16}))
    begun, trained = (success_rate(Path(e.episodes_file or "")) for e in third.success().evaluations)
    assert begun < 0.5
    assert trained > 0.9


def success_rate(episodes: Path) -> float:
    with episodes.open() as file:
        return statistics.mean(float(row["success"]) for row in csv.DictReader(file))
