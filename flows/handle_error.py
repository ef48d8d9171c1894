"""handle error: end what is still alive, keep what was saved, and make sure that the failure is known."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prefect import flow, get_run_logger

from isaaclab_flows.schemas.errors import CancelledError, ErrorRecord, FlowsError
from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.outcome import Outcome
from isaaclab_flows.schemas.request import Request
from isaaclab_flows.tasks.job.folder import folder_of
from isaaclab_flows.tasks.job.hand_over import job_of, known_job, load_outcome, save_outcome
from isaaclab_flows.tasks.job.lease import lease
from isaaclab_flows.tasks.prefect_runs import attempt_of, call_dead, end_live_children, find_run, why_ended
from isaaclab_flows.tasks.request.document import read_request
from isaaclab_flows.tasks.request.vams import prepare
from isaaclab_flows.tasks.results.conclude import conclude
from isaaclab_flows.tasks.results.publish import point_latest, publish
from isaaclab_flows.tasks.results.publisher import Mirror
from isaaclab_flows.tasks.simulator.leftovers import end_leftovers
from isaaclab_flows.tasks.storage import storage_at
from isaaclab_flows.tasks.vams.callback import answer_failure, resend

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

END_CHILDREN_SECONDS = 120.0


@flow(name="handle-error", flow_run_name="handle error of {failed_run_id}")
def handle_error(failed_run_id: str, only_if_ended: bool = False) -> None:
    """Finish for a run that could not do so itself: its process was killed, its machine lost, or it was cancelled.

    An automation starts this for every run that crashed, failed or was cancelled; running it again changes nothing.

    Args:
        failed_run_id: The flow run, by its id or as an event names it.
        only_if_ended: Leave a run alone that is at work again: somebody retried it before this began. Off takes a run
            that is still Running for dead.
    """
    logger = get_run_logger()
    run = find_run(failed_run_id)
    if only_if_ended and run.state is not None and not run.state.is_final():
        logger.info("%s is at work again: nothing to do", run.name)
        return
    request = _request_of(run.parameters.get("request_uri"), attempt_of(run))
    job = _job_of(run, request)
    error = why_ended(run, _recorded(job))
    if error is None:
        logger.info("%s has succeeded: nothing to do", run.name)
        return
    if run.state is not None and not run.state.is_final() and not run.state.is_cancelling():
        call_dead(run, error.sentence)
    if request is not None and (answer := resend(request)) is not None:
        logger.info("VAMS's answer was already decided: %s", answer.error or "success")
    # Before the answer: a retry that VAMS starts at once must not find a child that is about to be ended.
    ended = _end_children(run)
    if ended:
        logger.warning("Ended what was still alive: %s", ", ".join(ended))
    handle_failure(request, job, error)


def handle_failure(request: Request | None, job: Job | None, error: BaseException) -> None:
    """Keep what was saved and tell whoever asked; no trouble on the way keeps the answer from being sent.

    Args:
        request: What was asked for, where that is known.
        job: What became of it, where that is known.
        error: Why it ended.
    """
    logger = get_run_logger()
    record = ErrorRecord.of(error)
    logger.error("%s", record.sentence)
    if request is not None:
        answer_failure(request, error)
    try:
        if job is not None:
            keep_saved(job, record)
    except Exception as problem:
        logger.warning("What was saved could not be put in order: %s", ErrorRecord.of(problem).sentence)


@flow(name="keep-saved", flow_run_name="keep what {job.job_id} saved")
def keep_saved(job: Job, error: ErrorRecord) -> Outcome:
    """Publish what a failed job saved, where that is not VAMS's to ingest, and return its outcome.

    Args:
        job: The job.
        error: Why it failed.
    """
    logger = get_run_logger()
    outcome = (
        load_outcome(job)
        or _concluded(job, error)
        or Outcome(job_id=job.job_id, kind=job.kind, status="failed", task=job.task, library=job.library)
    )
    target = job.outputs_uri
    status = "cancelled" if error.kind == CancelledError.kind else "failed"
    outcome = outcome.model_copy(update={"error": error, "status": status, "output_uri": target})
    if job.source == "vams":
        return outcome
    if not outcome.files:
        logger.info("Nothing was saved before the failure")
        return outcome
    try:
        publish(job.staging_uri, target, outcome.files, scratch=folder_of(job).path)
        point_latest(job)
        logger.info("Kept %d files that were saved before the failure in %s", len(outcome.files), target)
    except FlowsError as problem:
        logger.warning("What was saved stays in %s: %s", job.staging_uri, problem.sentence)
    return outcome


def _end_children(run: FlowRun) -> list[str]:
    try:
        return end_live_children(run.id, wait_seconds=END_CHILDREN_SECONDS)
    except Exception as problem:  # the answer goes out all the same
        get_run_logger().warning("What is still alive could not be ended: %s", problem)
        return []


def _concluded(job: Job, error: ErrorRecord) -> Outcome | None:
    """Draw the conclusion that a killed supervisor could not, from the job's folder where that is here."""
    folder = folder_of(job)
    if not folder.run.is_dir():
        return None
    with lease(folder) as held:  # whoever still ends its simulator has so long
        end_leftovers(folder)
        outcome = load_outcome(job)
        if outcome is None:
            started = min((attempt.folder.stat().st_mtime for attempt in folder.attempts()), default=time.time())
            outcome = conclude(job, folder, result=None, failure=error.to_error(), started=started, warnings=())
            Mirror(folder.out, storage_at(job.staging_uri)).sync()
            held.require()
            save_outcome(job, outcome)
            folder.save(folder.outcome_file, outcome)
    return outcome


def _job_of(run: FlowRun, request: Request | None) -> Job | None:
    """Return a run's job; what keeps it from being read keeps no answer from being sent.

    A run that a form started has no request document: its job has the run's id, unless the form named one.
    """
    try:
        if request is not None:
            return known_job(prepare(request))
        places = run.parameters.get("places")
        named = places.get("job_id") if isinstance(places, dict) else getattr(places, "job_id", None)
        return job_of(str(named or run.id))
    except Exception as problem:
        get_run_logger().warning("The job could not be read: %s", ErrorRecord.of(problem).sentence)
        return None


def _recorded(job: Job | None) -> ErrorRecord | None:
    try:
        outcome = load_outcome(job) if job is not None else None
    except Exception as problem:
        get_run_logger().warning("The outcome could not be read: %s", ErrorRecord.of(problem).sentence)
        return None
    return outcome.error if outcome else None


def _request_of(uri: object, attempt: int | None) -> Request | None:
    """Return the request of a run, with the callback of the attempt that this run was."""
    if not isinstance(uri, str):
        return None
    request = read_request(uri)
    if request.callback is None or attempt is None:
        return request
    return request.model_copy(update={"callback": request.callback.model_copy(update={"attempt": attempt})})
