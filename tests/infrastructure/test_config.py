"""The deployment's configuration: the example is right, and wrong ones fail before synthesis, saying what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infrastructure.app import main
from infrastructure.config import EXAMPLE_FILE, SCHEMA_FILE, check_config, json_schema, load_config
from isaaclab_flows.schemas.errors import ConfigError
from tests.infrastructure.conftest import EXISTING_VPC, OWN_SERVER, example

RESERVATION = {
    "id": "cr-0123456789abcdef0",
    "instanceType": "g6.2xlarge",
    "availabilityZone": "us-east-1a",
    "machines": 1,
}


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
        ({"compute": {"families": ["g3"]}}, r"compute\.families has 'g3'; allowed are g6, g6e, g5, g4dn"),
        ({"compute": {"families": ["p5"], "gpusPerMachine": [8]}}, r"'p5', whose GPUs have no ray tracing.*newton"),
        (
            {"compute": {"families": ["g5"], "gpusPerMachine": [2]}},
            r"gpusPerMachine has 2, but machines of g5 have",
        ),
        ({"compute": {"families": ["g6", "g6"]}}, r"names something twice"),
        ({"operations": {"logRetentionDays": 42}}, r"logRetentionDays is 42: CloudWatch allows"),
        (
            {"network": {"cidr": "10.0.0.0/22", "availabilityZones": [f"us-east-1{z}" for z in "abc"]}},
            r"1,024 .*/21",
        ),
        ({"network": {"cidr": "10.42.0.7/16"}}, r"cidr is '10\.42\.0\.7/16'.*first address"),
        ({"network": {"cidr": "10.342.0.0/16"}}, r"cidr is '10\.342\.0\.0/16'"),
        ({"network": {"availabilityZones": ["us-east-1a"]}}, r"availabilityZones names 1: name two or three"),
        ({"network": {"availabilityZones": ["us-east-1a", "us-east-1a"]}}, r"names 'us-east-1a' twice"),
        ({"region": "us-gov-west-1"}, r"'us-gov-west-1', which is not supported: AWS GovCloud has no Budgets"),
        ({"region": "cn-north-1"}, r"'cn-north-1', which is not supported"),
        ({"region": "us-iso-east-1"}, r"'us-iso-east-1', which is not supported"),
        ({"region": "xx-moon-1"}, r"'xx-moon-1', which has no GPU machines.*us-east-1"),
        (
            {"region": "eu-west-1"},
            r"compute\.families has 'g6', which eu-west-1 does not have; there are g5, g4dn",
        ),
        ({"region": "us-west-2"}, r"prefect\.secretArn is in us-east-1, but the deployment is in us-west-2"),
        ({"account": "999999999999"}, r"prefect\.secretArn belongs to the account 123456789012"),
        ({"prefect": OWN_SERVER | {"databaseMinAcu": 8}}, r"databaseMinAcu is 8\.0, more than databaseMaxAcu"),
        (
            {"prefect": OWN_SERVER | {"certificateArn": OWN_SERVER["certificateArn"].replace("us-east", "us-west")}},
            r"certificateArn is in us-west-1",
        ),
        (
            {"storage": {"auxiliaryBucket": {"name": "abc", "kmsKeyArn": "arn:aws:kms:eu-west-1:123456789012:key/x"}}},
            r"kmsKeyArn of the bucket 'abc' is in eu-west-1",
        ),
        ({"compute": {"reservations": [RESERVATION | {"instanceType": "p9.huge"}]}}, r"'p9\.huge'; allowed are"),
        ({"compute": {"reservations": [RESERVATION | {"instanceType": "g6.48xlarge"}]}}, r"8 GPUs.*add 8"),
        ({"compute": {"reservations": [RESERVATION | {"instanceType": "g6.xlarge"}]}}, r"smaller than the machines"),
        ({"compute": {"reservations": [RESERVATION | {"availabilityZone": "us-east-1f"}]}}, r"zone 'us-east-1f'"),
        ({"compute": {"reservations": [RESERVATION, RESERVATION]}}, r"'1 GPUs' twice"),
        ({"network": {"availabilityZones": ["eu-west-1a", "eu-west-1b"]}}, r"'eu-west-1a', which is not in the region"),
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


def test_a_subnet_is_named_once() -> None:
    existing = EXISTING_VPC["existing"] | {"privateSubnetIds": ["subnet-01234567", "subnet-01234567"]}
    with pytest.raises(ConfigError, match=r"privateSubnetIds names 'subnet-01234567' twice"):
        check_config(example(network={"existing": existing}), source="config.yaml")


@pytest.mark.parametrize(("cidr", "zones"), [("10.0.0.0/22", "ab"), ("10.0.0.0/21", "abc"), ("10.0.0.0/16", "abc")])
def test_a_range_that_is_large_enough_is_taken(cidr: str, zones: str) -> None:
    network = {"cidr": cidr, "availabilityZones": [f"us-east-1{zone}" for zone in zones]}
    assert check_config(example(network=network), source="x").network.cidr == cidr
