"""The outcome of a training, out of its metrics and its attempts; and summary.json."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from isaaclab_flows.schemas.outcome import Outcome, TrainingSummary
from isaaclab_flows.schemas.simulator import SimulatorResult
from isaaclab_flows.tasks.job.checkpoints import is_checkpoint, newest_first
from isaaclab_flows.tasks.results.metrics import Metrics, best
from isaaclab_flows.tasks.simulator.attempts import History

SUCCESS_TAGS = ("Metrics/success_rate", "Episode/success_rate", "success_rate")
"""TensorBoard tags (their ends) under which tasks report how many of the finished episodes succeeded."""


def summarise_training(
    metrics: Metrics, *, total: int, checkpoints: Sequence[str], done: History, result: SimulatorResult | None
) -> TrainingSummary:
    """Return what came out of a training.

    Args:
        metrics: Its table.
        total: Iterations that were asked for.
        checkpoints: File names of the whole checkpoints.
        done: What its attempts did.
        result: The last attempt's result, None when it left none.
    """
    _, rewards = metrics.series("mean_reward")
    _, lengths = metrics.series("mean_episode_length")
    _, speeds = metrics.series("steps_per_second")
    success = next((c for c in metrics.columns if c.endswith(SUCCESS_TAGS)), None)
    _, rates = metrics.series(success) if success else ([], [])
    top = best(metrics)
    numbered = newest_first(c for c in checkpoints if is_checkpoint(c))
    last = int(metrics.rows[-1]["iteration"]) + 1 if metrics.rows else 0
    return TrainingSummary(
        iterations=max(result.iterations if result else 0, last),
        total_iterations=total,
        final_reward=rewards[-1] if rewards else None,
        best_reward=top[1] if top else None,
        best_iteration=top[0] if top else None,
        final_episode_length=lengths[-1] if lengths else None,
        success_rate=rates[-1] if rates else None,
        steps_per_second=statistics.median(speeds) if speeds else None,
        checkpoints=len(numbered),
        last_checkpoint=numbered[0] if numbered else None,
        recoveries=done.recoveries,
        iterations_lost=done.iterations_lost,
        rollbacks=result.rollbacks if result else 0,
    )


def summary_json(outcome: Outcome) -> dict[str, Any]:
    """Return the outcome as summary.json has it: without the list of files, which would have to hold itself."""
    return outcome.model_dump(mode="json", exclude={"files"}, exclude_none=True)
