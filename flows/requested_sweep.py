"""A sweep that a request document asks for: a `*-sweep-config.json` that came by VAMS, or by the command line."""

from __future__ import annotations

import time
import uuid

from prefect import get_run_logger

from isaaclab_flows.flows.evaluation_sweep import sweep
from isaaclab_flows.flows.orchestrate import Opened
from isaaclab_flows.schemas.config import EvaluationJobConfig, check_config
from isaaclab_flows.schemas.errors import ConfigError
from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.outcome import Outcome
from isaaclab_flows.schemas.request import Request
from isaaclab_flows.schemas.sweep import SweepConfig, SweepSummary
from isaaclab_flows.tasks.request.reach import Reach
from isaaclab_flows.tasks.request.sweep import read_sweep
from isaaclab_flows.tasks.show.artifacts import show_outputs
from isaaclab_flows.tasks.sweep.outputs import publish_results
from isaaclab_flows.tasks.sweep.plan import Candidate, group_config, plan
from isaaclab_flows.tasks.vams.results import write_results
from isaaclab_flows.tasks.vams.sweep import write_sweep_metadata, write_sweep_previews


def one_sweep(request: Request, flow_run_url: str) -> Opened:
    """Open a request for a sweep; its work is the sweep, its results published below the request's output.

    The growing table lies in the auxiliary location, which is the same for every run of one configuration; the output
    gets a copy of the table, the leaderboard, the plots and the best checkpoints; VAMS gets previews and metadata too.

    Args:
        request: A request whose configuration is a sweep's.
        flow_run_url: The flow run's page.

    Raises:
        ConfigError: The configuration is wrong, or this is the training workflow.
        InputMissingError: The configuration or the checkpoints cannot be found.
    """
    assert request.config_uri is not None
    if request.kind == "training":
        raise ConfigError(
            "A sweep evaluates, but this is the training workflow",
            where=request.config_uri,
            remedy="Run the evaluation workflow on it.",
        )
    started = time.time()
    config, asset = read_sweep(
        request.config_uri,
        request.asset_uri,
        defaults=request.input_parameters,
        overrides=request.overrides,
        version=request.config_version,
    )
    job = _job(request, config)
    return Opened(job, lambda: _run(request, job, config, asset, flow_run_url, started))


def _run(request: Request, job: Job, config: SweepConfig, asset: str, flow_run_url: str, started: float) -> Outcome:
    logger = get_run_logger()
    clock = time.monotonic()
    result = sweep(
        config,
        asset_uri=asset,
        output_uri=request.sweeps_uri or request.auxiliary_uri or request.output_uri,
        # The same for every attempt of one execution, so that a retry finds the jobs of the first.
        sweep_id=uuid.uuid5(uuid.NAMESPACE_URL, request.job_id),
        auxiliary_uri=request.auxiliary_uri,
        device=request.device,
        reach=Reach.of(request, asset if request.source != "vams" else request.asset_uri),
    )
    target = job.outputs_uri
    outcome = Outcome(
        job_id=request.job_id,
        kind="evaluation",
        status="succeeded",
        task=job.task,
        library=job.library,
        sweep=result.summary,
        files=publish_results(result, target),
        output_uri=target,
        started_at=started,
        seconds=time.monotonic() - clock,
        gpu_seconds=result.summary.gpu_seconds,
        estimated_cost=result.summary.estimated_cost,
        warnings=tuple(warnings_of(result.summary)),
    )
    if request.vams is not None:
        for problem in write_sweep_previews(job, outcome, result, request.vams):
            logger.warning(problem)
        for problem in write_results(job, outcome, request.vams):
            logger.warning(problem)
        write_sweep_metadata(job, outcome, result, request.vams, asset_uri=asset, flow_run_url=flow_run_url)
    logger.info("Published %d files to %s", len(outcome.files), target)
    show_outputs(job, outcome, logger)
    return outcome


def warnings_of(summary: SweepSummary) -> list[str]:
    """Return what a reader of the answer should be warned of: missing results and regressions."""
    missing = f"{summary.without_result} of {summary.evaluations} evaluations have no result; results.csv says why."
    return [
        *([missing] if summary.without_result else []),
        *(f"Regression: {sentence}" for sentence in summary.regressions),
    ]


def _job(request: Request, config: SweepConfig) -> Job:
    """Return the sweep as a job, for the answer: its configuration is that of its first setting."""
    group = plan(config, [Candidate(config.sweep_config.checkpoints[0], "")], versions={}).groups[0]
    first = check_config(group_config(config, group), source=request.config_uri or "")
    assert isinstance(first, EvaluationJobConfig)
    return Job(
        job_id=request.job_id,
        kind="evaluation",
        source=request.source,
        config=first,
        task=group.setting.task,
        library=group.setting.library,
        output_uri=request.output_uri,
        named_folder=request.outputs_folder,
        staging_uri=request.auxiliary_uri or request.output_uri,
        device=request.device or "auto",
        user=request.user,
        labels=request.labels,
    )
