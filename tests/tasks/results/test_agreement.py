"""What was ordered and what ran are compared field by field."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isaaclab_flows.schemas.config import check_config
from isaaclab_flows.schemas.errors import SimulatorError
from isaaclab_flows.schemas.job import CheckpointSource, Job
from isaaclab_flows.schemas.simulator import CheckpointEvaluation, Ran, SimulatorResult
from isaaclab_flows.tasks.results.agreement import differences, require_agreement

OVERRIDES = ("env.episode_length_s=10", "agent.actor.hidden_dims=[32, 32]", "env.scene.light=null", "physics=newton")
FIELDS = (
    "task",
    "library",
    "agent",
    "num_envs",
    "seed",
    "device",
    "checkpoint_interval",
    "num_episodes",
    "steps_per_episode",
    "overrides",
)
VALUES = {OVERRIDES[0]: 10, OVERRIDES[1]: [32, 32], OVERRIDES[2]: None}


def ordered(kind: str, **inner: Any) -> Job:
    """A job of a configuration."""
    lengths = (
        {"mode": "train", "maxIterations": 8}
        if kind == "training"
        else {"mode": "evaluate", "numEpisodes": 2, "stepsPerEpisode": 30, "checkpointPath": "/a/model_1.pt"}
    )
    shared = {"task": "Isaac-Cartpole-Direct-v0", "numEnvs": 16, "rlLibrary": "rsl_rl", "seed": 3}
    config = check_config(
        {
            "name": "n",
            "description": "d",
            "trainingConfig": shared | lengths | inner,
            "computeConfig": {"numNodes": 1},
        },
        source="test",
    )
    return Job.model_validate(
        {
            "job_id": "j",
            "kind": kind,
            "source": "cli",
            "config": config,
            "task": "Isaac-Cartpole-Direct",
            "library": config.training_config.rl_library,
            "checkpoints": () if kind == "training" else (CheckpointSource(uri="/a/model_1.pt", found_by="input"),),
            "output_uri": "/out",
            "staging_uri": "/out/j",
            "device": "cpu",
        }
    )


def as_ordered(job: Job) -> SimulatorResult:
    """The result of a simulator that did what it was told."""
    inner = job.config.training_config
    training = job.config.kind == "training"
    ran = Ran(
        task="Isaac-Cartpole-Direct",
        library=inner.rl_library,
        agent=inner.agent,
        num_envs=inner.num_envs,
        seed=inner.seed,
        device="cpu",
        physics="Newton",
        checkpoint_interval=100 if training else None,
        num_episodes=None if training else 2,
        steps_per_episode=None if training else 30,
        overrides={text: VALUES[text] for text in inner.hydra_overrides if text in VALUES},
    )
    return SimulatorResult(
        status="succeeded",
        iterations=8 if training else 0,
        ran=ran,
        evaluations=() if training else (CheckpointEvaluation(checkpoint="/a/model_1.pt"),),
    )


@given(
    kind=st.sampled_from(["training", "evaluation"]),
    num_envs=st.integers(1, 65_536),
    seed=st.integers(0, 2**32 - 1),
    agent=st.sampled_from([None, "recurrent"]),
    overrides=st.lists(st.sampled_from(OVERRIDES), unique=True),
    other=st.sampled_from(FIELDS),
)
def test_whatever_is_ordered_agrees_with_itself_and_each_other_value_shows(
    kind: str, num_envs: int, seed: int, agent: str | None, overrides: list[str], other: str
) -> None:
    job = ordered(kind, numEnvs=num_envs, seed=seed, agent=agent, hydraOverrides=overrides)
    result = as_ordered(job)
    require_agreement(job, result)
    assert result.ran is not None
    value = getattr(result.ran, other)
    if value is None and other != "agent":
        return
    changed = {"overrides": {"env.x=1": 1}, "agent": "other"}.get(other, 7 if isinstance(value, int) else "other")
    if changed == value:
        changed = 8
    wrong = result.model_copy(update={"ran": result.ran.model_copy(update={other: changed})})
    assert len(list(differences(job, wrong))) == 1
    with pytest.raises(SimulatorError, match="What ran is not what was ordered"):
        require_agreement(job, wrong)


def test_an_override_that_ran_with_another_value_is_named() -> None:
    job = ordered("training", hydraOverrides=[OVERRIDES[0]])
    result = as_ordered(job)
    assert result.ran is not None
    wrong = result.model_copy(update={"ran": result.ran.model_copy(update={"overrides": {OVERRIDES[0]: 5.0}})})
    assert list(differences(job, wrong)) == ["the override 'env.episode_length_s=10' was ordered as 10 and ran as 5.0"]


def test_iterations_that_were_not_done_are_named() -> None:
    job = ordered("training")
    wrong = as_ordered(job).model_copy(update={"iterations": 2})
    assert list(differences(job, wrong)) == ["trainingConfig.maxIterations was ordered as 8 and ran as 2"]


def test_a_checkpoint_that_was_left_out_is_named() -> None:
    job = ordered("evaluation")
    wrong = as_ordered(job).model_copy(update={"evaluations": ()})
    assert list(differences(job, wrong)) == ["checkpoints was ordered as 1 and ran as 0"]


def test_what_only_learning_reads_is_not_asked_of_an_evaluation() -> None:
    of_learning = "env.curriculum.terrain_levels=null"
    for kind, differs in (
        ("evaluation", []),
        ("training", [f"trainingConfig.hydraOverrides was ordered as {[of_learning]}"]),
    ):
        job = ordered(kind, hydraOverrides=[of_learning])
        assert [text.partition(" and ran")[0] for text in differences(job, as_ordered(job))] == differs
