"""A finished job of each kind, for tests of what VAMS is told."""

from __future__ import annotations

from typing import Any

from isaaclab_flows.schemas.config import check_config
from isaaclab_flows.schemas.job import CheckpointSource, Job
from isaaclab_flows.schemas.outcome import EvaluationSummary, Interval, Outcome, OutputFile, TrainingSummary

JOB_ID = "exec-1"


def job(kind: str = "training", **changes: Any) -> Job:
    inner: dict[str, Any] = {"task": "Isaac-Cartpole-Direct-v0", "numEnvs": 4, "rlLibrary": "rsl_rl"}
    if kind == "training":
        inner |= {"mode": "train", "maxIterations": 300}
    else:
        inner |= {"mode": "evaluate", "numEpisodes": 2, "stepsPerEpisode": 10, "checkpointPath": "c/model_1.pt"}
    config = check_config(
        {"name": "Cart", "description": "", "computeConfig": {"numNodes": 1}, "trainingConfig": inner}, source="test"
    )
    fields: dict[str, Any] = {
        "job_id": JOB_ID,
        "kind": kind,
        "source": "vams",
        "config": config,
        "task": "Isaac-Cartpole-Direct",
        "library": "rsl_rl",
        "output_uri": "s3://asset-bkt/out/files",
        "staging_uri": f"s3://aux-bkt/a/{JOB_ID}",
        "device": "cpu",
    }
    if kind == "evaluation":
        fields["checkpoints"] = (CheckpointSource(uri="s3://asset-bkt/xAsset/c/model_1.pt", found_by="checkpointPath"),)
    return Job(**(fields | changes))


def outcome(kind: str = "training", paths: tuple[str, ...] = (), **changes: Any) -> Outcome:
    fields: dict[str, Any] = {
        "job_id": JOB_ID,
        "kind": kind,
        "status": "succeeded",
        "task": "Isaac-Cartpole-Direct",
        "library": "rsl_rl",
        "files": tuple(OutputFile(path=path, size=1, sha256="ab") for path in paths),
        "output_uri": f"s3://asset-bkt/out/files/{JOB_ID}",
        "seconds": 12.34,
        "gpu_seconds": 10.0,
        "estimated_cost": 0.004,
        "versions": {"isaaclab": "3.0.0"},
        "seed": 42,
    }
    if kind == "training":
        fields["training"] = TrainingSummary(
            iterations=300,
            total_iterations=300,
            final_reward=4.5,
            best_reward=4.9,
            best_iteration=190,
            success_rate=1.0,
            checkpoints=3,
            last_checkpoint="model_299.pt",
        )
    else:
        fields["evaluations"] = (
            EvaluationSummary(
                checkpoint="/jobs/exec-1/input/model_1.pt",
                episodes=8,
                mean_return=4.25,
                std_return=float("nan"),
                mean_return_ci=Interval(low=4.0, high=4.5),
                success_rate=0.5,
            ),
        )
    return Outcome(**(fields | changes))
