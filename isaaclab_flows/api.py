"""What scripts and notebooks call: train, evaluate, sweep and validate, on this machine or where the settings say."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from isaaclab_flows.schemas.config import Kind, merge
from isaaclab_flows.schemas.dotted import nested
from isaaclab_flows.schemas.errors import ConfigError, FlowsError
from isaaclab_flows.schemas.request import Request, new_job_id
from isaaclab_flows.schemas.settings import replaced_settings, settings
from isaaclab_flows.tasks.storage.base import absolute_uri, is_s3

if TYPE_CHECKING:
    from isaaclab_flows.schemas.job import Job
    from isaaclab_flows.schemas.outcome import Outcome
    from isaaclab_flows.schemas.sweep import Metric, SweepSummary

Library = Literal["rsl_rl", "skrl", "rl_games"]
Device = Literal["auto", "cpu", "cuda"]
Place = str | Path

_ONE_AT_A_TIME = threading.Lock()


def train(
    config: Place | None = None,
    *,
    task: str | None = None,
    library: Library | None = None,
    num_envs: int | None = None,
    max_iterations: int | None = None,
    seed: int | None = None,
    resume_checkpoint: Place | None = None,
    hydra_overrides: Sequence[str] | None = None,
    custom_environment: Place | None = None,
    checkpoint_interval: int | None = None,
    gpus: int | None = None,
    timeout_minutes: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    output: Place | None = None,
    asset_root: Place | None = None,
    device: Device | None = None,
    job_id: str | None = None,
    again: bool = False,
    progress: bool = True,
) -> Outcome:
    """Train a policy and wait for it; what a keyword says stands above the file.

    Args:
        config: A `*-training-config.json`, as a path or s3:// URI. Without one, `task` is needed; the rest has
            the defaults that a file has.
        task: Isaac Lab's task, e.g. ``Isaac-Cartpole-Direct``, or one of the custom environment.
        library: The reinforcement-learning library; by default rsl_rl.
        num_envs: Environments simulated in parallel: typically 1024 to 8192 on a GPU, 64 to 256 on a CPU.
        max_iterations: Policy updates in all, those before a resume included.
        seed: Seed of the environments and the agent; by default 42.
        resume_checkpoint: Train on from this checkpoint.
        hydra_overrides: Isaac Lab's Hydra overrides, e.g. ``["env.episode_length_s=10"]``.
        custom_environment: A .whl, .zip or .tar.gz with tasks of your own.
        checkpoint_interval: Iterations from one checkpoint to the next; by default 100.
        gpus: GPUs of the machine; by default 1 (a machine without any simulates on its CPU).
        timeout_minutes: The job ends after so long, with what was saved by then; by default 360.
        overrides: Any other keys of the file, e.g. ``{"outputConfig.saveCheckpoints": False}``.
        output: Folder or s3:// prefix that the job's folder appears in; by default the settings', ``outputs``.
        asset_root: Folder that the file's relative paths resolve against; by default the one above the file's own.
            A path that a keyword gives is relative to the working folder.
        device: Where to simulate; by default the settings'. ``auto`` takes the GPU where there is one.
        job_id: Go on with this job instead of starting a new one; a finished one gives its outcome at once.
        again: Run a finished job anew.
        progress: Show on standard error how it goes.

    Returns:
        The outcome: numbers, the folder with checkpoints, tables and pictures, and what it took.

    Raises:
        ConfigError: A key or a value is wrong; nothing was started.
        InputMissingError: A file that is named is not there; nothing was started.
        SimulatorError: The simulator failed; its last lines are in the error's details. What was saved is published.
        FlowsError: Anything else that is told in the same words on the command line.
    """
    keys = _keys(task, library, num_envs, seed, hydra_overrides, custom_environment, timeout_minutes) | {
        "trainingConfig.maxIterations": max_iterations,
        "trainingConfig.resumeCheckpoint": _place(resume_checkpoint),
        "outputConfig.checkpointInterval": checkpoint_interval,
        "computeConfig.gpusPerNode": gpus,
    }
    with _at_work(output):
        request = _request("training", config, keys, overrides, asset_root, device, job_id, again=again)
        return _run(request, progress=progress)


def evaluate(
    config: Place | None = None,
    *,
    checkpoints: Place | Sequence[Place] = (),
    task: str | None = None,
    library: Library | None = None,
    num_envs: int | None = None,
    num_episodes: int | None = None,
    steps_per_episode: int | None = None,
    record_video: bool | None = None,
    seed: int | None = None,
    hydra_overrides: Sequence[str] | None = None,
    custom_environment: Place | None = None,
    timeout_minutes: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    output: Place | None = None,
    asset_root: Place | None = None,
    device: Device | None = None,
    job_id: str | None = None,
    again: bool = False,
    progress: bool = True,
) -> Outcome:
    """Evaluate checkpoints and wait for it: episodes, statistics with confidence intervals, and a video.

    Args:
        config: A `*-evaluation-config.json`, as a path or s3:// URI. Without one, at least `checkpoints`, `task`,
            `num_envs`, `num_episodes` and `steps_per_episode` are needed.
        checkpoints: One checkpoint or several, all evaluated in one simulator process.
        task: The task that they were trained on.
        library: The library that trained them; by default rsl_rl.
        num_envs: Environments simulated in parallel; 1 to 16 are advised with video.
        num_episodes: Rounds: each resets every environment and counts each environment's first episode.
        steps_per_episode: Steps after which a round ends, e.g. 500 for Cartpole, 900 for Ant.
        record_video: Film the evaluation; by default yes.
        seed: Seed of the environments; by default 42.
        hydra_overrides: As for :func:`train`; so are the arguments below.
        custom_environment: A .whl, .zip or .tar.gz with tasks of your own.
        timeout_minutes: The job ends after so long.
        overrides: Any other keys of the file, e.g. ``{"videoConfig.numEnvs": 4}``.
        output: Folder or s3:// prefix that the job's folder appears in.
        asset_root: Folder that the file's relative paths resolve against.
        device: Where to simulate.
        job_id: Go on with this job instead of starting a new one.
        again: Run a finished job anew.
        progress: Show on standard error how it goes.

    Returns:
        The outcome; ``outcome.evaluations`` has one summary a checkpoint, in their order.

    Raises:
        FlowsError: As :func:`train`. A checkpoint that cannot be evaluated is an error in its summary, unless none can.
    """
    chosen = [checkpoints] if isinstance(checkpoints, str | Path) else list(checkpoints)
    keys = _keys(task, library, num_envs, seed, hydra_overrides, custom_environment, timeout_minutes) | {
        "trainingConfig.numEpisodes": num_episodes,
        "trainingConfig.stepsPerEpisode": steps_per_episode,
        "trainingConfig.recordVideo": record_video,
        "trainingConfig.checkpointPaths": [absolute_uri(place) for place in chosen] or None,
    }
    with _at_work(output):
        request = _request("evaluation", config, keys, overrides, asset_root, device, job_id, again=again)
        return _run(request, progress=progress)


def validate(
    config: Place, *, overrides: Mapping[str, Any] | None = None, asset_root: Place | None = None
) -> Job:
    """Check a configuration and everything that it names; takes seconds and no GPU.

    Args:
        config: A `*-training-config.json` or `*-evaluation-config.json`, as a path or s3:// URI.
        overrides: Keys above the file, e.g. ``{"trainingConfig.numEnvs": 64}``.
        asset_root: Folder that relative paths resolve against; by default the one above the file's own.

    Returns:
        The job that it would be; ``job.warnings`` are sentences for people.

    Raises:
        ConfigError: A key or a value is wrong.
        InputMissingError: A file that it names is not there.
    """
    from isaaclab_flows.tasks.request.resolve import resolve

    return resolve(_request(None, config, {}, overrides, asset_root, None, None, again=False))


def sweep(
    config: Place | None = None,
    *,
    checkpoints: Place | Sequence[Place] = (),
    tasks: Sequence[str] = ("Isaac-Cartpole-Direct",),
    library: Library = "rsl_rl",
    seeds: Sequence[int] = (42,),
    num_envs: Sequence[int] = (64,),
    variations: Mapping[str, Sequence[str]] | None = None,
    num_episodes: int = 1,
    steps_per_episode: int = 500,
    rank_by: Metric = "meanReturn",
    name: str = "Sweep",
    output: Place | None = None,
    asset_root: Place | None = None,
    device: Device = "auto",
) -> SweepSummary:
    """Evaluate checkpoints in many settings, rank them and keep the best; only what is new is evaluated.

    Args:
        config: A `*-sweep-config.json`; then only `output`, `asset_root` and `device` count beside it.
        checkpoints: Files, globs, folders, prefixes, or job ids; several are all taken.
        tasks: The tasks to evaluate on.
        library: The library that trained the checkpoints.
        seeds: Seeds of the environments.
        num_envs: Numbers of environments simulated in parallel.
        variations: Hydra overrides by the variation's name, e.g. ``{"long": ["env.episode_length_s=20"]}``.
        num_episodes: Rounds of each evaluation.
        steps_per_episode: Steps after which a round ends.
        rank_by: What the leaderboard ranks by.
        name: Results of sweeps of one name are kept in one table.
        output: Folder or s3:// prefix; the results lie in ``sweeps/<name>/`` below it.
        asset_root: Folder that relative checkpoints resolve against; by default the working folder, or the one above
            the file's own.
        device: Where to simulate.

    Returns:
        The best checkpoint of each task, the counts, and where table and leaderboard are.

    Raises:
        ConfigError: Something is wrong, or finds no checkpoint.
        OutputsMissingError: No evaluation has a result.
    """
    from isaaclab_flows.flows.here import prepare_prefect

    prepare_prefect(verbose=False)
    from isaaclab_flows.flows.evaluation_sweep import evaluation_sweep
    from isaaclab_flows.schemas.forms import Places, SweepVariation

    with _at_work(output):
        return evaluation_sweep(
            config_uri=_place(config),
            name=name,
            checkpoints=tuple(
                str(place) for place in ([checkpoints] if isinstance(checkpoints, str | Path) else checkpoints)
            ),
            tasks=tuple(tasks),
            library=library,
            seeds=tuple(seeds),
            num_envs=tuple(num_envs),
            variations=tuple(
                SweepVariation(name=name, hydra_overrides=tuple(words)) for name, words in (variations or {}).items()
            ),
            num_episodes=num_episodes,
            steps_per_episode=steps_per_episode,
            rank_by=rank_by,
            device=device,
            places=Places(asset_uri=_place(asset_root), output_uri=absolute_uri(settings().outputs)),
        )


def _keys(
    task: str | None,
    library: str | None,
    num_envs: int | None,
    seed: int | None,
    hydra_overrides: Sequence[str] | None,
    custom_environment: Place | None,
    timeout_minutes: int | None,
) -> dict[str, Any]:
    """Return what both kinds of job have, by the file's keys; None is what was not given."""
    archive = _place(custom_environment)
    which = "customEnvironmentS3Uri" if archive is not None and is_s3(archive) else "customEnvironmentPath"
    return {
        "trainingConfig.task": task,
        "trainingConfig.rlLibrary": library,
        "trainingConfig.numEnvs": num_envs,
        "trainingConfig.seed": seed,
        "trainingConfig.hydraOverrides": None if hydra_overrides is None else list(hydra_overrides),
        f"trainingConfig.{which}": archive,
        "computeConfig.timeoutMinutes": timeout_minutes,
    }


def _request(
    kind: Kind | None,
    config: Place | None,
    keys: Mapping[str, Any],
    overrides: Mapping[str, Any] | None,
    asset_root: Place | None,
    device: str | None,
    job_id: str | None,
    *,
    again: bool,
) -> Request:
    """Return the request that a call stands for; without a file, its values are the configuration."""
    given = {key: value for key, value in keys.items() if value is not None} | dict(overrides or {})
    above: dict[str, Any] = reduce(merge, (nested(key, value) for key, value in given.items()), {})
    if asset_root is not None and not is_s3(str(asset_root)) and not Path(asset_root).expanduser().is_dir():
        raise ConfigError(f"'asset_root' is '{asset_root}'", where="asset_root", remedy="Name a folder that exists.")
    whole = None if config is not None else merge(_beneath(kind, above), above)
    return Request(
        job_id=job_id or new_job_id(),
        kind=kind,
        source="python",
        config_uri=_place(config),
        config=whole,
        overrides=above if config is not None else {},
        asset_uri=_place(asset_root) or (None if config is not None else absolute_uri(".")),
        output_uri=absolute_uri(settings().outputs),
        device=device,
        again=again,
    )


def _beneath(kind: Kind | None, above: Mapping[str, Any]) -> dict[str, Any]:
    task = above.get("trainingConfig", {}).get("task", "a task")
    return {
        "name": f"{'Training' if kind == 'training' else 'Evaluation'} of {task}",
        "description": "Started from Python.",
        "trainingConfig": {"mode": "train" if kind == "training" else "evaluate", "rlLibrary": "rsl_rl"},
        "computeConfig": {"numNodes": 1},
    }


def _place(place: Place | None) -> str | None:
    return None if place is None else absolute_uri(place)


@contextlib.contextmanager
def _at_work(output: Place | None) -> Iterator[None]:
    """Let one call at a time work in this process, with its own place for outputs."""
    if not _ONE_AT_A_TIME.acquire(blocking=False):
        raise FlowsError(
            "Another job is at work in this process",
            where="isaaclab_flows",
            remedy="Wait for it, or start this one in a process of its own.",
        )
    try:
        with replaced_settings(outputs=settings().outputs if output is None else str(output)):
            yield
    finally:
        _ONE_AT_A_TIME.release()


def _run(request: Request, *, progress: bool) -> Outcome:
    from isaaclab_flows.flows.here import prepare_prefect, run_here
    from isaaclab_flows.tasks.request.resolve import resolve

    prepare_prefect(verbose=False)
    job = resolve(request)
    if not progress:
        return run_here(request, job)
    from isaaclab_flows.cli.progress import watch

    with watch(job, verbose=False):
        return run_here(request, job)
