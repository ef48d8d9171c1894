"""Compares what was ordered with what ran, field by field; a difference is an error."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from isaaclab_flows.schemas.errors import SimulatorError
from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.overrides import key_of, only_learning_reads, selects_preset
from isaaclab_flows.schemas.simulator import Ran, SimulatorResult
from isaaclab_flows.schemas.task_names import installed_name

_LITERALS = {"true": True, "false": False, "none": None, "null": None}


def require_agreement(job: Job, result: SimulatorResult) -> None:
    """Check that a simulator that succeeded did what the configuration says.

    Raises:
        SimulatorError: Naming each field that differs.
    """
    found = list(differences(job, result)) if result.ran is not None and result.status == "succeeded" else []
    if found:
        raise SimulatorError(
            f"What ran is not what was ordered: {'; '.join(found)}",
            where="trainingConfig",
            remedy="Nothing of its numbers can be trusted. This is a fault of the program: please report it.",
        )


def differences(job: Job, result: SimulatorResult) -> Iterator[str]:
    """Yield a sentence for each field in which the result is not what the job's configuration says."""
    assert result.ran is not None
    for name, ordered, ran in _pairs(job, result, result.ran):
        if ordered != ran:
            yield f"{name} was ordered as {ordered!r} and ran as {ran!r}"


def _pairs(job: Job, result: SimulatorResult, ran: Ran) -> Iterator[tuple[str, Any, Any]]:
    inner = job.config.training_config
    # A name of Isaac Lab 2.x runs under its name of 3.0.
    task = inner.task if ran.task == inner.task else installed_name(inner.task) or inner.task
    yield "trainingConfig.task", task, ran.task
    yield "trainingConfig.rlLibrary", inner.rl_library, ran.library
    yield "trainingConfig.agent", inner.agent, ran.agent
    yield "trainingConfig.numEnvs", inner.num_envs, ran.num_envs
    yield "trainingConfig.seed", inner.seed, ran.seed
    if job.device != "auto":
        yield "device", job.device, ran.device.partition(":")[0]
    if job.config.kind == "training":
        yield "trainingConfig.maxIterations", job.config.training_config.max_iterations, result.iterations
        yield "outputConfig.checkpointInterval", job.config.output_config.checkpoint_interval, ran.checkpoint_interval
    else:
        ordered = job.config.training_config
        yield "trainingConfig.numEpisodes", ordered.num_episodes, ran.num_episodes
        yield "trainingConfig.stepsPerEpisode", ordered.steps_per_episode, ran.steps_per_episode
        yield "checkpoints", len(job.checkpoints), len(result.evaluations)
    texts = [text for text in inner.hydra_overrides if not selects_preset(text)]
    if job.config.kind == "evaluation":
        texts = [text for text in texts if not only_learning_reads(key_of(text))]
    yield "trainingConfig.hydraOverrides", sorted(set(texts)), sorted(ran.overrides)
    for text in texts:
        value = _value(text.partition("=")[2])
        # A name may have chosen a preset, whose object then stands there.
        if text in ran.overrides and not isinstance(value, str):
            yield f"the override '{text}'", value, ran.overrides[text]


def _value(text: str) -> Any:
    if text.lower() in _LITERALS:
        return _LITERALS[text.lower()]
    try:
        return _plain(ast.literal_eval(text))
    except (ValueError, SyntaxError):
        return text


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return {str(key): _plain(item) for key, item in value.items()} if isinstance(value, dict) else value
