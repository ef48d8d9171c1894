"""The deployment's configuration: the example is right, and wrong ones fail before synthesis, saying what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infrastructure.app import main
from infrastructure.config import EXAMPLE_FILE, SCHEMA_FILE, check_config, json_schema, load_config
from isaaclab_flows.schemas.errors import ConfigError
from tests.infrastructure.conftest import example


def test_the_example_is_valid_and_has_the_settings_of_the_seed() -> None:
    config = load_config(EXAMPLE_FILE)
    assert config.enabled
    assert config.accept_nvidia_eula
    assert config.auto_register_with_vams
    assert not config.keep_warm_instance


def test_the_committed_json_schema_is_current() -> None:
    assert SCHEMA_FILE.read_text() == json_schema(), "run `python -m infrastructure.config`"


def test_the_example_names_every_top_level_setting() -> None:
    assert set(json.loads(json_schema())["properties"]) == set(example())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"regoin": "x"}, r"'regoin' is unknown.*Did you mean 'region'"),
        ({"name": "Robots"}, r"'name' is 'Robots'.*must match"),
        ({"name": "a-name-that-is-longer-than-24"}, r"'name' is"),
        ({"account": 123456789012}, r"'account' is 123456789012.*string"),
        ({"acceptNvidiaEula": False}, r"acceptNvidiaEula is false.*isaac-sim.*\['newton'\]"),
        ({"keepWarmInstance": "yes"}, r"'keepWarmInstance' is 'yes'.*boolean"),
        ({"keepWarmInstance": True, "compute": {"gpusPerMachine": [4]}}, r"keepWarmInstance is true.*gpusPerMachine"),
        ({"vams": {}}, r"autoRegisterWithVAMS is true.*vams\.importFunctionName is missing.*ImportGlobal"),
        ({"vams": {"trainingTimeoutSeconds": 700_000}}, r"trainingTimeoutSeconds' is 700000.*at most 604800"),
        (
            {"vams": {"evaluationTimeoutSeconds": 600, "heartbeatTimeoutSeconds": 600}},
            r"heartbeatTimeoutSeconds is 600, not less than",
        ),
        ({"compute": {"families": ["g4dn"]}}, r"'compute\.families\.0' is 'g4dn'.*'g6', 'g6e' or 'g5'"),
        ({"compute": {"families": ["g6", "g6"]}}, r"names something twice"),
        ({"operations": {"logRetentionDays": 42}}, r"logRetentionDays is 42: CloudWatch allows"),
        ({"network": {"availabilityZones": ["eu-west-1a"]}}, r"'eu-west-1a', which is not in the region"),
        ({"network": {"natGateways": 3}}, r"natGateways is 3 for 2 zones"),
        ({"prefect": {"mode": "selfHosted"}}, r"hostName' is missing.*certificateArn' is missing"),
    ],
)
def test_a_wrong_setting_fails_with_key_value_and_remedy(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_config(example(**changes), source="config.yaml")


def test_subnets_and_zones_must_pair_up() -> None:
    existing = {
        "vpcId": "vpc-01234567",
        "cidr": "10.0.0.0/16",
        "availabilityZones": ["us-east-1a", "us-east-1b"],
        "privateSubnetIds": ["subnet-01234567", "subnet-01234568", "subnet-01234569"],
        "isolatedSubnetIds": ["subnet-01234567", "subnet-01234568"],
    }
    with pytest.raises(ConfigError, match=r"privateSubnetIds has 3 subnets for 2 zones"):
        check_config(example(network={"existing": existing}), source="config.yaml")


def test_synthesis_does_not_start_on_a_wrong_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.yaml"
    assert main([str(file)]) == 2
    file.write_text("name: [")
    assert main([str(file)]) == 2
    file.write_text("- a list")
    assert main([str(file)]) == 2
    said = capsys.readouterr().err
    assert "configuration is missing" in said
    assert "Not valid YAML" in said
    assert "no mapping" in said


@pytest.mark.parametrize(
    ("region", "partition"), [("us-east-1", "aws"), ("us-gov-west-1", "aws-us-gov"), ("cn-north-1", "aws-cn")]
)
def test_the_partition_follows_from_the_region(region: str, partition: str) -> None:
    assert check_config(example(region=region), source="x").partition == partition
