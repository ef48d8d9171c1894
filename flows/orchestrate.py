"""orchestrate: what every request goes through, whoever made it: heartbeats, the work, the answer, or handle error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from prefect import get_run_logger, runtime
from prefect.exceptions import TerminationSignal

from isaaclab_flows.flows.close import close
from isaaclab_flows.flows.execute import execution
from isaaclab_flows.flows.handle_error import handle_failure
from isaaclab_flows.flows.open import open_job
from isaaclab_flows.flows.remote import execute_remotely
from isaaclab_flows.schemas.errors import InfrastructureLostError
from isaaclab_flows.schemas.job import FLOW_RUN_LABEL, Job
from isaaclab_flows.schemas.outcome import Outcome
from isaaclab_flows.schemas.request import Request
from isaaclab_flows.schemas.settings import settings
from isaaclab_flows.tasks.job.hand_over import job_uri
from isaaclab_flows.tasks.prefect_runs import cancel, cancelled, find_run, is_cancelled
from isaaclab_flows.tasks.request.vams import prepare
from isaaclab_flows.tasks.simulator.start import Early
from isaaclab_flows.tasks.vams.callback import answer_success, start_heartbeats


@dataclass(frozen=True)
class Opened:
    """A request whose work can begin.

    Args:
        job: What the answer is about.
        carry_out: Does the work and publishes it.
    """

    job: Job
    carry_out: Callable[[], Outcome]


type Work = Callable[[Request, str], Opened]
"""Opens a request, given the flow run's page (empty where it has none)."""


def one_job(request: Request, flow_run_url: str, *, early: Early | None = None) -> Opened:
    """Open a request for one training or evaluation; its work is execute, then close.

    Args:
        request: What was asked for.
        flow_run_url: The flow run's page, empty where it has none.
        early: The job's folder and simulator, where the program that asks has them already.
    """
    labels = request.labels | {FLOW_RUN_LABEL: str(runtime.flow_run.id)}
    job = open_job(request.without_callback().model_copy(update={"labels": labels}))
    return Opened(job, lambda: close(job, _execute(job, early), request.vams, request.asset_uri, flow_run_url))


def orchestrate(request: Request, work: Work = one_job) -> Outcome:
    """Run one request from beginning to end; the body of every flow that people or programs start.

    Args:
        request: What was asked for.
        work: What is done for it.

    Raises:
        FlowsError: It failed; the failure has been handled.
    """
    job: Job | None = None
    run_id = str(runtime.flow_run.id)
    page = runtime.flow_run.ui_url or ""
    with start_heartbeats(request, on_unawaited=lambda: cancel(run_id, "VAMS no longer waits for this execution")):
        try:
            request = prepare(request)
            opened = work(request, page)
            job = opened.job
            outcome = opened.carry_out()
            answer_success(request, job, outcome, links={"flowRun": page} if page else {})
            return outcome
        except BaseException as error:
            handle_failure(request, job, _reason(error, run_id))
            raise


def _reason(error: BaseException, run_id: str) -> BaseException:
    """Tell apart why a signal ended this run: somebody cancelled it, or its machine is going away."""
    if not isinstance(error, TerminationSignal):
        return error
    lost = InfrastructureLostError(
        "The pipeline's process was told to end",
        where=f"flow run {runtime.flow_run.name}",
        remedy="Run the workflow again: it goes on from the last checkpoint.",
    )
    try:
        run = find_run(run_id)
    except Exception as problem:  # the answer must not depend on Prefect's server
        get_run_logger().warning("Why this run was ended could not be asked: %s", problem)
        return lost
    if is_cancelled(run.state):
        return cancelled(run)
    return lost


def _execute(job: Job, early: Early | None) -> Outcome:
    """Do the work here, or through the deployment that the settings name."""
    deployment = settings().execute_deployment
    if deployment is None:
        return execution(early)(job_uri(job))
    return execute_remotely(job, deployment)
