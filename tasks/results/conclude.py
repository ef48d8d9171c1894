"""Draws the conclusion of a job's work: completes the publishable tree and writes down how it ended."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

from isaaclab_flows.schemas.errors import ErrorRecord, was_cancelled
from isaaclab_flows.schemas.files import write_whole
from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.outcome import EvaluationSummary, Outcome, Status, TrainingSummary
from isaaclab_flows.schemas.simulator import SimulatorResult
from isaaclab_flows.tasks.job.folder import JobFolder
from isaaclab_flows.tasks.job.hand_over import save_outcome
from isaaclab_flows.tasks.results.evaluation import collect
from isaaclab_flows.tasks.results.learning_curve import draw_learning_curve
from isaaclab_flows.tasks.results.metrics import read_metrics
from isaaclab_flows.tasks.results.publish import point_latest, publish
from isaaclab_flows.tasks.results.training import summarise_training, summary_json
from isaaclab_flows.tasks.results.tree import inventory, refresh
from isaaclab_flows.tasks.simulator.attempts import History, history


def conclude(
    job: Job,
    folder: JobFolder,
    *,
    result: SimulatorResult | None,
    failure: BaseException | None,
    started: float,
    warnings: Sequence[str],
) -> Outcome:
    """Complete the publishable tree with tables, pictures and summary, and return the outcome.

    Args:
        job: The job.
        folder: Its folder.
        result: What the simulator said, None when it said nothing.
        failure: What ended the work, None when it ended by itself.
        started: Unix time [s] at which this execution began.
        warnings: Sentences for people.
    """
    left_out = refresh(job, folder, settled=True)
    done = history(folder, gpus=job.config.compute_config.num_nodes * job.config.compute_config.gpus_per_node)
    training = _training(job, folder, done, result, left_out) if job.kind == "training" else None
    evaluations = _evaluations(job, folder, result) if job.kind == "evaluation" else ()
    outcome = Outcome(
        job_id=job.job_id,
        kind=job.kind,
        status=_status(failure),
        task=job.task,
        library=job.library,
        error=ErrorRecord.of(failure) if failure is not None else None,
        training=training,
        evaluations=evaluations,
        started_at=started,
        seconds=round(time.time() - started, 1),
        output_uri=job.outputs_uri,
        gpu_seconds=round(done.gpu_seconds, 1),
        estimated_cost=job.dollars(done.seconds),
        attempts=max(1, done.attempts),
        device=result.device_name if result else "",
        physics=result.ran.physics if result and result.ran else "",
        versions=result.versions if result else {},
        engine=result.engine if result else None,
        seed=job.config.training_config.seed,
        warnings=(*warnings, *left_out),
        defaults=job.defaults,
    )
    summary = json.dumps(summary_json(outcome), indent=2, allow_nan=False)
    write_whole(folder.out / "summary.json", summary.encode())
    return outcome.model_copy(update={"files": inventory(folder.out)})


def keep_abandoned(
    job: Job, folder: JobFolder, *, failure: BaseException, started: float, warnings: Sequence[str]
) -> Outcome:
    """Conclude and publish the work of a simulator that was ended before a flow supervised it.

    Args:
        job: The job.
        folder: Its folder, held by the caller.
        failure: What ended it.
        started: Unix time [s] at which it was started.
        warnings: Sentences for people.

    Raises:
        StorageError: What was saved could not be copied; it is in the job's folder.
    """
    outcome = conclude(job, folder, result=None, failure=failure, started=started, warnings=warnings)
    save_outcome(job, outcome)
    folder.save(folder.outcome_file, outcome)
    publish(str(folder.out), outcome.output_uri, outcome.files, scratch=folder.path)
    point_latest(job)
    return outcome


def _status(failure: BaseException | None) -> Status:
    if failure is None:
        return "succeeded"
    return "cancelled" if was_cancelled(failure) else "failed"


def _training(
    job: Job, folder: JobFolder, done: History, result: SimulatorResult | None, left_out: list[str]
) -> TrainingSummary:
    assert job.config.kind == "training"
    metrics = read_metrics(folder.run / "tensorboard")
    metrics.write(folder.out / "metrics.csv")
    checkpoints = folder.out / "checkpoints"
    names = [p.name for p in checkpoints.iterdir()] if checkpoints.is_dir() else []
    target, title = folder.out / "learning-curve.png", f"{job.config.name}: {job.task}"
    try:
        draw_learning_curve(metrics, target, title=title, resumed_at=done.resumed_at)
    except Exception as error:  # a picture never decides how a job ends
        left_out.append(f"The learning curve could not be drawn: {error}.")
    return summarise_training(
        metrics, total=job.config.training_config.max_iterations, checkpoints=names, done=done, result=result
    )


def _evaluations(job: Job, folder: JobFolder, result: SimulatorResult | None) -> tuple[EvaluationSummary, ...]:
    return collect(job, folder, result) if result is not None else ()
