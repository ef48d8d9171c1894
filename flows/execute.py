"""execute: supervise the simulator in the job folder until the work is done. Runs on the machine with the GPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext

from prefect import flow, get_run_logger, runtime

from isaaclab_flows.schemas.errors import FlowsError
from isaaclab_flows.schemas.job import FLOW_RUN_LABEL, Job
from isaaclab_flows.schemas.outcome import Outcome
from isaaclab_flows.schemas.simulator import SimulatorEvent, SimulatorResult
from isaaclab_flows.tasks.job.folder import folder_of
from isaaclab_flows.tasks.job.hand_over import discard_outcome, save_outcome, take_over
from isaaclab_flows.tasks.job.lease import Lease, lease
from isaaclab_flows.tasks.results.agreement import require_agreement
from isaaclab_flows.tasks.results.conclude import conclude
from isaaclab_flows.tasks.results.evaluation import require_one_evaluated
from isaaclab_flows.tasks.results.publisher import Publisher
from isaaclab_flows.tasks.results.tree import require
from isaaclab_flows.tasks.show.artifacts import RunArtifacts
from isaaclab_flows.tasks.show.progress import ProgressLog
from isaaclab_flows.tasks.simulator.attempts import run_attempts
from isaaclab_flows.tasks.simulator.machine import require_simulator
from isaaclab_flows.tasks.simulator.start import Early


def _run_name() -> str:
    """Name a run by its job: task, library and short id."""
    job_uri = str((runtime.flow_run.parameters or {}).get("job_uri"))
    try:
        return take_over(job_uri).run_name
    except FlowsError:
        return f"execute {job_uri}"  # the run itself will say what is wrong with it


@flow(name="execute", flow_run_name=_run_name)
def execute(job_uri: str) -> Outcome:
    """Do a job's work: go on where an earlier attempt stopped, publish what is finished, judge by the artifacts.

    Args:
        job_uri: Where `open` handed the job over.

    Raises:
        FlowsError: The work failed; what was saved is in staging, with an outcome that says why.
    """
    return _carry_out(job_uri, None)


def execution(early: Early | None) -> Callable[[str], Outcome]:
    """Return `execute` for a program that already holds the job's folder, and whose simulator may already work."""
    if early is None:
        return execute

    @flow(name=execute.name, flow_run_name=_run_name, description=execute.description)
    def execute_early(job_uri: str) -> Outcome:
        return _carry_out(job_uri, early)

    return execute_early


def _carry_out(job_uri: str, early: Early | None) -> Outcome:
    job = take_over(job_uri)
    folder = folder_of(job)
    with nullcontext(early.held) if early is not None else lease(folder) as held:
        anew = job.again and not folder.was_begun_anew(_order_of(job))
        finished = folder.load_outcome()
        if finished is not None and finished.status == "succeeded" and not anew:
            get_run_logger().info("This job has already succeeded; its result is returned and nothing is run.")
            save_outcome(job, finished)
            return finished
        if anew:
            discard_outcome(job)
            folder.begin_anew(_order_of(job))
        folder.save(folder.job_file, job)
        return _work(job, held, early)


def _order_of(job: Job) -> str:
    """Name who asked for the work to be done again: every attempt that this comes to is the same order."""
    return job.labels.get(FLOW_RUN_LABEL) or job.job_id


def _work(job: Job, held: Lease, early: Early | None) -> Outcome:
    logger = get_run_logger()
    require_simulator()
    folder = held.folder
    started = early.at if early is not None else time.time()
    warnings = list(job.warnings)

    def warn(sentence: str) -> None:
        warnings.append(sentence)
        logger.warning(sentence)

    artifacts = RunArtifacts(job, logger)
    result: SimulatorResult | None = None
    failure: BaseException | None = None
    with Publisher(job, folder, warn=warn, require=held.require) as publisher:
        progress = ProgressLog(job, logger, on_finished_file=publisher.wake, warn=warn)

        def on_event(event: SimulatorEvent) -> None:
            progress(event)
            artifacts(event)

        try:
            result = run_attempts(job, held, early=early, on_event=on_event, warn=warn)
            require_one_evaluated(result)
            require_agreement(job, result)
        except BaseException as error:  # a stop from outside must save just as much
            failure = error
    held.require()  # whoever lost the job writes nothing more
    outcome = conclude(job, folder, result=result, failure=failure, started=started, warnings=warnings)
    if failure is None and outcome.status == "succeeded":
        try:
            require(job, outcome.files)
        except FlowsError as error:
            failure = error
            outcome = conclude(job, folder, result=result, failure=error, started=started, warnings=warnings)
    publisher.finish()
    held.require()
    save_outcome(job, outcome)
    folder.save(folder.outcome_file, outcome)
    artifacts.finish(outcome, out=folder.out)
    if failure is not None:
        raise failure
    return outcome
