"""handle error: keep what was saved, and make sure that the failure is known."""

from __future__ import annotations

from prefect import flow, get_run_logger

from schemas.errors import ErrorRecord, FlowsError
from schemas.job import Job
from schemas.outcome import Outcome
from tasks.job_folder import folder_of
from tasks.outputs import publish
from tasks.staging import load_outcome
from tasks.storage import join_uri


@flow(name="handle-error", flow_run_name="handle error of {job.job_id}")
def handle_error(job: Job, error: ErrorRecord) -> Outcome:
    """Publish what a failed job saved, where that is not VAMS's to ingest, and return its outcome.

    Args:
        job: The job.
        error: Why it failed.
    """
    logger = get_run_logger()
    logger.error(error.sentence)
    outcome = load_outcome(job) or Outcome(
        job_id=job.job_id, kind=job.kind, status="failed", task=job.task, library=job.library
    )
    target = join_uri(job.output_uri, job.job_id)
    status = "cancelled" if error.kind == "cancelled" else "failed"
    outcome = outcome.model_copy(update={"error": error, "status": status, "output_uri": target})
    if job.source == "vams" or not outcome.files:
        return outcome
    try:
        publish(job.staging_uri, target, outcome.files, scratch=folder_of(job).path / "publish")
        logger.info("Kept %d files that were saved before the failure in %s", len(outcome.files), target)
    except FlowsError as problem:
        logger.warning("What was saved stays in %s: %s", job.staging_uri, problem.sentence)
    return outcome
