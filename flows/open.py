"""open: from a request to a job that can run. Seconds, no GPU."""

from __future__ import annotations

from prefect import flow, get_run_logger

from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.request import Request
from isaaclab_flows.tasks.job.hand_over import hand_over
from isaaclab_flows.tasks.request.resolve import resolve


@flow(name="open", flow_run_name="open {request.job_id}")
def open_job(request: Request) -> Job:
    """Read and check the configuration, find the checkpoint, price the job, and hand it over.

    Args:
        request: What was asked for, without its callback.

    Raises:
        ConfigError: The configuration is wrong.
        InputMissingError: Something that it names cannot be found.
    """
    logger = get_run_logger()
    job = resolve(request)
    hand_over(job)
    for sentence in job.defaults:
        logger.info("%s", sentence)
    for warning in job.warnings:
        logger.warning(warning)
    for source in job.checkpoints:
        logger.info("Checkpoint: %s (by %s)", source.uri, source.found_by)
    logger.info("Opened %s: outputs will be in %s", job.title, job.outputs_uri)
    return job
