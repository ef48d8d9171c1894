"""Turns a request into a job: reads and checks the configuration, finds the checkpoint, prices it. Seconds, no GPU."""

from __future__ import annotations

import json
import time
from pathlib import Path

from isaaclab_flows.schemas.config import (
    EvaluationJobConfig,
    JobConfig,
    Kind,
    TrainingJobConfig,
    asset_root_of,
    check_config,
    merge,
    parse_config,
)
from isaaclab_flows.schemas.errors import ConfigError, InputMissingError
from isaaclab_flows.schemas.instances import price_of
from isaaclab_flows.schemas.job import CheckpointSource, Job, Price
from isaaclab_flows.schemas.placement import place
from isaaclab_flows.schemas.request import Request
from isaaclab_flows.schemas.settings import settings
from isaaclab_flows.schemas.task_names import require_task
from isaaclab_flows.tasks.job.checkpoints import is_checkpoint, iteration_of, library_of, newest_first
from isaaclab_flows.tasks.job.hand_over import staging_uri
from isaaclab_flows.tasks.job.overview import local_jobs
from isaaclab_flows.tasks.request.budget import require_checkable
from isaaclab_flows.tasks.request.provenance import refuse_foreign
from isaaclab_flows.tasks.request.references import referenced
from isaaclab_flows.tasks.storage import storage_at
from isaaclab_flows.tasks.storage.base import Storage, absolute_uri, is_s3, join_uri, split_uri

CONFIG_SUFFIXES: dict[Kind, str] = {"training": "-training-config.json", "evaluation": "-evaluation-config.json"}
MANY_FILMED_ENVS = 16


def resolve(request: Request) -> Job:
    """Return the job that a request asks for.

    Raises:
        ConfigError: The configuration or a combination of it is wrong.
        InputMissingError: The configuration, a checkpoint or an archive cannot be found.
    """
    config, config_uri, chosen = _configuration(request)
    if request.source in ("cli", "ui"):  # VAMS reaches nothing beyond its asset, and sweeps name files
        config = referenced(config, local_jobs)
    asset = request.asset_uri or (asset_root_of(absolute_uri(config_uri)) if config_uri else None)
    task = _task(config)
    warnings: list[str] = []
    if isinstance(config, EvaluationJobConfig):
        checkpoints = _evaluated(config, asset, config_uri, chosen)
        for source in checkpoints:
            refuse_foreign(source, task, config.training_config.rl_library)
        if config.training_config.record_video and config.training_config.num_envs > MANY_FILMED_ENVS:
            warnings.append(
                f"Filming with {config.training_config.num_envs} environments: all of them are simulated, and"
                f" {config.video_config.num_envs} is filmed. 1 to {MANY_FILMED_ENVS} are advised with video."
            )
    else:
        checkpoints = _resumed(config, asset)
    device = _device(request.device)
    if config.compute_config.num_nodes > 1 and settings().execute_deployment is None:
        raise ConfigError(
            f"'computeConfig.numNodes' is {config.compute_config.num_nodes}, but this runs on one machine",
            where=config_uri or "computeConfig.numNodes",
            remedy="Set it to 1, or run on AWS Batch.",
        )
    price = _price(config)
    budget = config.budget_config if config.budget_config.is_limited else settings().budget
    require_checkable(budget, dollars_per_hour=price.dollars_per_hour if price else None, now=time.time())
    return Job(
        job_id=request.job_id,
        kind=config.kind,
        source=request.source,
        config=config,
        task=task,
        library=config.training_config.rl_library,
        checkpoints=checkpoints,
        custom_environment_uri=_existing(config.custom_environment, asset, "customEnvironmentPath"),
        output_uri=request.output_uri,
        staging_uri=staging_uri(request),
        device=device,
        user=request.user,
        labels=request.labels,
        price=price,
        again=request.again,
        warnings=tuple(warnings),
    )


def _price(config: JobConfig) -> Price | None:
    """Return what the machine that the job will get costs; on a deployment's queues it must exist.

    Raises:
        ConfigError: The deployment has no such machine.
    """
    queues = settings().queues
    machine = place(config.compute_config, queues).machine.name if queues else settings().instance_type
    return price_of(machine) if machine else None


def _configuration(request: Request) -> tuple[JobConfig, str | None, str | None]:
    """Return the checked configuration, where it lies, and the checkpoint that the request itself points at."""
    if request.config is not None:
        data = merge(merge(request.input_parameters, request.config), request.overrides)
        return check_config(data, source="the given values", expected=request.kind), request.config_uri, None
    if request.config_uri is None:
        raise ConfigError("The request names no configuration", where="configUri", remedy="Name a *-config.json.")
    uri, chosen = request.config_uri, None
    if is_checkpoint(uri):
        chosen, uri = uri, _only_config(request, "evaluation")
    elif uri.endswith("/") or (not is_s3(uri) and Path(uri).is_dir()):
        uri = _only_config(request, request.kind)
    folder, name = split_uri(uri)
    text = storage_at(folder).read(name)
    config = parse_config(text, source=uri, expected=request.kind, defaults=request.input_parameters)
    if request.overrides:
        data = merge(merge(request.input_parameters, json.loads(text)), request.overrides)
        config = check_config(data, source=uri, expected=request.kind)
    return config, uri, chosen


def _only_config(request: Request, kind: Kind | None) -> str:
    """Find the one configuration of a kind in an asset."""
    uri = request.config_uri or ""
    root = request.asset_uri or (asset_root_of(absolute_uri(uri)) if is_checkpoint(uri) else uri)
    suffixes = (CONFIG_SUFFIXES[kind],) if kind else tuple(CONFIG_SUFFIXES.values())
    storage = storage_at(root)
    found = sorted(f.path for f in storage.files() if f.path.endswith(suffixes))
    if len(found) == 1:
        return join_uri(root, found[0])
    what = f"a *{' or *'.join(suffixes)}"
    if not found:
        raise InputMissingError(f"The asset has no {what[2:]}", where=root, remedy=f"Add {what} to it.")
    raise ConfigError(
        f"The asset has {len(found)} configurations: {', '.join(found[:10])}",
        where=root,
        remedy="Run the workflow on the one that you mean.",
    )


def _task(config: JobConfig) -> str:
    """Return the installed task's name; with a custom environment the name as written.

    Its own names are only known once it is installed, and they come before any translation.
    """
    inner = config.training_config
    if config.custom_environment is not None:
        return inner.task
    return require_task(inner.task, inner.rl_library)


def _evaluated(
    config: EvaluationJobConfig, asset: str | None, config_uri: str | None, chosen: str | None
) -> tuple[CheckpointSource, ...]:
    """Return the checkpoints to evaluate: a chosen one, else the list, else path, else URI, else discovery."""
    inner = config.training_config
    if chosen is not None:
        return (_source(chosen, None, "input"),)
    if inner.checkpoint_paths:
        return tuple(_source(path, asset, "checkpointPaths") for path in inner.checkpoint_paths)
    if inner.checkpoint_path is not None:
        return (_source(inner.checkpoint_path, asset, "checkpointPath"),)
    if inner.policy_s3_uri is not None:
        return (_source(inner.policy_s3_uri, None, "policyS3Uri"),)
    if config_uri is None:
        raise InputMissingError(
            "No checkpoint is named", where="trainingConfig.checkpointPath", remedy="Name the checkpoint to evaluate."
        )
    return (_discovered(config, config_uri, asset),)


def _discovered(config: EvaluationJobConfig, config_uri: str, asset: str | None) -> CheckpointSource:
    """Return the highest-numbered checkpoint of the library beside the config file, else in the asset."""
    wanted = config.training_config.rl_library
    places = dict.fromkeys([split_uri(config_uri)[0], asset or asset_root_of(absolute_uri(config_uri))])
    for root in places:
        sizes = {f.path: f.size for f in storage_at(root).files() if is_checkpoint(f.path)}
        fitting = [p for p in sizes if sizes[p] and library_of(p) in (wanted, None)]
        numbered = [p for p in newest_first(fitting) if iteration_of(p) is not None]
        if numbered:
            return CheckpointSource(uri=join_uri(root, numbered[0]), found_by="discovery", size=sizes[numbered[0]])
    raise InputMissingError(
        f"No checkpoint of {wanted} was found beside the configuration",
        where=", ".join(places),
        remedy="Set trainingConfig.checkpointPath or policyS3Uri, or put the checkpoint beside the file.",
    )


def _resumed(config: TrainingJobConfig, asset: str | None) -> tuple[CheckpointSource, ...]:
    path = config.training_config.resume_checkpoint
    return () if path is None else (_source(path, asset, "resumeCheckpoint"),)


def _source(path: str, asset: str | None, found_by: str) -> CheckpointSource:
    uri = _existing(path, asset, found_by)
    assert uri is not None
    folder, name = split_uri(uri)
    stat = storage_at(folder).stat(name)
    if stat is not None and stat.size == 0:
        raise InputMissingError("The checkpoint is empty (0 bytes)", where=uri, remedy="Upload it again.")
    return CheckpointSource(uri=uri, found_by=found_by, size=stat.size if stat else None)


def _existing(path: str | None, asset: str | None, key: str) -> str | None:
    """Return the URI of a file named in the configuration, after checking that it is there."""
    if path is None:
        return None
    if is_s3(path) or Path(path).is_absolute():
        uri = path
    elif asset is not None:
        if ".." in Path(path).parts:
            raise ConfigError(
                f"'{key}' is '{path}'", where=key, remedy="Allowed: a path within the asset, without '..'."
            )
        uri = join_uri(asset, path)
    else:
        raise ConfigError(
            f"'{key}' is the relative path '{path}', but there is no asset",
            where=key,
            remedy="Give an s3:// URI, or an absolute path.",
        )
    folder, name = split_uri(uri)
    storage = storage_at(folder)
    if storage.stat(name) is None:
        raise InputMissingError(
            f"'{key}' names a file that is not there", where=uri, remedy=_nearby(storage, asset, Path(name).suffix)
        )
    return uri


def _nearby(storage: Storage, asset: str | None, suffix: str) -> str:
    """Say which files of that kind there are, so that a slip of the pen shows."""
    root = storage_at(asset) if asset else storage
    found = sorted(f.path for f in root.files() if f.path.endswith(suffix))
    if not found:
        return f"There is no {suffix or 'file'} in {root.uri}: upload it, or name another."
    return f"There are: {', '.join(newest_first(found)[:5])}{' …' if len(found) > 5 else ''}."


def _device(asked: str | None) -> str:
    """Return `cpu`, `cuda` or `auto`; what auto means is decided on the machine that simulates."""
    wanted = asked or settings().device
    if wanted not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"'device' is '{wanted}'", where="device", remedy="Allowed: 'cpu', 'cuda', 'auto'.")
    return wanted
