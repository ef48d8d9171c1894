"""The words of a run's artifacts: progress, summary, results, and addresses that a browser opens."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.outcome import Interval, Outcome
from isaaclab_flows.schemas.plain import markdown_text
from isaaclab_flows.schemas.settings import settings
from isaaclab_flows.schemas.simulator import EvaluationEvent, IterationEvent
from isaaclab_flows.tasks.show.headline import headline
from isaaclab_flows.tasks.show.progress import duration, number

Cell = str | int | float | None


def progress_text(last: IterationEvent | EvaluationEvent | None) -> str:
    """Return where the work is, in one line; empty before there is anything to count."""
    match last:
        case IterationEvent() as event:
            return f"Iteration {event.iteration + 1} of {event.total}"
        case EvaluationEvent() as event:
            checkpoint = f"Checkpoint {event.position + 1} of {event.checkpoints}, "
            return f"{checkpoint if event.checkpoints > 1 else ''}round {event.round} of {event.rounds}"
        case _:
            return ""


def summary_markdown(
    job: Job,
    *,
    stage: str,
    last: IterationEvent | EvaluationEvent | None,
    left: float | None,
    seconds: float,
    machine: str,
    outcome: Outcome | None,
) -> str:
    """Return how a job goes, or went, as markdown.

    Args:
        job: The job.
        stage: What it does now, for people.
        last: The newest event that counts something.
        left: Seconds left, where known.
        seconds: Seconds that this attempt has run.
        machine: Where it runs.
        outcome: How it ended, once it has.
    """
    rows = [("task", f"{job.task} with {job.library}"), ("stage", stage)]
    if last is not None and outcome is None:
        reward = last.reward if isinstance(last, IterationEvent) else last.mean_return
        rows += [("progress", progress_text(last)), ("reward so far", number(reward))]
        rows += [("speed", f"{last.steps_per_second:,.0f} steps/s")] if last.steps_per_second else []
        rows += [("time left", duration(left))] if left is not None else []
    if job.checkpoints:
        names = [source.uri.rpartition("/")[2] for source in job.checkpoints]
        rows.append(("checkpoint", names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"))
    rows += [("machine", machine), ("running for", duration(outcome.seconds if outcome else seconds))]
    if outcome is not None and outcome.engine is not None:
        rows.append(("engine", outcome.engine.sentence(training=outcome.kind == "training")))
    cost = _cost(job, seconds, outcome)
    rows += [("price so far", cost)] if cost else []
    lines = [
        f"## {markdown_text(job.config.name)}",
        "",
        "| | |",
        "| --- | --- |",
        *(f"| {k} | {markdown_text(v)} |" for k, v in rows),
    ]
    if outcome is not None:
        if outcome.error is not None:
            lines += ["", f"**{markdown_text(outcome.error.sentence)}**"]
        else:
            lines += [
                "",
                *(f"- {markdown_text(line)}" for line in headline(outcome)),
            ]
    for warning in (outcome.warnings if outcome else job.warnings)[:10]:
        lines += ["", f"> Warning: {markdown_text(warning)}"]
    return "\n".join(lines)


def _cost(job: Job, seconds: float, outcome: Outcome | None) -> str | None:
    if outcome is not None and outcome.estimated_cost is not None:
        return f"${outcome.estimated_cost:,.2f}"
    if job.price is None:
        return None
    dollars = job.dollars(seconds)
    return f"${dollars:,.2f} ({job.price.instance_type} at ${job.price.dollars_per_hour:,.2f}/h)"


def results_table(outcome: Outcome) -> list[dict[str, Cell]]:
    """Return the results as rows of a table: a row a checkpoint, or one row for a training."""
    if outcome.training is not None:
        t = outcome.training
        return [
            {
                "iterations": f"{t.iterations} of {t.total_iterations}",
                "final reward": _rounded(t.final_reward),
                "best reward": _rounded(t.best_reward),
                "at iteration": t.best_iteration,
                "success rate": _rounded(t.success_rate),
                "steps/s": _rounded(t.steps_per_second, 0),
                "checkpoints": t.checkpoints,
            }
        ]
    return [
        {
            "checkpoint": e.checkpoint.rpartition("/")[2],
            "iteration": e.checkpoint_iteration,
            "episodes": e.episodes,
            "mean return": _rounded(e.mean_return),
            "95 % interval": _span(e.mean_return_ci),
            "worst tenth": _rounded(e.worst_tenth_return),
            "spread": _rounded(e.std_return),
            "mean length": _rounded(e.mean_length, 1),
            "success rate": _rounded(e.success_rate),
            "reason": e.error.sentence if e.error else "",
        }
        for e in outcome.evaluations
    ]


def _rounded(value: float | None, digits: int = 3) -> float | None:
    return None if value is None else round(value, digits)


def _span(interval: Interval | None) -> str:
    return "" if interval is None else f"{number(interval.low)} … {number(interval.high)}"


def web_address(uri: str, *, folder: bool = False) -> str | None:
    """Return an address that a browser opens: the S3 console, or the studio's file server; None without either.

    Args:
        uri: An s3:// URI, or a local path.
        folder: Whether it is a prefix or a folder.
    """
    if uri.startswith("s3://"):
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        if folder:
            return f"https://s3.console.aws.amazon.com/s3/buckets/{bucket}?prefix={quote(key.rstrip('/'))}/"
        return f"https://s3.console.aws.amazon.com/s3/object/{bucket}?prefix={quote(key)}"
    base = settings().files_url
    if not base or settings().outputs.startswith("s3://"):
        return None
    root = Path(settings().outputs).expanduser().absolute()
    path = Path(uri).expanduser().absolute()
    if not path.is_relative_to(root):
        return None
    return f"{base.rstrip('/')}/{quote(path.relative_to(root).as_posix())}{'/' if folder else ''}"
