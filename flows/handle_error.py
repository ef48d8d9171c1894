"""handle error: end what is still alive, keep what was saved, and make sure that the failure is known."""

from __future__ import annotations

from prefect import flow, get_run_logger

from isaaclab_flows.schemas.errors import CancelledError, ErrorRecord, FlowsError
from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.outcome import Outcome
from isaaclab_flows.schemas.request import Request
from isaaclab_flows.tasks.job.folder import folder_of
from isaaclab_flows.tasks.job.hand_over import known_job, load_outcome
from isaaclab_flows.tasks.prefect_runs import attempt_of, call_dead, end_live_children, find_run, why_ended
from isaaclab_flows.tasks.request.document import read_request
from isaaclab_flows.tasks.results.publish import point_latest, publish
from isaaclab_flows.tasks.vams.callback import answer_failure, resend

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
    job = known_job(request) if request is not None else None
    outcome = load_outcome(job) if job is not None else None
    error = why_ended(run, outcome.error if outcome else None)
    if error is None:
        logger.info("%s has succeeded: nothing to do", run.name)
        return
    if run.state is not None and not run.state.is_final() and not run.state.is_cancelling():
        call_dead(run, error.sentence)
    if request is not None and (answer := resend(request)) is not None:
        logger.info("VAMS's answer was already decided: %s", answer.error or "success")
    ended = end_live_children(run.id, wait_seconds=END_CHILDREN_SECONDS)
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
    try:
        if job is not None:
            keep_saved(job, record)
    except Exception as problem:
        logger.warning("What was saved could not be put in order: %s", ErrorRecord.of(problem).sentence)
    if request is not None:
        answer_failure(request, error)


@flow(name="keep-saved", flow_run_name="keep what {job.job_id} saved")
def keep_saved(job: Job, error: ErrorRecord) -> Outcome:
    """Publish what a failed job saved, where that is not VAMS's to ingest, and return its outcome.

    Args:
        job: The job.
        error: Why it failed.
    """
    logger = get_run_logger()
    outcome = load_outcome(job) or Outcome(
        job_id=job.job_id, kind=job.kind, status="failed", task=job.task, library=job.library
    )
    target = job.outputs_uri
    status = "cancelled" if error.kind == CancelledError.kind else "failed"
    outcome = outcome.model_copy(update={"error": error, "status": status, "output_uri": target})
    if job.source == "vams" or not outcome.files:
        return outcome
    try:
        publish(job.staging_uri, target, outcome.files, scratch=folder_of(job).path / "publish")
        point_latest(job)
        logger.info("Kept %d files that were saved before the failure in %s", len(outcome.files), target)
    except FlowsError as problem:
        logger.warning("What was saved stays in %s: %s", job.staging_uri, problem.sentence)
    return outcome


def _request_of(uri: object, attempt: int | None) -> Request | None:
    """Return the request of a run, with the callback of the attempt that this run was."""
    if not isinstance(uri, str):
        return None
    request = read_request(uri)
    if request.callback is None or attempt is None:
        return request
    return request.model_copy(update={"callback": request.callback.model_copy(update={"attempt": attempt})})
