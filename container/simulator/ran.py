"""What really ran, read from the simulation and the configurations that it was made of, not from the order."""

from __future__ import annotations

from typing import Any

from isaaclab_flows.container.simulator import overrides
from isaaclab_flows.container.simulator.rounds import core_of
from isaaclab_flows.container.simulator.session import Session
from isaaclab_flows.schemas.overrides import only_learning_reads
from isaaclab_flows.schemas.simulator import Ran


def what_ran(session: Session) -> Ran:
    """Return what the supervisor compares with what was ordered."""
    inner = core_of(session.env)
    training, evaluation = session.job.training, session.job.evaluation
    return Ran(
        task=str(session.env.spec.id) if session.env.spec is not None else session.job.task,
        library=session.library.name,
        agent=session.job.agent,
        num_envs=int(inner.num_envs),
        seed=int(inner.cfg.seed) - session.ranks.rank,
        device=str(inner.device),
        physics=session.physics,
        checkpoint_interval=training.checkpoint_interval if training else None,
        num_episodes=evaluation.num_episodes if evaluation else None,
        steps_per_episode=evaluation.steps_per_episode if evaluation else None,
        overrides={
            value.text: plain(overrides.at(value.key, inner.cfg, session.agent_cfg))
            for value in overrides.value_overrides(session.job)
            if training or not only_learning_reads(value.key)
        },
    )


def plain(value: Any) -> Any:
    """Return a value as JSON has it; a configuration's object is its class's name."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return type(value).__name__
