"""execute on another machine: a flow run of the execute deployment, in the GPU work pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect import get_run_logger
from prefect.deployments import run_deployment

from isaaclab_flows.schemas.errors import (
    CancelledError,
    CannotBePlacedError,
    ConfigError,
    FlowsError,
    InfrastructureLostError,
    InputMissingError,
    LimitReachedError,
    OutOfMemoryError,
    SimulatorError,
)
from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.outcome import Outcome
from isaaclab_flows.schemas.placement import Queues, place
from isaaclab_flows.schemas.settings import settings
from isaaclab_flows.tasks.job.hand_over import job_uri, load_outcome
from isaaclab_flows.tasks.prefect_runs import find_run
from isaaclab_flows.tasks.vams.bus import ABORTED, registered

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun, State

_RERUN = "Run it again: it goes on from its last checkpoint."
WORKERS_KINDS: dict[str, tuple[type[FlowsError], str]] = {
    "configuration": (ConfigError, ""),
    "image": (InputMissingError, ""),
    "container": (SimulatorError, ""),
    "out_of_memory": (OutOfMemoryError, "Lower numEnvs, or have the job ask for more memory."),
    "machine_lost": (InfrastructureLostError, _RERUN),
    "start": (FlowsError, _RERUN),
    "cannot_be_placed": (CannotBePlacedError, ""),
    "time_limit": (LimitReachedError, _RERUN),
    "ended_on_request": (CancelledError, _RERUN),
}
"""What the worker for AWS Batch calls a job's end, at the head of the state's data, and our error with its remedy."""

MOST_RUNS = 1_000
BACKSTOP_SECONDS = 1_800


def execute_remotely(job: Job, deployment: str) -> Outcome:
    """Run execute through its deployment and wait for its end, again where the infrastructure was lost.

    The idempotency key is made of the job and a number: a parent that is retried finds the child that still works
    instead of starting a second one, and passes over children that have ended.

    Raises:
        FlowsError: The job's own error, as execute recorded it.
        CancelledError: Somebody cancelled the child.
        InfrastructureLostError: The machine was lost more often than the settings allow.
    """
    logger = get_run_logger()
    losses = 0
    for number in range(MOST_RUNS):
        run = _start(job, deployment, number)
        if run.state is not None and run.state.is_final():
            continue  # an earlier attempt of this job
        logger.info("execute runs as '%s' of %s", run.name, deployment)
        with registered(job.bus, lambda started=run.id: find_run(str(started)).infrastructure_pid):  # type: ignore[misc]
            ended = _wait(job, deployment, number)
        try:
            return _judge(job, ended)
        except InfrastructureLostError as error:
            losses += 1
            if losses > settings().simulator_restarts:
                raise
            logger.warning("%s Trying again (%d of %d).", error.sentence, losses, settings().simulator_restarts)
    raise InfrastructureLostError("The job was started too often", remedy="Run it under a new job id.")


def _start(job: Job, deployment: str, number: int) -> FlowRun:
    return run_deployment(  # type: ignore[return-value]
        deployment,
        parameters={"job_uri": job_uri(job)},
        flow_run_name=job.run_name,
        idempotency_key=f"{job.job_id}:{number}",
        tags=[f"job:{job.job_id}"],
        job_variables=job_variables(job, settings().queues),
        timeout=0,
    )


def job_variables(job: Job, queues: Queues | None) -> dict[str, Any] | None:
    """Return what one job asks of its work pool; None where the pool's own values count.

    On Batch: the queue of the machines that have its GPUs, what really fits one of them, and an end for a container
    whose supervisor no longer keeps its own time limit.

    Raises:
        ConfigError: The deployment has no such machines.
    """
    if queues is None:
        return None
    compute = job.config.compute_config
    limit = 60 * compute.timeout_minutes + BACKSTOP_SECONDS
    return {**place(compute, queues).job_variables(), "timeout_seconds": limit}


def _wait(job: Job, deployment: str, number: int) -> FlowRun:
    """Wait for the run that the key names: the call finds it instead of starting another."""
    return run_deployment(  # type: ignore[return-value]
        deployment,
        parameters={"job_uri": job_uri(job)},
        idempotency_key=f"{job.job_id}:{number}",
        timeout=None,
        poll_interval=2,
    )


def _judge(job: Job, run: FlowRun) -> Outcome:
    """Turn the child's end into an outcome or an error; what execute recorded counts more than the state."""
    state = run.state
    outcome = load_outcome(job)
    if state is not None and state.is_completed() and outcome is not None:
        return outcome
    if state is not None and state.is_cancelled():
        raise CancelledError("The job's run was cancelled", where=run.name, remedy=_RERUN)
    if state is not None and state.is_failed() and outcome is not None and outcome.error is not None:
        raise outcome.error.to_error()
    raise _lost(run, state)


def _lost(run: FlowRun, state: State | None) -> FlowsError:
    message = (state.message if state else None) or "no reason was given"
    if ABORTED in message:
        return CancelledError("The job was ended by an abort in VAMS", where=run.name)
    lost = InfrastructureLostError if state is None or state.is_crashed() else FlowsError
    kind, remedy = lost, _RERUN
    if state is not None and isinstance(state.data, str):
        kind, remedy = WORKERS_KINDS.get(state.data.partition(":")[0], (lost, _RERUN))
    return kind(
        f"The job's run ended as {state.name if state else 'unknown'}: {message}", where=run.name, remedy=remedy
    )
