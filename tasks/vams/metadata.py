"""The metadata that VAMS shows at the asset and at checkpoint files: what to say, in VAMS's format and limits."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

from isaaclab_flows.schemas.config import CamelModel
from isaaclab_flows.schemas.errors import InputMissingError
from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.outcome import EvaluationSummary, Interval, Outcome, OutputFile
from isaaclab_flows.schemas.request import VamsLocations
from isaaclab_flows.tasks.job.checkpoints import is_checkpoint, iteration_of
from isaaclab_flows.tasks.storage import storage_at
from isaaclab_flows.tasks.storage.base import Storage, copy_all, join_uri

MOST_ITEMS = 500
MOST_KEY = 256
ASSET_DOCUMENT = "asset.metadata.json"
MOST_FILES = 990
"""Documents for files; with the asset's own they stay within the keys that VAMS lists."""
_MOST_TEXT = 4_000
Type = Literal["string", "multiline_string", "number", "boolean", "json"]
Value = str | float | int | bool | None | Mapping[str, object]


class MetadataItem(CamelModel):
    """One metadata entry, as VAMS reads it."""

    metadata_key: str
    metadata_value: str
    metadata_value_type: Type


def write_metadata(
    job: Job, outcome: Outcome, locations: VamsLocations, *, asset_uri: str | None = None, flow_run_url: str = ""
) -> int:
    """Describe the asset and the checkpoint files for VAMS.

    Args:
        job: The job.
        outcome: How it ended; its files are those that VAMS is given.
        locations: Where VAMS takes results from.
        asset_uri: The asset's root: an evaluated checkpoint below it is described too.
        flow_run_url: The flow run's page.

    Returns:
        How many objects were written.

    Raises:
        StorageError: One could not be written.
    """
    rewards = _rewards(job) if job.kind == "training" else {}
    files = {
        job.published(file.path): checkpoint_values(job, outcome, file, rewards)
        for file in _checkpoints(outcome.files)[-MOST_FILES:]
    }
    if asset_uri:
        files |= evaluated_values(job, outcome, asset_uri)
    return write_documents(locations, asset_values(job, outcome, flow_run_url=flow_run_url), files)


def write_documents(
    locations: VamsLocations, asset: Mapping[str, Value], files: Mapping[str, Mapping[str, Value]]
) -> int:
    """Write what is said of the asset and of its files, by their paths; the first ones, where there are too many.

    Returns:
        How many objects were written; where nothing can be said, none is.

    Raises:
        StorageError: One could not be written.
    """
    target = storage_at(locations.metadata)
    said = {"asset": asset, **files}
    documents = {f"{name}.metadata.json": text for name, values in said.items() if (text := document(values))}
    if ASSET_DOCUMENT in documents:
        documents[ASSET_DOCUMENT] = _with_earlier(documents[ASSET_DOCUMENT], target)
    written = list(documents.items())[: MOST_FILES + 1]
    copy_all([(partial(target.write, name, text.encode()), name) for name, text in written])
    return len(written)


def _with_earlier(text: str, target: Storage) -> str:
    """Return the asset's document with what an earlier step of the same execution says: all steps share the object."""
    try:
        earlier = json.loads(target.read(ASSET_DOCUMENT))["metadata"]
    except (InputMissingError, ValueError, KeyError, TypeError):
        return text
    document = json.loads(text)
    said = {item["metadataKey"] for item in document["metadata"]}
    document["metadata"] += [item for item in earlier if item.get("metadataKey") not in said]
    document["metadata"] = document["metadata"][:MOST_ITEMS]
    return json.dumps(document)


def document(values: Mapping[str, Value]) -> str | None:
    """Return VAMS's metadata document for some values, or None where nothing can be said.

    Values that are None or not finite are left out; a mapping becomes JSON.
    """
    items = [item for key, value in values.items() if (item := _item(key, value)) is not None][:MOST_ITEMS]
    if not items:
        return None
    return json.dumps(
        {"type": "metadata", "updateType": "update", "metadata": [item.model_dump(mode="json") for item in items]}
    )


def asset_values(job: Job, outcome: Outcome, *, flow_run_url: str = "") -> dict[str, Value]:
    """Return what is said of the asset; keys begin with the kind, so that an evaluation keeps a training's words."""
    values: dict[str, Value] = {
        "job_id": job.job_id,
        "name": job.config.name,
        "task": outcome.task,
        "rl_library": outcome.library,
        "seed": outcome.seed,
        "device": outcome.device,
        "wall_seconds": round(outcome.seconds, 1),
        "gpu_seconds": round(outcome.gpu_seconds, 1),
        "estimated_cost_usd": outcome.estimated_cost,
        "attempts": outcome.attempts,
        "versions": outcome.versions or None,
        "outputs": job.published(""),
        "flow_run_url": flow_run_url or None,
    }
    if (training := outcome.training) is not None:
        values |= {
            "iterations": training.iterations,
            "final_reward": training.final_reward,
            "best_reward": training.best_reward,
            "best_iteration": training.best_iteration,
            "success_rate": training.success_rate,
            "steps_per_second": training.steps_per_second,
            "checkpoints": training.checkpoints,
            "last_checkpoint": training.last_checkpoint,
            "recoveries": training.recoveries,
        }
    done = [item for item in outcome.evaluations if item.error is None]
    if done:
        best = max(done, key=lambda item: item.mean_return if item.mean_return is not None else -math.inf)
        values |= {"checkpoint": _name(best.checkpoint), "checkpoints_evaluated": len(done), **evaluation_values(best)}
    return {f"{job.kind}_{key}": value for key, value in values.items()}


def evaluation_values(evaluation: EvaluationSummary) -> dict[str, Value]:
    """Return what one checkpoint's evaluation measured."""
    return {
        "episodes": evaluation.episodes,
        "mean_return": evaluation.mean_return,
        "std_return": evaluation.std_return,
        **_interval("mean_return", evaluation.mean_return_ci),
        "worst_tenth_return": evaluation.worst_tenth_return,
        "success_rate": evaluation.success_rate,
        **_interval("success_rate", evaluation.success_rate_ci),
        "mean_length": evaluation.mean_length,
        "checkpoint_sha256": evaluation.checkpoint_sha256 or None,
    }


def checkpoint_values(job: Job, outcome: Outcome, file: OutputFile, rewards: Mapping[int, float]) -> dict[str, Value]:
    """Return what is said of one produced checkpoint."""
    iteration = iteration_of(file.path)
    training = outcome.training
    return {
        "job_id": job.job_id,
        "task": outcome.task,
        "rl_library": outcome.library,
        "iteration": iteration,
        "mean_reward": _nearest(rewards, iteration),
        "is_last": training is not None and _name(training.last_checkpoint or "") == _name(file.path),
        "sha256": file.sha256 or None,
        "seed": outcome.seed,
        "versions": outcome.versions or None,
    }


def evaluated_values(job: Job, outcome: Outcome, asset_uri: str) -> dict[str, dict[str, Value]]:
    """Return what is said of the evaluated checkpoints that are files of the asset, by their paths in it."""
    root = join_uri(asset_uri) + "/"
    found: dict[str, dict[str, Value]] = {}
    for source, evaluation in zip(job.checkpoints, outcome.evaluations, strict=False):
        if source.uri.startswith(root) and evaluation.error is None:
            values = {"job_id": job.job_id, **evaluation_values(evaluation)}
            found[source.uri.removeprefix(root)] = {f"evaluation_{key}": value for key, value in values.items()}
    return found


def _checkpoints(files: Sequence[OutputFile]) -> list[OutputFile]:
    found = [f for f in files if f.path.startswith("checkpoints/") and is_checkpoint(f.path)]
    return sorted(found, key=lambda f: iteration_of(f.path) or -1)


def _rewards(job: Job) -> dict[int, float]:
    """Read the mean reward of each iteration out of metrics.csv."""
    try:
        text = storage_at(job.staging_uri).read("metrics.csv").decode()
    except InputMissingError:
        return {}
    rows = csv.DictReader(io.StringIO(text))
    return {int(row["iteration"]): float(row["mean_reward"]) for row in rows if row.get("mean_reward")}


def _nearest(rewards: Mapping[int, float], iteration: int | None) -> float | None:
    """The reward reported at an iteration or last before it."""
    before = [known for known in rewards if iteration is not None and known <= iteration]
    return rewards[max(before)] if before else None


def _item(key: str, value: Value) -> MetadataItem | None:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    kind: Type
    if isinstance(value, bool):
        text, kind = str(value).lower(), "boolean"
    elif isinstance(value, int | float):
        text, kind = repr(value), "number"
    elif isinstance(value, str):
        text, kind = value[:_MOST_TEXT], "multiline_string" if "\n" in value else "string"
    else:
        text, kind = json.dumps(dict(value)), "json"
    return MetadataItem(metadata_key=key[:MOST_KEY], metadata_value=text, metadata_value_type=kind) if text else None


def _interval(name: str, interval: Interval | None) -> dict[str, Value]:
    if interval is None:
        return {}
    return {f"{name}_ci_low": interval.low, f"{name}_ci_high": interval.high, f"{name}_ci_level": interval.level}


def _name(path: str) -> str:
    return path.rpartition("/")[2]
