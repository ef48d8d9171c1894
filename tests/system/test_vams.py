"""A VAMS that nobody changed calls this project and ingests what comes back: the real way, end to end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.system.vams.ingest import ingest
from tests.system.vams.world import ASSETS, REQUESTS, World, world

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
CLAIMS = "very-private-claim"


@pytest.fixture(scope="module")
def vams(moto_server: str, prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(moto_server, prefect_server, tmp_path_factory.mktemp("vams")) as made, made.worker():
        yield made


def without_num_envs(config: dict[str, Any]) -> dict[str, Any]:
    inner = {key: value for key, value in config["trainingConfig"].items() if key != "numEnvs"}
    return {**config, "trainingConfig": inner}


def metadata(**settings: str) -> str:
    return json.dumps({"VAMS": {"assetData": {}, "assetMetadata": settings, "fileMetadata": {}, "fileAttributes": {}}})


def test_a_training_and_then_the_evaluation_of_its_checkpoint_come_back_to_vams(vams: World) -> None:
    vams.upload("training/cartpole+1-training-config.json", without_num_envs(TRAINING))
    training = vams.start(
        # As VAMS sends it: the plus of the name has become a space.
        inputS3AssetFilePath=f"s3://{ASSETS}/xAsset/training/cartpole 1-training-config.json",
        inputMetadata=metadata(**{"isaaclab.trainingConfig.numEnvs": "32"}),
    )
    ended = training.wait(600)
    assert ended.status == "SUCCEEDED", (ended.error, ended.cause)
    _check_training(vams, training.body, training.job_id, ended.output or {})

    _vams_moves_the_files(vams, training.body)
    checkpoint = f"{training.job_id}/checkpoints/model_5.pt"
    inner = {**EVALUATION["trainingConfig"], "checkpointPath": checkpoint}
    vams.upload("evaluation/cartpole-evaluation-config.json", {**EVALUATION, "trainingConfig": inner})
    evaluation = vams.start(kind="evaluation")
    ended = evaluation.wait(600)
    assert ended.status == "SUCCEEDED", (ended.error, ended.cause)
    _check_evaluation(vams, evaluation.body, evaluation.job_id, checkpoint)

    for order in (training, evaluation):
        _check_secrets(vams, order.execution.tokens)
        assert len(order.execution.attempts) == 1
    assert len(vams.aws.accepted()) == 2
    assert vams.aws.accepted("SendTaskHeartbeat")


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
