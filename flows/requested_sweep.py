"""A sweep that a request document asks for: a `*-sweep-config.json` that came by VAMS, or by the command line."""

from __future__ import annotations

import tempfile
import uuid
from pathlib import Path, PurePosixPath

from flows.evaluation_sweep import sweep
from schemas.config import EvaluationJobConfig, check_config
from schemas.errors import ConfigError
from schemas.job import Job
from schemas.outcome import Outcome, OutputFile
from schemas.request import Request
from schemas.sweep import SweepConfig, SweepSummary
from tasks.storage import join_uri, storage_at
from tasks.sweep_plan import Candidate, group_config, plan
from tasks.sweep_request import read_sweep

PUBLISHED = (".md", ".csv", ".parquet", ".png", ".json", ".pt", ".pth")
NOT_PUBLISHED = frozenset({"parts", "jobs"})


def sweep_requested(request: Request) -> tuple[Job, Outcome]:
    """Run the sweep that a request names, and publish its results below the request's output.

    The growing table lies in the auxiliary location, which is the same for every run of one configuration; the output
    gets a copy of the table, the leaderboard, the plots and the best checkpoints.

    Args:
        request: A request whose configuration is a sweep's.

    Returns:
        The request as a job, and its outcome.

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
    config, asset = read_sweep(request.config_uri, request.asset_uri, defaults=request.input_parameters)
    kept = request.auxiliary_uri or request.output_uri
    job = _job(request, config)
    summary = sweep(
        config,
        asset_uri=asset,
        output_uri=kept,
        # The same for every attempt of one execution, so that a retry finds the jobs of the first.
        sweep_id=uuid.uuid5(uuid.NAMESPACE_URL, request.job_id),
        device=request.device,
    )
    target = join_uri(request.output_uri, request.job_id)
    return job, Outcome(
        job_id=request.job_id,
        kind="evaluation",
        status="succeeded",
        task=job.task,
        library=job.library,
        files=publish_results(summary.results_uri, target),
        output_uri=target,
        warnings=tuple(warnings_of(summary)),
    )


def publish_results(results_uri: str, target_uri: str) -> tuple[OutputFile, ...]:
    """Copy a sweep's results, but neither its parts nor its jobs' outputs, to where the user takes them."""
    source, target = storage_at(results_uri), storage_at(target_uri)
    files = []
    with tempfile.TemporaryDirectory() as scratch:
        for file in sorted(source.files(), key=lambda f: f.path):
            path = PurePosixPath(file.path)
            if path.parts[0] in NOT_PUBLISHED or path.suffix not in PUBLISHED:
                continue
            local = Path(scratch) / path.name
            source.download(file.path, local)
            target.upload(local, file.path)
            local.unlink()
            files.append(OutputFile(path=file.path, size=file.size))
    return tuple(files)


def warnings_of(summary: SweepSummary) -> list[str]:
    """Return what a reader of the answer should know: missing results, regressions, and who is best."""
    missing = f"{summary.without_result} of {summary.evaluations} evaluations have no result; results.csv says why."
    return [
        *([missing] if summary.without_result else []),
        *(f"Regression: {sentence}" for sentence in summary.regressions),
        *(f"{best.task}: {best.statement}" for best in summary.best),
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
        staging_uri=request.auxiliary_uri or request.output_uri,
        device=request.device or "auto",
        user=request.user,
        labels=request.labels,
    )
