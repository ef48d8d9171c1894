"""The manifest of VAMS 2.6 becomes the same request as 2.5's event, by the keys that it gives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from bridge.event import read_event
from isaaclab_flows.schemas.errors import ConfigError, InputMissingError
from isaaclab_flows.schemas.request import Request
from isaaclab_flows.tasks.request.resolve import resolve
from isaaclab_flows.tasks.request.vams import prepare
from isaaclab_flows.tasks.storage import s3 as storage_s3
from tests.system.vams.contract_2_6 import BUS, PEX, Run26

EXECUTION = "0123456789abcdef0123456789abcd00"
FILE = "training/cartpole-training-config.json"
CONFIG = {"trainingConfig": {"task": "Isaac-Cartpole-Direct-v0", "numEnvs": 32, "maxIterations": 3}}
CALLBACK = {"taskToken": "secret", "documentUri": "s3://requests/r/x/request.json"}


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    storage_s3._client_for.cache_clear()
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        for bucket in ("asset-bkt", "run-bkt", "aux-bkt"):
            client.create_bucket(Bucket=bucket)
        client.put_bucket_versioning(Bucket="asset-bkt", VersioningConfiguration={"Status": "Enabled"})
        yield client
    storage_s3._client_for.cache_clear()


def upload(s3: Any, name: str, content: object) -> str:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    version: str = s3.put_object(Bucket="asset-bkt", Key=f"xAsset/{name}", Body=body)["VersionId"]
    return version


def asked(run: Run26, step: int = 1) -> Request:
    delivery = read_event(run.event("secret", step))
    return Request.model_validate_json(json.dumps(delivery.document | {"callback": CALLBACK | delivery.callback}))


def test_everything_is_where_the_manifest_says(s3: Any) -> None:
    upload(s3, FILE, CONFIG)
    run = Run26(s3, EXECUTION, file=FILE, base="a/output/b/")
    request = prepare(asked(run))
    outputs = (
        f"s3://run-bkt/a/output/b/pipelines/isaaclab-flows-training/0a1b2-isaaclab-flows-training/output/{EXECUTION}"
    )
    assert request.kind == "training"
    assert request.config_uri == f"s3://asset-bkt/xAsset/{FILE}"
    assert request.asset_uri == "s3://asset-bkt/xAsset/"
    assert request.output_uri == f"{outputs}/files/"
    assert request.vams is not None
    assert request.vams.results == f"{outputs}/results/"
    assert request.vams.paged
    assert request.auxiliary_uri == f"s3://aux-bkt/pipelines/isaaclab-flows-training/{EXECUTION}/"
    assert request.bus is not None
    assert (request.bus.arn, request.bus.pipeline_execution_id) == (BUS, PEX)
    assert request.labels["assetId"] == "xAsset"
    job = resolve(request)
    assert job.config.training_config.num_envs == 32
    assert job.outputs_uri == f"{outputs}/files/{EXECUTION}"
    assert PEX in job.run_name
    assert EXECUTION in job.run_name
    assert prepare(request) == request


def test_the_version_that_was_chosen_is_read_and_not_the_newest(s3: Any) -> None:
    old = upload(s3, FILE, CONFIG)
    upload(s3, FILE, {"trainingConfig": {**CONFIG["trainingConfig"], "numEnvs": 64}})
    job = resolve(prepare(asked(Run26(s3, EXECUTION, file=FILE, version=old))))
    assert job.config.training_config.num_envs == 32
    first = upload(s3, "c/model_5.pt", b"first")
    upload(s3, "c/model_5.pt", b"longer second")
    typed = {1: {"trainingConfig": {"task": "Isaac-Cartpole-Direct-v0"}}}
    run = Run26(s3, EXECUTION, kinds=("evaluation",), file="c/model_5.pt", version=first, configuration=typed)
    (source,) = resolve(prepare(asked(run))).checkpoints
    assert (source.version_id, source.size) == (first, 5)


def test_what_the_screen_says_outranks_the_file_and_that_is_told_but_blanks_let_it_through(s3: Any) -> None:
    upload(s3, FILE, CONFIG)
    typed = {"trainingConfig": {"numEnvs": 16, "maxIterations": None, "task": ""}}
    job = resolve(prepare(asked(Run26(s3, EXECUTION, file=FILE, configuration={1: typed}))))
    inner = job.config.training_config
    assert (inner.num_envs, inner.task) == (16, "Isaac-Cartpole-Direct-v0")
    assert any("numEnvs is 16 as this run was given it, not the file's 32" in said for said in job.defaults)


def test_settings_of_metadata_lie_beneath_the_file(s3: Any) -> None:
    upload(s3, FILE, CONFIG)
    run = Run26(
        s3,
        EXECUTION,
        file=FILE,
        asset_metadata={"isaaclab.trainingConfig.seed": "1", "isaaclab.trainingConfig.numEnvs": "8"},
        file_metadata={"isaaclab.trainingConfig.seed": "2"},
    )
    inner = resolve(prepare(asked(run))).config.training_config
    assert (inner.seed, inner.num_envs) == (2, 32)


def test_metadata_of_the_first_envelope_are_read_too(s3: Any) -> None:
    upload(s3, FILE, CONFIG)
    request = asked(Run26(s3, EXECUTION, file=FILE))
    key = f"pipelines/workflowExecutionInputs/{EXECUTION}/metadata.json"
    old = {"schemaVersion": 1, "metadata": {"VAMS": {"assetMetadata": {"isaaclab.trainingConfig.seed": "5"}}}}
    s3.put_object(Bucket="run-bkt", Key=key, Body=json.dumps(old).encode())
    assert resolve(prepare(request)).config.training_config.seed == 5


@pytest.mark.parametrize(
    ("extension", "step", "folder"),
    [("/", 1, EXECUTION), ("/", 2, f"{EXECUTION}-step2"), (f"/{EXECUTION}/", 1, ""), (f"/{EXECUTION}/", 2, "step2")],
)
def test_an_extension_that_the_workflow_inserts_does_not_double_ours(
    s3: Any, extension: str, step: int, folder: str
) -> None:
    upload(s3, FILE, CONFIG)
    run = Run26(s3, EXECUTION, kinds=("training",) * 2, file=FILE, extension=extension)
    job = resolve(prepare(asked(run, step)))
    assert job.outputs_folder == folder
    assert job.outputs_uri == f"s3://run-bkt/{run.output('files')}{folder}".rstrip("/")
    assert job.published("summary.json") == f"{folder}/summary.json".lstrip("/")
    assert run.in_asset(job.published("checkpoints/m.pt")).count(EXECUTION) == 1


def test_a_later_step_evaluates_what_the_first_has_made_before_it_is_in_the_asset(s3: Any) -> None:
    upload(s3, FILE, CONFIG)
    upload(s3, "old/model_900.pt", b"old")
    run = Run26(s3, EXECUTION, kinds=("training", "evaluation"), file=FILE)
    made = f"{run.output('files')}{EXECUTION}/"
    s3.put_object(Bucket="run-bkt", Key=f"{made}checkpoints/model_2.pt", Body=b"new")
    s3.put_object(Bucket="run-bkt", Key=f"{made}training-config.json", Body=json.dumps(CONFIG).encode())
    job = resolve(prepare(asked(run, 2)))
    assert job.kind == "evaluation"
    assert [source.uri for source in job.checkpoints] == [f"s3://run-bkt/{made}checkpoints/model_2.pt"]
    assert job.task == "Isaac-Cartpole-Direct"


def test_a_manifest_that_cannot_be_read_fails_the_task_and_names_itself(s3: Any) -> None:
    request = asked(Run26(s3, EXECUTION))
    key = f"pipelines/workflowExecutionInputs/{EXECUTION}/pipeline1/manifest.json"
    for content in (b"[]", b"{", b'{"outputs": {"bucket": 3}}'):
        s3.put_object(Bucket="run-bkt", Key=key, Body=content)
        with pytest.raises(ConfigError, match="manifest"):
            prepare(request)
    s3.delete_object(Bucket="run-bkt", Key=key)
    with pytest.raises(InputMissingError, match="manifest"):
        prepare(request)


@pytest.mark.parametrize("content", [b"[1]", b"not json", b'"text"'])
def test_a_configuration_of_the_screen_that_is_no_object_is_refused(s3: Any, content: bytes) -> None:
    upload(s3, FILE, CONFIG)
    request = asked(Run26(s3, EXECUTION, file=FILE))
    key = f"pipelines/workflowExecutionInputs/{EXECUTION}/pipeline1/config.json"
    s3.put_object(Bucket="run-bkt", Key=key, Body=content)
    with pytest.raises(ConfigError, match="configuration of this run"):
        prepare(request)
