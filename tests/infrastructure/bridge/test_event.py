"""What the Lambda makes of VAMS's event."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.delivery import token_of
from bridge.errors import HopelessError
from bridge.event import read_event
from bridge.vams_2_5 import kind_of
from isaaclab_flows.schemas.request import Request
from tests.infrastructure.vams_event import EXECUTION, TOKEN, vams_2_6_event, vams_event

CALLBACK = {"taskToken": TOKEN, "documentUri": "s3://requests/r/x/request.json", "attempt": 1, "receivedAt": 1.5}


def document_of(event: object) -> Request:
    """Read the document as the flows do."""
    return Request.model_validate_json(json.dumps(read_event(event).document | {"callback": CALLBACK}))


def test_the_document_is_a_request_of_the_flows() -> None:
    request = document_of(vams_event())
    outputs = f"s3://asset-bkt/pipelines/isaaclab-training/0a1b2-isaaclab-training/output/{EXECUTION}"
    assert request.job_id == EXECUTION
    assert request.kind == "training"
    assert request.source == "vams"
    assert request.config_uri == "s3://asset-bkt/xAsset/training/cartpole-training-config.json"
    assert request.asset_uri == "s3://asset-bkt/xAsset/"
    assert request.output_uri == f"{outputs}/files/"
    assert request.vams is not None
    assert request.vams.previews == f"{outputs}/previews/"
    assert request.vams.metadata == f"{outputs}/metadata/"
    assert request.auxiliary_uri is not None
    assert request.user == "user@x.com"
    assert request.labels["pipelineId"] == "isaaclab-training"
    assert request.asset_metadata["VAMS"]["assetData"]["assetName"] == "Cart"
    assert request.callback is not None
    assert request.callback.task_token.get_secret_value() == TOKEN


def test_a_body_may_be_a_string() -> None:
    event = vams_event()
    assert read_event({"body": json.dumps(event["body"])}).document == read_event(event).document


def test_neither_the_token_nor_the_caller_s_claims_are_in_the_document_or_its_representation() -> None:
    delivery = read_event(vams_event())
    for text in (json.dumps(delivery.document), repr(delivery), str(delivery)):
        assert TOKEN not in text
        assert "very-private-claim" not in text


def test_registered_parameters_become_defaults() -> None:
    event = vams_event(inputParameters='{"trainingConfig": {"seed": 7}}')
    assert document_of(event).input_parameters == {"trainingConfig": {"seed": 7}}


def test_a_whole_asset_and_a_checkpoint_are_accepted_as_input() -> None:
    whole = document_of(vams_event(inputS3AssetFilePath="s3://asset-bkt/xAsset/"))
    assert whole.config_uri == "s3://asset-bkt/xAsset/"
    checkpoint = document_of(vams_event(kind="evaluation", inputS3AssetFilePath="s3://asset-bkt/xAsset/c/model 1.pt"))
    assert checkpoint.config_uri == "s3://asset-bkt/xAsset/c/model 1.pt"
    assert checkpoint.kind == "evaluation"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"TaskToken": None}, "TaskToken"),
        ({"TaskToken": "x" * 2_049}, "TaskToken"),
        ({"inputS3AssetFilePath": None}, "inputS3AssetFilePath"),
        ({"inputS3AssetFilePath": "/tmp/config.json"}, "inputS3AssetFilePath"),
        ({"inputS3AssetFilePath": 7}, "inputS3AssetFilePath"),
        ({"outputS3AssetFilesPath": "s3://asset-bkt/somewhere/"}, "outputS3AssetFilesPath"),
        ({"outputS3AssetFilesPath": "s3://asset-bkt/output/../x/"}, "outputS3AssetFilesPath"),
        ({"outputS3AssetMetadataPath": None}, "outputS3AssetMetadataPath"),
        ({"inputParameters": "{not json"}, "inputParameters"),
        ({"inputMetadata": "[1]"}, "inputMetadata"),
    ],
)
def test_a_malformed_event_names_the_key_and_what_to_do(changes: dict[str, object], named: str) -> None:
    with pytest.raises(HopelessError, match=named) as caught:
        read_event(vams_event(**changes))
    assert "docs/vams.md" in caught.value.cause
    assert TOKEN not in caught.value.cause


@pytest.mark.parametrize("event", [None, [], {}, {"body": None}, {"body": "no"}, {"body": "[]"}, {"body": 3}])
def test_an_event_without_a_body_is_refused_and_has_no_token(event: object) -> None:
    assert token_of(event) is None
    with pytest.raises(HopelessError, match="body"):
        read_event(event)


VALUES = st.sampled_from([None, 0, 7, [], [1], {}, {"a": None}]) | st.text('aZ/:.{}[] "', max_size=20)


@given(st.dictionaries(st.sampled_from(sorted(vams_event()["body"])), VALUES, max_size=4))
def test_any_event_is_either_a_request_or_refused(changes: dict[str, object]) -> None:
    """Nothing but a HopelessError escapes, and whatever is accepted parses as a Request."""
    try:
        delivery = read_event(vams_event(**changes))
    except HopelessError:
        return
    Request.model_validate_json(json.dumps(delivery.document | {"callback": CALLBACK}))


@pytest.mark.parametrize(
    ("pipeline", "workflow", "output_type", "kind"),
    [
        ("isaaclab-training", "", "", "training"),
        ("prod-isaaclab-evaluation", "", ".pt", "evaluation"),
        ("x", "isaaclab-evaluation", ".pt", "evaluation"),
        ("training-and-evaluation", "", ".json", "evaluation"),
        ("custom", "custom", ".pt", "training"),
        ("custom", "custom", ".json", "evaluation"),
        ("custom", "custom", ".all", None),
    ],
)
def test_the_registration_says_which_kind_of_job(
    pipeline: str, workflow: str, output_type: str, kind: str | None
) -> None:
    assert kind_of(pipeline, workflow, output_type) == kind


OUTPUTS = f"s3://asset-bkt/{{}}pipelines/isaaclab-training/0a1b2-isaaclab-training/output/{EXECUTION}/files/"


def test_a_later_step_is_a_job_of_its_own_whose_input_is_the_first_ones_output() -> None:
    first = document_of(vams_event())
    second = document_of(
        vams_event(
            inputS3AssetFilePath=OUTPUTS.format(""),
            inputOutputS3AssetAuxiliaryFilesPath="s3://aux-bkt/xAsset/c.json/pipelines/isaaclab-evaluation/",
            outputType=".json",
        )
    )
    assert first.job_id == EXECUTION
    assert second.job_id == f"{EXECUTION}-isaaclab-evaluation"
    assert first.execution_id == second.execution_id == EXECUTION
    assert (first.kind, second.kind) == ("training", "evaluation")
    assert first.earlier_outputs_uri is None
    assert second.earlier_outputs_uri == OUTPUTS.format("")
    assert second.config_uri == second.asset_uri == "s3://asset-bkt/xAsset/"
    assert second.labels["pipelineId"] == "isaaclab-evaluation"


@pytest.mark.parametrize("base", ["output/assets/", "a/output/b/", "pipelines/x/y/output/"])
def test_a_base_prefix_with_the_same_folders_changes_nothing(base: str) -> None:
    request = document_of(vams_event(outputS3AssetFilesPath=OUTPUTS.format(base)))
    assert request.job_id == EXECUTION
    assert request.labels["pipelineId"] == "isaaclab-training"


@pytest.mark.parametrize(
    ("file", "location", "asset"),
    [
        ("xAsset/training/c.json", "xAsset/", "s3://asset-bkt/xAsset/"),
        ("xAsset/training/c.json", None, "s3://asset-bkt/xAsset/"),
        ("xAsset/c.json", None, "s3://asset-bkt/xAsset/"),
        ("xAsset/", None, "s3://asset-bkt/xAsset/"),
        ("c.json", None, None),
        ("c.json", "/", None),
    ],
)
def test_an_asset_is_never_a_whole_bucket(file: str, location: str | None, asset: str | None) -> None:
    event = vams_event(inputS3AssetFilePath=f"s3://asset-bkt/{file}", inputAssetLocationKey=location)
    assert document_of(event).asset_uri == asset


def test_an_event_of_2_6_names_its_manifest_and_the_flow_reads_it() -> None:
    delivery = read_event(vams_2_6_event())
    request = document_of(vams_2_6_event())
    folder = f"s3://run-bkt/pipelines/workflowExecutionInputs/{EXECUTION}/pipeline1"
    assert request.job_id == request.execution_id == EXECUTION
    assert request.inputs is not None
    assert request.inputs.manifest_uri == f"{folder}/manifest.json"
    assert request.inputs.configuration_uri == f"{folder}/config.json"
    assert request.inputs.step == 1
    assert request.kind is None
    assert delivery.callback["heartbeatSeconds"] + delivery.callback["endUnawaitedAfterSeconds"] < 60
    for text in (json.dumps(delivery.document), repr(delivery)):
        assert TOKEN not in text
        assert "very-private-claim" not in text


def test_a_later_step_of_2_6_is_a_job_of_its_own_and_a_base_prefix_changes_nothing() -> None:
    request = document_of(vams_2_6_event(step=2, base="base/pipeline9/"))
    assert request.job_id == f"{EXECUTION}-step2"
    assert request.inputs is not None
    assert request.inputs.step == 2


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"workflowExecutionId": None}, "workflowExecutionId"),
        ({"workflowExecutionId": "a/b"}, "workflowExecutionId"),
        ({"inputManifestS3Location": "/tmp/manifest.json"}, "inputManifestS3Location"),
        ({"inputManifestS3Location": ""}, "inputManifestS3Location"),
        ({"inputConfigurationS3Location": 3}, "inputConfigurationS3Location"),
    ],
)
def test_a_malformed_event_of_2_6_names_the_key(changes: dict[str, object], named: str) -> None:
    with pytest.raises(HopelessError, match=named):
        read_event(vams_2_6_event(**changes))
