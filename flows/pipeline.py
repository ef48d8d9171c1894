"""pipeline: open, execute, close; on any failure, handle error. Every request becomes one run of it."""

from __future__ import annotations

from prefect import flow, get_run_logger

from flows.close import close
from flows.execute import execute
from flows.handle_error import handle_error
from flows.open import open_job
from flows.remote import execute_remotely
from schemas.errors import ErrorRecord
from schemas.job import Job
from schemas.outcome import Outcome
from schemas.request import Request
from schemas.settings import settings
from tasks.request_document import read_request
from tasks.staging import job_uri


@flow(name="pipeline", flow_run_name="pipeline {request_uri}")
def pipeline(request_uri: str) -> Outcome:
    """Train or evaluate as a request document says.

    Args:
        request_uri: Path or s3:// URI of the request document.
    """
    return orchestrate(read_request(request_uri))


def orchestrate(request: Request) -> Outcome:
    """Run one request from beginning to end; the body of every flow that people or programs start.

    Raises:
        FlowsError: It failed; the failure has been handled.
    """
    job: Job | None = None
    try:
        job = open_job(request.without_callback())
        outcome = _execute(job)
        return close(job, outcome)
    except BaseException as error:
        get_run_logger().error("%s", ErrorRecord.of(error).sentence)
        if job is not None:
            handle_error(job, ErrorRecord.of(error))
        raise


def _execute(job: Job) -> Outcome:
    """Do the work here, or through the deployment that the settings name."""
    deployment = settings().execute_deployment
    if deployment is None:
        return execute(job_uri(job))
    return execute_remotely(job, deployment)
