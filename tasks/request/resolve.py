"""Turns a request into a job: reads and checks the configuration, finds the checkpoint, prices it. Seconds, no GPU."""

from __future__ import annotations

import time
from pathlib import PurePosixPath

from isaaclab_flows.schemas.config import EvaluationJobConfig, JobConfig, TrainingJobConfig, asset_root_of
from isaaclab_flows.schemas.errors import CheckpointError, ConfigError, InputMissingError
from isaaclab_flows.schemas.instances import price_of
from isaaclab_flows.schemas.job import CheckpointSource, Job, Price
from isaaclab_flows.schemas.placement import place
from isaaclab_flows.schemas.request import Request
from isaaclab_flows.schemas.settings import settings
from isaaclab_flows.schemas.task_names import require_task
from isaaclab_flows.tasks.job.checkpoints import TAIL_BYTES, is_exported, newest_first
from isaaclab_flows.tasks.job.hand_over import staging_uri
from isaaclab_flows.tasks.job.overview import local_jobs
from isaaclab_flows.tasks.request.budget import require_checkable
from isaaclab_flows.tasks.request.configuration import Found, find_configuration
from isaaclab_flows.tasks.request.discovery import discover
from isaaclab_flows.tasks.request.provenance import refuse_foreign
from isaaclab_flows.tasks.request.reach import Reach
from isaaclab_flows.tasks.request.references import referenced
from isaaclab_flows.tasks.storage import storage_at
from isaaclab_flows.tasks.storage.base import absolute_uri, join_uri, split_uri

MANY_FILMED_ENVS = 16


def resolve(request: Request) -> Job:
    """Return the job that a request asks for.

    Raises:
        ConfigError: The configuration or a combination of it is wrong.
        CheckpointError: A checkpoint is an exported policy, or known to be of another task or library.
        InputMissingError: The configuration, a checkpoint or an archive cannot be found.
    """
    found = find_configuration(request, Reach.of(request, request.asset_uri))
    config = found.config
    if request.source in ("cli", "ui"):  # VAMS reaches nothing beyond its asset, and sweeps name files
        config = referenced(config, local_jobs)
    of_file = asset_root_of(absolute_uri(found.uri)) if found.uri else None
    # Where VAMS names no asset there is none: it is never derived from a key.
    reach = Reach.of(request, request.asset_uri or (of_file if request.source != "vams" else None))
    reach.require_custom_environment(config.custom_environment)
    reach.require_own_overrides(config.training_config.hydra_overrides)
    task = _task(config)
    warnings: list[str] = []
    told = list(found.told)
    if isinstance(config, EvaluationJobConfig):
        checkpoints, chosen = _evaluated(config, found, reach)
        told += chosen
        for source in checkpoints:
            refuse_foreign(source, task, config.training_config.rl_library, reach)
        if config.training_config.record_video and config.training_config.num_envs > MANY_FILMED_ENVS:
            warnings.append(
                f"Filming with {config.training_config.num_envs} environments: all of them are simulated, and"
                f" {config.video_config.num_envs} is filmed. 1 to {MANY_FILMED_ENVS} are advised with video."
            )
    else:
        checkpoints = _resumed(config, found, reach)
    device = _device(request.device)
    if config.compute_config.num_nodes > 1 and settings().execute_deployment is None:
        raise ConfigError(
            f"'computeConfig.numNodes' is {config.compute_config.num_nodes}, but this runs on one machine",
            where=found.uri or "computeConfig.numNodes",
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
        custom_environment_uri=existing(config.custom_environment, reach, "customEnvironmentPath"),
        output_uri=request.output_uri,
        staging_uri=staging_uri(request),
        device=device,
        user=request.user,
        labels=request.labels,
        bus=request.bus,
        price=price,
        again=request.again,
        warnings=tuple(warnings),
        defaults=tuple(told),
        named_folder=request.outputs_folder,
    )


def _price(config: JobConfig) -> Price | None:
    """Return what the machine that the job will get costs; on a deployment's queues it must exist.

    Raises:
        ConfigError: The deployment has no such machine.
    """
    queues = settings().queues
    machine = place(config.compute_config, queues).machine.name if queues else settings().instance_type
    return price_of(machine) if machine else None


def _task(config: JobConfig) -> str:
    """Return the installed task's name; with a custom environment the name as written.

    Its own names are only known once it is installed, and they come before any translation.
    """
    inner = config.training_config
    if config.custom_environment is not None:
        return inner.task
    return require_task(inner.task, inner.rl_library)


def _evaluated(
    config: EvaluationJobConfig, found: Found, reach: Reach
) -> tuple[tuple[CheckpointSource, ...], list[str]]:
    """Return the checkpoints to evaluate, and what is to be told of the choice.

    A chosen one counts before the list, the path, the URI and discovery.
    """
    inner = config.training_config
    if found.chosen is not None:
        return (_measured(found.chosen),), []
    if inner.checkpoint_paths:
        return tuple(_source(path, reach, "checkpointPaths") for path in inner.checkpoint_paths), []
    if inner.checkpoint_path is not None:
        return (_source(inner.checkpoint_path, reach, "checkpointPath"),), []
    if inner.policy_s3_uri is not None:
        return (_source(inner.policy_s3_uri, reach, "policyS3Uri"),), []
    beside = split_uri(found.uri)[0] if found.uri is not None else None
    places = [place for place in (beside, reach.asset) if place and reach.allows(place)]
    discovered = discover(places, inner.rl_library)
    if discovered is None:
        where = ", ".join(dict.fromkeys(places))
        raise InputMissingError(
            f"No checkpoint of {inner.rl_library} was found beside the configuration or in the asset"
            if places
            else "No checkpoint is named",
            where=where or "trainingConfig.checkpointPath",
            remedy="Set trainingConfig.checkpointPath or policyS3Uri, or put the checkpoint beside the file.",
        )
    return (discovered[0],), [discovered[1]]


def _resumed(config: TrainingJobConfig, found: Found, reach: Reach) -> tuple[CheckpointSource, ...]:
    path = config.training_config.resume_checkpoint
    if path is not None:
        return (_source(path, reach, "resumeCheckpoint"),)
    return () if found.chosen is None else (_measured(found.chosen),)


def _source(path: str, reach: Reach, key: str) -> CheckpointSource:
    uri = existing(path, reach, key)
    assert uri is not None
    return _measured(CheckpointSource(uri=uri, found_by=key))


def _measured(source: CheckpointSource) -> CheckpointSource:
    folder, name = split_uri(source.uri)
    stat = storage_at(folder).stat(name, source.version_id)
    if stat is None:
        raise InputMissingError("There is no such checkpoint", where=source.uri, remedy="Name another.")
    if stat.size == 0:
        raise InputMissingError("The checkpoint is empty (0 bytes)", where=source.uri, remedy="Upload it again.")
    if name.endswith(".onnx") or is_exported(storage_at(folder).tail(name, TAIL_BYTES, source.version_id)):
        raise CheckpointError(
            "The file is an exported policy, which holds the actor alone as a program",
            where=source.uri,
            remedy="Name the checkpoint that it was exported from: checkpoints/….",
        )
    return source.model_copy(update={"size": stat.size})


def existing(path: str | None, reach: Reach, key: str) -> str | None:
    """Return the URI of a file named in the configuration, after checking that it is there and may be read.

    Raises:
        ConfigError: It may not be read, or is relative to nothing.
        InputMissingError: It is not there.
    """
    if path is None:
        return None
    places = reach.places(path, key)
    for root, below in places:
        if below and storage_at(root).stat(below) is not None:
            return join_uri(root, below)
    raise InputMissingError(
        f"'{key}' names a file that is not there",
        where=join_uri(*places[0]),
        remedy=_nearby(reach, places[0][0], PurePosixPath(path).suffix),
    )


def _nearby(reach: Reach, folder: str, suffix: str) -> str:
    """Say which files of that kind there are, so that a slip of the pen shows; only what the asset's own user sees."""
    root = reach.asset or (None if reach.bounded else folder)
    if root is None:
        return "Check the path."
    storage = storage_at(root)
    found = sorted(f.path for f in storage.files() if f.path.endswith(suffix))
    if not found:
        return f"There is no {suffix or 'file'} in {storage.uri}: upload it, or name another."
    return f"There are: {', '.join(newest_first(found)[:5])}{' …' if len(found) > 5 else ''}."


def _device(asked: str | None) -> str:
    """Return `cpu`, `cuda` or `auto`; what auto means is decided on the machine that simulates."""
    wanted = asked or settings().device
    if wanted not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"'device' is '{wanted}'", where="device", remedy="Allowed: 'cpu', 'cuda', 'auto'.")
    return wanted
