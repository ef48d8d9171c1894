"""The choice of Isaac Lab's runtime: where warp is taken, and the words where it is not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from isaaclab_flows.container.simulator import frontend
from isaaclab_flows.container.simulator.frontend import Choice, choose, physics_name
from isaaclab_flows.schemas.simulator import EvaluationOrder, SimulatorJob, TrainingOrder

PROVEN = "Isaac-Proven-Direct"
EVALUATION = EvaluationOrder(checkpoints=("/x.pt",), num_episodes=1, steps_per_episode=1)


def job(*, task: str = PROVEN, library: Any = "rsl_rl", overrides: tuple[str, ...] = (), **order: Any) -> SimulatorJob:
    training = TrainingOrder(max_iterations=1, checkpoint_interval=1, **order)
    return SimulatorJob(
        job_id="j",
        task=task,
        library=library,
        num_envs=1,
        seed=1,
        device="cuda",
        run_folder="/r",
        progress_file="/p",
        result_file="/q",
        training=training,
        hydra_overrides=overrides,
    )


@pytest.mark.parametrize(
    ("order", "physics", "device", "expected"),
    [
        (job(), "Newton", "cuda:0", Choice("warp")),
        (job(overrides=("agent.seed=2", "physics=newton_mjwarp")), "Newton", "cuda:0", Choice("warp")),
        (job(), "Newton", "cpu", Choice("torch", "not warp: the device is the CPU")),
        (job(), "PhysX", "cuda:0", Choice("torch", "not warp: the task runs on PhysX")),
        (job(acceleration="off"), "Newton", "cuda:0", Choice("torch", "not warp: acceleration is off")),
        (job(library="skrl"), "Newton", "cuda:0", Choice("torch", "not warp: it is unproven with skrl")),
        (job(task="Isaac-Other"), "Newton", "cuda:0", Choice("torch", "not warp: it is unproven for this task")),
        (job(overrides=("env.a=1",)), "Newton", "cuda:0", Choice("torch", "not warp: it is unproven with env.a=1")),
        (job(frontend="torch"), "Newton", "cuda:0", Choice("torch")),
        (job(frontend="warp"), "Newton", "cpu", Choice("warp")),
        (job(frontend="warp", acceleration="off"), "Newton", "cuda:0", Choice("warp")),
        (
            job(frontend="warp"),
            "PhysX",
            "cuda:0",
            Choice("warp", "asked for, so the physics are Newton in the place of PhysX", switches_physics=True),
        ),
        (job().model_copy(update={"training": None, "evaluation": EVALUATION}), "Newton", "cuda:0", Choice("torch")),
    ],
)
def test_the_frontend(
    order: SimulatorJob, physics: str, device: str, expected: Choice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frontend, "SAME_RESULT", frozenset({PROVEN}))
    assert choose(order, physics=physics, device=device) == expected


def test_a_task_of_the_users_own_is_not_the_proven_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontend, "SAME_RESULT", frozenset({PROVEN}))
    assert choose(job(), physics="Newton", device="cuda:0", own_tasks=(PROVEN,)).frontend == "torch"


@pytest.mark.parametrize(
    ("kind", "name"), [("NewtonCfg", "Newton"), ("PhysxCfg", "PhysX"), ("OtherCfg", "Other"), (None, "PhysX")]
)
def test_physics_have_a_name_for_people(kind: str | None, name: str) -> None:
    physics = type(kind, (), {})() if kind else None
    assert physics_name(SimpleNamespace(sim=SimpleNamespace(physics=physics))) == name
