"""evaluation-sweep: evaluate what is new of a product of checkpoints and settings, rank it, keep the best."""

from __future__ import annotations

import tempfile
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from isaaclab_flows.flows.orchestrate import orchestrate
from isaaclab_flows.schemas.errors import OutputsMissingError
from isaaclab_flows.schemas.forms import (
    CheckpointPattern,
    Device,
    Episodes,
    NumEnvs,
    Places,
    RegressionForm,
    Seed,
    Steps,
    SweepJobs,
    SweepVariation,
    TaskName,
    sweep_config,
)
from isaaclab_flows.schemas.settings import settings
from isaaclab_flows.schemas.sweep import BestCheckpoint, Metric, SweepConfig, SweepSummary
from isaaclab_flows.schemas.task_names import Library
from isaaclab_flows.tasks.prefect_runs import is_wanted
from isaaclab_flows.tasks.request.reach import Reach
from isaaclab_flows.tasks.request.resolve import existing
from isaaclab_flows.tasks.request.sweep import read_sweep, require_reach
from isaaclab_flows.tasks.storage.base import absolute_uri
from isaaclab_flows.tasks.sweep.groups import Evaluated, SweepRun, evaluate, versions
from isaaclab_flows.tasks.sweep.leaderboard import Board, boards
from isaaclab_flows.tasks.sweep.outputs import SweepResult
from isaaclab_flows.tasks.sweep.plan import Group, SweepPlan, plan
from isaaclab_flows.tasks.sweep.regression import Regression, comparable, compare_fresh, fresh_groups
from isaaclab_flows.tasks.sweep.report import SweepReport
from isaaclab_flows.tasks.sweep.store import SweepStore, content_digest, find_checkpoints, results_uri
from isaaclab_flows.tasks.sweep.table import Row

MOST_PARALLEL_JOBS = 64


def _run_name() -> str:
    parameters = flow_run.parameters or {}
    what = parameters.get("config_uri") or parameters.get("name") or "sweep"
    return f"{str(what).rpartition('/')[2]} · {(flow_run.id or '')[:8]}"


@flow(
    name="evaluation-sweep",
    flow_run_name=_run_name,
    task_runner=ThreadPoolTaskRunner(max_workers=MOST_PARALLEL_JOBS),  # type: ignore[arg-type]
)
def evaluation_sweep(
    *,
    config_uri: str | None = None,
    name: str = "Sweep",
    checkpoints: tuple[CheckpointPattern, ...] = (),
    tasks: tuple[TaskName, ...] = ("Isaac-Cartpole-Direct",),
    library: Library = "rsl_rl",
    seeds: tuple[Seed, ...] = (42,),
    num_envs: tuple[NumEnvs, ...] = (64,),
    variations: tuple[SweepVariation, ...] = (),
    num_episodes: Episodes = 1,
    steps_per_episode: Steps = 500,
    rank_by: Metric = "meanReturn",
    jobs: SweepJobs = SweepJobs(),
    regression: RegressionForm = RegressionForm(),
    device: Device = "auto",
    places: Places = Places(),
) -> SweepSummary:
    """Evaluate checkpoints in many settings, rank them, and keep the best.

    Only what is new is evaluated: a checkpoint's content, the settings and the versions decide. Retrying a run goes on
    where it stopped.

    Args:
        config_uri: A *-sweep-config.json; then the rest of the form, but the places and the device, counts for nothing.
        name: Results of sweeps of one name are kept in one table.
        checkpoints: Files, globs, folders, prefixes, runs (job ids) or assets; within the asset, absolute, or s3://.
        tasks: The tasks to evaluate on.
        library: The library that trained the checkpoints.
        seeds: Seeds of the environments.
        num_envs: Numbers of environments simulated in parallel.
        variations: Variations of the environment; none evaluates the tasks as they are.
        num_episodes: Rounds of each evaluation.
        steps_per_episode: Steps after which a round ends.
        rank_by: What the leaderboard ranks by.
        jobs: How the work is divided.
        regression: What to do when the new checkpoints are worse than the last best.
        device: Where to simulate; auto takes the GPU where there is one.
        places: Where inputs come from and outputs go to.
    """
    if config_uri:
        config, asset = read_sweep(absolute_uri(config_uri), places.asset_uri)
    else:
        config = sweep_config(
            name=name,
            checkpoints=checkpoints,
            tasks=tasks,
            library=library,
            seeds=seeds,
            num_envs=num_envs,
            variations=variations,
            num_episodes=num_episodes,
            steps_per_episode=steps_per_episode,
            rank_by=rank_by,
            jobs=jobs,
            regression=regression,
        )
        asset = absolute_uri(places.asset_uri or ".")
    output = absolute_uri(places.output_uri or settings().outputs)
    return sweep(
        config,
        asset_uri=asset,
        output_uri=output,
        sweep_id=uuid.UUID(str(flow_run.id)),
        device=None if device == "auto" else device,
    ).summary


def sweep(
    config: SweepConfig,
    *,
    asset_uri: str | None,
    output_uri: str,
    sweep_id: uuid.UUID,
    auxiliary_uri: str | None = None,
    device: str | None = None,
    reach: Reach | None = None,
) -> SweepResult:
    """Run a sweep; the body of every flow that runs one.

    Args:
        config: The sweep.
        asset_uri: Relative paths resolve against it.
        output_uri: Folder or prefix; the results lie in `sweeps/<name>/` below it.
        sweep_id: Stays the same over retries.
        auxiliary_uri: Where jobs keep what they have while they run; None keeps it in the job folders.
        device: `cpu`, `cuda`, or None for the settings'.
        reach: What it may read; None reads anything.

    Raises:
        ConfigError: The configuration is wrong, or finds no checkpoint.
        CancelledError: Somebody ended it; a single job that is cancelled does not end it.
        OutputsMissingError: No evaluation has a result; the table with the reasons is written.
    """
    logger = get_run_logger()
    reach = reach or Reach(asset_uri)
    run = SweepRun(config, sweep_id, results_uri(output_uri, config), reach, auxiliary_uri, device)
    store = SweepStore(run.results_uri)
    require_reach(config, reach)
    candidates = find_checkpoints(
        config.sweep_config.checkpoints, asset_uri=asset_uri, output_uri=output_uri, reach=reach
    )
    environment = existing(config.custom_environment, reach, "customEnvironmentPath")
    planned = plan(
        config,
        candidates,
        versions=versions(),
        environment_digest=content_digest(environment) if environment else "",
        known={row.key for row in store.rows() if row.final},
    )
    logger.info(
        "%d checkpoints, %d evaluations: %d are known, %d are new, in %d jobs",
        len({cell.candidate.digest for cell in planned.cells}),
        len(planned.cells),
        len(planned.cells) - planned.new,
        planned.new,
        len(planned.groups),
    )
    report = SweepReport(config, planned, logger)
    _evaluate_groups(run, planned, store, report)
    wanted = {cell.key for cell in planned.cells}
    rows = [row for row in store.write_table() if row.key in wanted]
    result = _conclude(run, planned, store, rows, report)
    _require_a_result(result.summary, rows)
    return result


def _require_a_result(summary: SweepSummary, rows: Sequence[Row]) -> None:
    if summary.evaluations and summary.without_result == summary.evaluations:
        first = rows[0].error.rstrip(".")
        raise OutputsMissingError(
            f"None of {summary.evaluations} evaluations has a result. The first one's reason: {first}",
            where=summary.results_uri,
            remedy="results.csv there has the reason of each.",
        )


def _evaluate_groups(run: SweepRun, planned: SweepPlan, store: SweepStore, report: SweepReport) -> None:
    parallel = run.config.sweep_config.parallel_jobs
    if settings().execute_deployment is None or parallel == 1:
        # In the main thread, where a signal reaches the simulator's supervisor.
        for group in planned.groups:
            report.finished(evaluate_group(run, group, store))
        return
    free = threading.Semaphore(parallel)
    running: list[PrefectFuture[Evaluated]] = []
    for group in planned.groups:
        free.acquire()
        future = evaluate_group.submit(run, group, store)
        future.add_done_callback(lambda _: free.release())
        running.append(future)
    for future in running:
        report.finished(future.result())


def _group_name() -> str:
    from prefect.runtime import task_run

    group = task_run.parameters.get("group") if task_run.parameters else None
    return f"{group.setting.title} · {len(group.cells)} checkpoints" if isinstance(group, Group) else "group"


@task(name="evaluate-group", task_run_name=_group_name, persist_result=False, cache_policy=NO_CACHE)
def evaluate_group(run: SweepRun, group: Group, store: SweepStore) -> Evaluated:
    """Evaluate one group in one simulator process; what fails or is cancelled becomes rows with reasons."""
    sweep_run = str(flow_run.id)
    return evaluate(run, group, orchestrate=orchestrate, add_part=store.add_part, wanted=lambda: is_wanted(sweep_run))


def _conclude(
    run: SweepRun, planned: SweepPlan, store: SweepStore, rows: Sequence[Row], report: SweepReport
) -> SweepResult:
    config = run.config
    ranked = boards(rows, config.sweep_config.rank_by)
    new = {cell.candidate.digest for group in planned.groups for cell in group.cells}
    checks = [found for board in ranked if (found := _regression(run, store, board, new))]
    regressions = [check.sentence for check in checks if check.verdict == "worse"]
    for check in checks:
        if check.verdict != "worse":
            get_run_logger().info("%s", check.sentence)
    for sentence in regressions:
        get_run_logger().warning("Regression: %s", sentence)
        if config.sweep_config.regression.event:
            report.emit_regression(sentence, run.results_uri)
    best = []
    with tempfile.TemporaryDirectory() as scratch:
        for board in ranked:
            kept = store.keep_best(board, scratch=Path(scratch), at=time.time())
            if kept and board.best and board.best.score is not None:
                best.append(
                    BestCheckpoint(
                        task=board.task,
                        checkpoint=board.best.checkpoint,
                        kept_as=kept,
                        score=board.best.score,
                        statement=board.statement,
                    )
                )
    report.conclude(ranked, store)
    summary = SweepSummary(
        name=config.name,
        evaluations=len(planned.cells),
        new=planned.new,
        without_result=sum(bool(row.error_kind) for row in rows),
        results_uri=run.results_uri,
        best=tuple(best),
        regressions=tuple(regressions),
        regression_checks=tuple(check.sentence for check in checks),
        gpu_seconds=report.done.gpu_seconds,
        estimated_cost=report.done.estimated_cost,
    )
    return SweepResult(summary, tuple(ranked))


def _regression(run: SweepRun, store: SweepStore, board: Board, new: set[str]) -> Regression | None:
    """Compare the best of what is new with the best that an earlier sweep kept, on fresh common starts."""
    before = store.last_best(board.task)
    now = next((entry for entry in board.ranked if entry.digest in new), None)
    if before is None or now is None or before.digest == now.digest:
        return None
    reason = comparable(before, now, board.metric)
    if reason is not None:
        return reason
    groups = fresh_groups(run.config, board.task, before, now, sweep_id=run.sweep_id)
    get_run_logger().info("%s: the best of what is new meets the last best on fresh starts", board.task)
    rows = [row for group in groups for row in evaluate_apart(run, group).rows]
    tolerance = run.config.sweep_config.regression.tolerance
    return compare_fresh(before, now, rows, metric=board.metric, tolerance=tolerance)


@task(name="compare-with-last-best", task_run_name=_group_name, persist_result=False, cache_policy=NO_CACHE)
def evaluate_apart(run: SweepRun, group: Group) -> Evaluated:
    """Evaluate a group whose rows are no part of the table."""
    sweep_run = str(flow_run.id)
    return evaluate(run, group, orchestrate=orchestrate, add_part=lambda *_: None, wanted=lambda: is_wanted(sweep_run))
