"""Registration with VAMS touches nothing that is not this deployment's, and says what each version wants."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infrastructure import names
from infrastructure.config import Config, check_config
from infrastructure.parts.registration import TEMPLATE_TASKS, bundle, properties_2_5, properties_2_6, template
from isaaclab_flows.schemas.config import check_config as check_job
from isaaclab_flows.schemas.errors import ConfigError
from tests.infrastructure.conftest import LONG_NAME, Deployment, example

FOREIGN = {"isaaclab-training", "isaaclab-evaluation"}


def config(deployment: str = "isaaclab", **vams: Any) -> Config:
    data = example(name=deployment)
    return check_config(data | {"vams": data["vams"] | vams}, source="config.yaml")


def config_2_6(**vams: Any) -> Config:
    return config(version="2.6", trainingParameters={}, evaluationParameters={}, **vams)


@pytest.mark.parametrize("name", ["isaaclab", LONG_NAME])
def test_ids_are_not_those_of_vamss_own_pipeline(name: str) -> None:
    ids = {names.registration(config(name), kind) for kind in ("training", "evaluation")}
    assert not ids & FOREIGN
    assert all(4 <= len(identifier) <= 63 for identifier in ids)


@pytest.mark.parametrize("prefix", ["isaaclab", "IsaacLab"])
def test_the_ids_of_vamss_own_pipeline_are_refused_unless_they_are_asked_for(prefix: str) -> None:
    with pytest.raises(ConfigError, match="replaceVamsIsaacLab"):
        config(idPrefix=prefix)
    assert names.registration(config(idPrefix=prefix, replaceVamsIsaacLab=True), "training") == f"{prefix}-training"


@pytest.mark.parametrize(
    ("version", "name", "function"),
    [
        ("2.5", "vams", "isaaclab-vams-bridge"),
        ("2.5", "assets", "isaaclab-assets-bridge"),
        ("2.6", "vams", "vams-isaaclab-vams-bridge"),
        ("2.6", "assets", "vams-isaaclab-assets-bridge"),
    ],
)
def test_vams_may_call_the_bridge_whatever_it_is_called_itself(version: str, name: str, function: str) -> None:
    made = config(version=version, name=name, trainingParameters={}, evaluationParameters={})
    assert names.bridge(made) == function
    longest = config(LONG_NAME, version="2.6", name="n" * 20)
    assert len(names.bridge(longest)) <= 64


def test_everything_that_2_5_is_told_is_text() -> None:
    assert all(isinstance(value, str) for value in properties_2_5(config(), "training").values())


@pytest.mark.parametrize("kind", ["training", "evaluation"])
def test_everything_that_2_6_is_told_is_json_and_small(kind: str) -> None:
    properties = properties_2_6(config_2_6(), kind)
    read = {key: json.loads(value) for key, value in properties.items()}
    assert read["inlineBundle"] == bundle(config_2_6(), kind)
    assert read["resourceOverrides"] == {"lambdaName": "vams-isaaclab-vams-bridge"}
    assert read["idOverrides"] == dict.fromkeys(("pipelineId", "workflowId"), f"isaaclab-flows-{kind}")
    assert len(properties["inlineBundle"]) < 64 * 1024


@pytest.mark.parametrize("kind", ["training", "evaluation"])
@pytest.mark.parametrize("task", TEMPLATE_TASKS)
def test_every_template_is_a_configuration_that_runs(kind: str, task: str) -> None:
    made = check_job(template(kind, task), source="template", expected=kind)  # type: ignore[arg-type]
    assert made.kind == kind
    bodies = [json.loads(entry["configBody"]) for entry in bundle(config_2_6(), kind)["templates"]]
    assert template(kind, task) in bodies


@pytest.mark.parametrize("wanted", [False, True])
def test_uploads_are_evaluated_only_where_that_is_wanted(wanted: bool) -> None:
    (trigger,) = bundle(config_2_6(evaluateUploads=wanted), "evaluation")["workflow"]["triggers"]
    assert trigger["enabled"] is wanted
    assert bundle(config_2_6(evaluateUploads=wanted), "training")["workflow"]["triggers"] == []


def test_parameters_that_2_6_could_not_lay_beneath_a_file_are_refused() -> None:
    with pytest.raises(ConfigError, match="template"):
        config(version="2.6", trainingParameters={"trainingConfig": {"seed": 1}})


def test_2_5_is_called_by_cloudformation_and_its_delete_never(cloud: Deployment) -> None:
    made = _registered(cloud)
    assert len(made) == 2
    for resource in made:
        assert resource["DeletionPolicy"] == resource["UpdateReplacePolicy"] == "Retain"


def test_2_6_is_called_by_a_provider_which_answers_cloudformation(vams_2_6: Deployment) -> None:
    made = _registered(vams_2_6)
    assert len(made) == 2
    for resource in made:
        assert "Fn::GetAtt" in resource["Properties"]["ServiceToken"]
        assert all(isinstance(value, str) for key, value in resource["Properties"].items() if key != "ServiceToken")


def _registered(deployment: Deployment) -> list[dict[str, Any]]:
    resources = deployment.resources("AWS::CloudFormation::CustomResource").values()
    return [r for r in resources if {"pipelineId", "inlineBundle"} & r["Properties"].keys()]
