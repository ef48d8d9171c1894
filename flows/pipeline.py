"""pipeline: open, execute, close; on any failure, handle error. Every request becomes one run of it."""

from __future__ import annotations

from prefect import flow, runtime
from prefect.exceptions import TerminationSignal

from isaaclab_flows.flows.close import close
from isaaclab_flows.flows.execute import execute
from isaaclab_flows.flows.handle_error import handle_failure
from isaaclab_flows.flows.open import open_job
from isaaclab_flows.flows.remote import execute_remotely
from isaaclab_flows.schemas.errors import InfrastructureLostError
from isaaclab_flows.schemas.job import FLOW_RUN_LABEL, Job
from isaaclab_flows.schemas.outcome import Outcome
from isaaclab_flows.schemas.request import Request
from isaaclab_flows.schemas.settings import settings
from isaaclab_flows.tasks.job.hand_over import job_uri
from isaaclab_flows.tasks.prefect_runs import cancel, cancelled, find_run
from isaaclab_flows.tasks.request.document import read_request
from isaaclab_flows.tasks.request.sweep import is_sweep_request
from isaaclab_flows.tasks.request.vams import prepare
from isaaclab_flows.tasks.vams.callback import answer_success, start_heartbeats


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
    run_id = str(runtime.flow_run.id)
    with start_heartbeats(request, on_unawaited=lambda: cancel(run_id, "VAMS no longer waits for this execution")):
        try:
            request = prepare(request)
            page = runtime.flow_run.ui_url or ""
            if is_sweep_request(request):
                from isaaclab_flows.flows.requested_sweep import (
                    sweep_requested,  # a sweep runs many requests, each through here
                )

                job, outcome = sweep_requested(request, page)
            else:
                labels = request.labels | {FLOW_RUN_LABEL: run_id}
                job = open_job(request.without_callback().model_copy(update={"labels": labels}))
                outcome = close(job, _execute(job), request.vams, request.asset_uri, page)
            answer_success(request, job, outcome, links={"flowRun": page} if page else {})
            return outcome
        except BaseException as error:
            handle_failure(request, job, _reason(error, run_id))
            raise


def _reason(error: BaseException, run_id: str) -> BaseException:
    """Tell apart why a signal ended this run: somebody cancelled it, or its machine is going away."""
    if not isinstance(error, TerminationSignal):
        return error
    run = find_run(run_id)
    state = run.state
    if state is not None and (state.is_cancelling() or state.is_cancelled()):
        return cancelled(run)
    return InfrastructureLostError(
        "The pipeline's process was told to end",
        where=f"flow run {run.name}",
        remedy="Run the workflow again: it goes on from the last checkpoint.",
    )


def _execute(job: Job) -> Outcome:
    """Do the work here, or through the deployment that the settings name."""
    deployment = settings().execute_deployment
    if deployment is None:
        return execute(job_uri(job))
    return execute_remotely(job, deployment)
