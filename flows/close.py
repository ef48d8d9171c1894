"""close: check the outputs, publish them, and only then say that it went well."""

from __future__ import annotations

from prefect import flow, get_run_logger

from schemas.job import Job
from schemas.outcome import Outcome
from tasks.job_folder import folder_of
from tasks.outputs import publish, require
from tasks.storage import join_uri


@flow(name="close", flow_run_name="close {job.job_id}")
def close(job: Job, outcome: Outcome) -> Outcome:
    """Publish the checked outputs in one pass.

    Args:
        job: The job.
        outcome: How execute ended.

    Raises:
        OutputsMissingError: What makes a success is not there.
        StorageError: Outputs could not be copied.
    """
    logger = get_run_logger()
    require(job, outcome.files)
    target = join_uri(job.output_uri, job.job_id)
    publish(job.staging_uri, target, outcome.files, scratch=folder_of(job).path / "publish")
    logger.info("Published %d files to %s", len(outcome.files), target)
    return outcome
