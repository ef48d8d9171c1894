"""A VAMS that nobody changed calls this project and ingests what comes back: the real way, end to end."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.system.vams.ingest import Ingested, ingest
from tests.system.vams.world import ASSETS, AUXILIARY, REQUESTS, Order, World, world

pytestmark = [pytest.mark.server, pytest.mark.isaaclab]

TRAINING: dict[str, Any] = {
    "name": "Cartpole",
    "description": "A few iterations",
    "trainingConfig": {
        "mode": "train",
        "task": "Isaac-Cartpole-Direct-v0",
        "numEnvs": 4096,
        "maxIterations": 6,
        "rlLibrary": "rsl_rl",
    },
    "outputConfig": {"checkpointInterval": 2},
    "computeConfig": {"numNodes": 1},
}
EVALUATION: dict[str, Any] = {
    "name": "Cartpole evaluation",
    "description": "A few steps",
    "trainingConfig": {
        "mode": "evaluate",
        "task": "Isaac-Cartpole-Direct-v0",
        "numEnvs": 4,
        "numEpisodes": 2,
        "stepsPerEpisode": 15,
        "rlLibrary": "rsl_rl",
    },
    "videoConfig": {"width": 160, "height": 90},
    "computeConfig": {"numNodes": 1},
}
SWEEP: dict[str, Any] = {
    "name": "Nightly",
    "description": "Every checkpoint of the training",
    "sweepConfig": {
        "tasks": ["Isaac-Cartpole-Direct-v0"],
        "rlLibrary": "rsl_rl",
        "numEpisodes": 2,
        "stepsPerEpisode": 10,
        "numEnvs": [4],
    },
    "computeConfig": {"numNodes": 1},
}
SWEEP_FILE = "evaluation/cartpole-sweep-config.json"
TASK = "Isaac-Cartpole-Direct"
CLAIMS = "very-private-claim"


@pytest.fixture(scope="module")
def vams(moto_server: str, prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(moto_server, prefect_server, tmp_path_factory.mktemp("vams")) as made, made.worker():
        yield made


@pytest.fixture(scope="module")
def training(vams: World) -> Order:
    """A training that VAMS asked for and whose files it has moved into the asset."""
    vams.upload("training/cartpole+1-training-config.json", without_num_envs(TRAINING))
    order = vams.start(
        # As VAMS sends it: the plus of the name has become a space.
        inputS3AssetFilePath=f"s3://{ASSETS}/xAsset/training/cartpole 1-training-config.json",
        inputMetadata=metadata(**{"isaaclab.trainingConfig.numEnvs": "32"}),
    )
    succeeded(order)
    _vams_moves_the_files(vams, order.body)
    return order


def succeeded(order: Order) -> dict[str, Any]:
    """Wait for an execution and return its answer, which came by the first token."""
    ended = order.wait(600)
    assert ended.status == "SUCCEEDED", (ended.error, ended.cause)
    assert len(ended.attempts) == 1
    return ended.output or {}


def without_num_envs(config: dict[str, Any]) -> dict[str, Any]:
    inner = {key: value for key, value in config["trainingConfig"].items() if key != "numEnvs"}
    return {**config, "trainingConfig": inner}


def metadata(**settings: str) -> str:
    return json.dumps({"VAMS": {"assetData": {}, "assetMetadata": settings, "fileMetadata": {}, "fileAttributes": {}}})


def test_a_training_and_then_the_evaluation_of_its_checkpoint_come_back_to_vams(vams: World, training: Order) -> None:
    _check_training(vams, training.body, training.job_id, training.execution.output or {})

    checkpoint = f"{training.job_id}/checkpoints/model_5.pt"
    inner = {**EVALUATION["trainingConfig"], "checkpointPath": checkpoint}
    vams.upload("evaluation/cartpole-evaluation-config.json", {**EVALUATION, "trainingConfig": inner})
    evaluation = vams.start(kind="evaluation")
    succeeded(evaluation)
    _check_evaluation(vams, evaluation.body, evaluation.job_id, checkpoint)
    _check_answers(vams, training, evaluation)


def test_a_sweep_over_its_checkpoints_comes_back_to_vams_and_the_next_one_finds_nothing_new(
    vams: World, training: Order
) -> None:
    vams.upload(SWEEP_FILE, {**SWEEP, "sweepConfig": SWEEP["sweepConfig"] | {"checkpoints": [training.job_id]}})
    checkpoints = {
        name for name in ingest(vams.s3, training.body).files if name.endswith(".pt") and "/checkpoints/" in name
    }
    assert len(checkpoints) >= 3

    first = _start_sweep(vams)
    answer = succeeded(first)
    assert (answer["sweep"]["evaluations"], answer["sweep"]["new"]) == (len(checkpoints), len(checkpoints))
    assert answer["warnings"] == []
    taken = _check_sweep(vams, first, checkpoints)
    (job,) = _simulators(vams, first)
    auxiliary = f"xAsset/{SWEEP_FILE}/pipelines/isaaclab-evaluation/"
    kept = {key.removeprefix(auxiliary) for key in vams.keys(AUXILIARY, auxiliary)}
    assert [key for key in kept if "/parts/" in key] == [f"sweeps/nightly/parts/{job}.parquet"]
    assert {"sweeps/nightly/results.parquet", f"{job}/metrics.csv", f"{job}.job/job.json"} <= kept

    again = _start_sweep(vams)
    answer = succeeded(again)
    assert (answer["sweep"]["evaluations"], answer["sweep"]["new"]) == (len(checkpoints), 0)
    assert _simulators(vams, again) == []
    assert (
        _check_sweep(vams, again, checkpoints).metadata[""].items()
        >= {key: value for key, value in taken.metadata[""].items() if key.startswith(f"sweep_{TASK}_")}.items()
    )
    _check_answers(vams, first, again)


def _start_sweep(vams: World) -> Order:
    return vams.start(
        kind="evaluation",
        inputS3AssetFilePath=f"s3://{ASSETS}/xAsset/{SWEEP_FILE}",
        inputAssetFileKey=f"xAsset/{SWEEP_FILE}",
        inputOutputS3AssetAuxiliaryFilesPath=f"s3://{AUXILIARY}/xAsset/{SWEEP_FILE}/pipelines/isaaclab-evaluation/",
    )


def _simulators(vams: World, order: Order) -> list[str]:
    """Return the jobs for which an execution started a simulator, once for each process."""
    (run,) = vams.runs(order.job_id)
    started = run.start_time.timestamp()
    attempts = (vams.folder / "jobs").glob("*/attempts/*/order.json")
    return [path.parents[2].name for path in attempts if path.stat().st_mtime >= started]


def _check_sweep(vams: World, order: Order, checkpoints: set[str]) -> Ingested:
    taken = ingest(vams.s3, order.body)
    assert taken.lost == []
    own = {name.removeprefix(f"{order.job_id}/") for name in taken.files}
    (best,) = (name for name in own if name.endswith(".pt"))
    plot = f"iterations-{TASK}.png"
    tables = {"leaderboard.md", "leaderboard.csv", "results.csv", "results.parquet"}
    assert own == tables | {plot, best, f"best/{TASK}/why.json"}
    assert taken.asset_preview == "sweep.png"
    assert set(taken.previews) == {f"{order.job_id}/{best}", f"{order.job_id}/leaderboard.csv"}
    prefix = order.body["outputS3AssetFilesPath"]
    rows = list(csv.DictReader(_read(vams, prefix, f"{order.job_id}/leaderboard.csv").decode().splitlines()))
    assert [row["rank"] for row in rows] == [str(n) for n in range(1, len(checkpoints) + 1)]
    assert {row["uri"] for row in rows} == {f"s3://{ASSETS}/xAsset/{name}" for name in checkpoints}
    assert {row["episodes"] for row in rows} == {"8"}
    winner = rows[0]["uri"].removeprefix(f"s3://{ASSETS}/xAsset/")
    assert _read(vams, prefix, f"{order.job_id}/{best}") == _read(vams, f"s3://{ASSETS}/xAsset/", winner)
    asset = taken.metadata[""]
    assert asset["sweep_evaluations"] == str(len(checkpoints))
    assert asset[f"sweep_{TASK}_mean_return"] == rows[0]["score"]
    assert checkpoints <= set(taken.metadata)
    assert taken.metadata[winner][f"sweep_{TASK}_rank"] == "1"
    assert taken.metadata[f"{order.job_id}/{best}"]["iteration"] == rows[0]["iteration"]
    return taken


def _check_answers(vams: World, *orders: Order) -> None:
    """Each execution was kept alive and answered once, and nothing knows its token or its user's claims."""
    for order in orders:
        tokens = order.execution.tokens
        answered = [call.method for call in vams.aws.accepted() if call.token in tokens]
        assert answered == ["SendTaskSuccess"]
        assert any(call.token in tokens for call in vams.aws.accepted("SendTaskHeartbeat"))
    _check_secrets(vams, [token for order in orders for token in order.execution.tokens])


def _check_training(vams: World, body: dict[str, Any], job_id: str, output: dict[str, Any]) -> None:
    assert output["jobId"] == job_id
    assert output["training"]["iterations"] == 6
    taken = ingest(vams.s3, body)
    assert taken.lost == []
    last = f"{job_id}/checkpoints/model_5.pt"
    wanted = {"metrics.csv", "summary.json", "training-config.json", "learning-curve.png"}
    assert {f"{job_id}/{name}" for name in wanted} | {last} <= taken.files
    assert taken.asset_preview == "training.png"
    assert last in taken.previews
    assert taken.metadata[""]["training_iterations"] == "6"
    assert "flow-run" in taken.metadata[""]["training_flow_run_url"]
    assert taken.metadata[last]["iteration"] == "5"
    config = json.loads(_read(vams, body["outputS3AssetFilesPath"], f"{job_id}/training-config.json"))
    assert config["trainingConfig"]["numEnvs"] == 32
    assert f"requests/{job_id}/request.json" in vams.keys(REQUESTS)


def _check_evaluation(vams: World, body: dict[str, Any], job_id: str, checkpoint: str) -> None:
    taken = ingest(vams.s3, body)
    assert taken.lost == []
    videos = [name for name in taken.files if name.endswith(".mp4")]
    assert videos
    assert videos[0] in taken.previews
    assert taken.asset_preview is not None
    assert float(taken.metadata[""]["evaluation_mean_return"]) != 0
    assert "evaluation_mean_return" in taken.metadata[checkpoint]
    assert f"{job_id}/metrics.csv" in taken.files


def _check_secrets(vams: World, tokens: list[str]) -> None:
    known = vams.everything_prefect_knows()
    for token in tokens:
        assert token not in known
        assert all(name.startswith(REQUESTS) and name.endswith("/request.json") for name in vams.objects_with(token))
    assert CLAIMS not in known
    assert vams.objects_with(CLAIMS) == []


def _vams_moves_the_files(vams: World, body: dict[str, Any]) -> None:
    """`files/<rel>` becomes `<asset root><rel>`."""
    bucket, _, prefix = body["outputS3AssetFilesPath"].removeprefix("s3://").partition("/")
    for key in vams.keys(bucket, prefix):
        source = {"Bucket": bucket, "Key": key}
        vams.s3.copy_object(CopySource=source, Bucket=ASSETS, Key=f"xAsset/{key.removeprefix(prefix)}")


def _read(vams: World, prefix: str, name: str) -> bytes:
    bucket, _, key = prefix.removeprefix("s3://").partition("/")
    body: bytes = vams.s3.get_object(Bucket=bucket, Key=key + name)["Body"].read()
    return body
