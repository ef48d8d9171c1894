"""An outcome in a few lines that people read."""

from __future__ import annotations

from isaaclab_flows.schemas.outcome import EvaluationSummary, Outcome, TrainingSummary
from isaaclab_flows.tasks.show.progress import duration, number


def headline(outcome: Outcome) -> list[str]:
    """Return three lines or so: what came out, how sure that is, and where it lies."""
    lines: list[str] = []
    if outcome.training is not None:
        lines.append(training_line(outcome, outcome.training))
        if outcome.training.recoveries:
            t = outcome.training
            lines.append(f"It went on after {t.recoveries} stop(s); {t.iterations_lost} iterations were done twice.")
    lines += [evaluation_line(e) for e in outcome.evaluations]
    lines.append(f"Everything is in {outcome.output_uri}")
    return lines


def training_line(outcome: Outcome, training: TrainingSummary) -> str:
    """Return one line about a training."""
    success = f", success rate {training.success_rate:.0%}" if training.success_rate is not None else ""
    return (
        f"Trained {outcome.task} with {outcome.library}: {training.iterations} of {training.total_iterations}"
        f" iterations, final reward {number(training.final_reward)}{success}, in {duration(outcome.seconds)}."
    )


def evaluation_line(summary: EvaluationSummary) -> str:
    """Return one line about a checkpoint."""
    name = summary.checkpoint.rpartition("/")[2]
    if summary.error is not None:
        return f"{name} was not evaluated: {summary.error.sentence}"
    interval = summary.mean_return_ci
    ci = f" (95 % CI {number(interval.low)} to {number(interval.high)})" if interval else ""
    success = f", success rate {summary.success_rate:.0%}" if summary.success_rate is not None else ""
    return f"{name}: mean return {number(summary.mean_return)}{ci} over {summary.episodes} episodes{success}."
