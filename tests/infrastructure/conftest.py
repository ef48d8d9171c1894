"""Synthesises each kind of deployment once a session; everything else reads the templates."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from infrastructure.config import EXAMPLE_FILE, Config, check_config, load_config

Template = dict[str, Any]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever needs templates needs jsii: half a minute before the first test."""
    for item in items:
        if {"deployments", "matrix"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.infrastructure)


EXAMPLES = sorted((EXAMPLE_FILE.parent / "examples").glob("*.yaml"))
LONG_NAME = "a-name-as-long-as-can-be"


@dataclass(frozen=True)
class Deployment:
    """A synthesised deployment."""

    config: Config
    folder: Path
    data: Template
    service: Template

    def resources(self, kind: str) -> dict[str, Template]:
        """Return the resources of one CloudFormation type in both stacks, by logical id."""
        return {
            name: resource
            for template in (self.data, self.service)
            for name, resource in template["Resources"].items()
            if resource["Type"] == kind
        }

    def all_resources(self) -> Iterator[tuple[str, Template]]:
        """Yield every resource of both stacks."""
        for template in (self.data, self.service):
            yield from template["Resources"].items()


def example(**changes: Any) -> dict[str, Any]:
    """Return the example configuration's data with top-level changes."""
    return yaml.safe_load(EXAMPLE_FILE.read_text()) | changes


OWN_SERVER = {
    "mode": "selfHosted",
    "hostName": "prefect.example.com",
    "certificateArn": f"arn:aws:acm:us-east-1:123456789012:certificate/{uuid.UUID(int=0)}",
}
EXISTING_VPC = {
    "existing": {
        "vpcId": "vpc-0123456789abcdef0",
        "cidr": "10.0.0.0/16",
        "availabilityZones": ["us-east-1a", "us-east-1b"],
        "privateSubnetIds": ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"],
        "isolatedSubnetIds": ["subnet-0123456789abcdef2", "subnet-0123456789abcdef3"],
    }
}
VARIANTS: dict[str, dict[str, Any]] = {
    "cloud": {},
    "own": {
        "name": LONG_NAME,
        "region": "ap-southeast-2",
        "keepWarmInstance": True,
        "storage": {},
        "compute": {"families": ["g6", "g5"]},
        "prefect": OWN_SERVER | {"certificateArn": OWN_SERVER["certificateArn"].replace("us-east-1", "ap-southeast-2")},
    },
    "vams-2-6": {
        "name": "abc26",
        "storage": {"sharedPrefixes": ["s3://policies-example/released/"]},
        "vams": {"version": "2.6", "importFunctionName": "vams-import-example"},
    },
    "small": {
        "name": "abc",
        "acceptNvidiaEula": False,
        "autoRegisterWithVAMS": False,
        "network": EXISTING_VPC,
        "compute": {"images": ["newton"], "gpusPerMachine": [1], "spot": False, "multiNode": False, "families": ["g5"]},
        "operations": {"alarmEmail": None},
    },
}
# One setting at a time is changed from the example: what an update of a deployment does.
CHANGES: dict[str, dict[str, Any]] = {
    "own server": {"prefect": OWN_SERVER},
    "no VAMS": {"autoRegisterWithVAMS": False, "vams": {}},
    "new buckets": {"storage": {}},
    "other lifetimes": {"storage": {"auxiliaryDays": 7, "infrequentAccessDays": 90, "backup": False}},
    "warm": {"keepWarmInstance": True},
    "no Spot": {"compute": {"spot": False}},
    "no nodes": {"compute": {"multiNode": False}},
    "other machines": {
        "compute": {"families": ["g5", "g6e"], "gpusPerMachine": [8], "maxMachines": 3, "volumeGib": 200}
    },
    "newton": {"acceptNvidiaEula": False, "compute": {"images": ["newton"]}},
    "big machines": {
        "compute": {
            "images": ["newton"],
            "families": ["p5"],
            "gpusPerMachine": [8],
            "machineImage": "ami-0123456789abcdef0",
            "sessionManager": True,
            "reservations": [
                {
                    "id": "cr-0123456789abcdef0",
                    "instanceType": "p5.48xlarge",
                    "availabilityZone": "us-east-1b",
                    "machines": 2,
                    "capacityBlock": True,
                }
            ],
        }
    },
    "no endpoints": {"network": {"interfaceEndpoints": False, "natGateways": 2}},
    "quiet": {
        "operations": {"logRetentionDays": 7, "alarmEmail": None, "monthlyBudgetDollars": 5, "concurrentRuns": 60}
    },
    "key of one's own": {
        "prefect": {"secretKmsKeyArn": f"arn:aws:kms:us-east-1:123456789012:key/{uuid.UUID(int=1)}"},
    },
}
# Cannot be changed afterwards (docs/deploy.md), but must come up.
APART: dict[str, dict[str, Any]] = {
    "three zones": {
        "network": {"cidr": "10.0.0.0/21", "availabilityZones": ["us-east-1a", "us-east-1b", "us-east-1c"]}
    },
    "least range": {"network": {"cidr": "10.0.0.0/22"}},
    "own server in an existing VPC": {"network": EXISTING_VPC, "prefect": OWN_SERVER, "keepWarmInstance": True},
    "elsewhere": {"region": "eu-central-1", "prefect": "eu-central-1", "storage": {}},
}


def configuration(changes: dict[str, Any]) -> Config:
    """Return the example with changes; a Prefect section that is partial is laid over the example's."""
    data = example(**changes)
    prefect = changes.get("prefect")
    if isinstance(prefect, str):
        cloud = example()["prefect"]
        data["prefect"] = cloud | {"secretArn": cloud["secretArn"].replace("us-east-1", prefect)}
    elif prefect and "mode" not in prefect:
        data["prefect"] = example()["prefect"] | prefect
    return check_config(data, source="config.yaml")


def synthesise(config: Config, folder: Path, *, checked: bool = True) -> Deployment:
    """Synthesise one deployment."""
    from infrastructure.app import build

    build(config, folder, checked=checked).synth()
    data, service = (
        json.loads((folder / f"{config.name}-{part}.template.json").read_text()) for part in ("data", "service")
    )
    return Deployment(config, folder, data, service)


@pytest.fixture(scope="session")
def deployments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Deployment]:
    """Every variant, synthesised with cdk-nag looking on: a finding without a reason fails here."""
    return {
        variant: synthesise(configuration(changes), tmp_path_factory.mktemp(variant))
        for variant, changes in VARIANTS.items()
    }


@pytest.fixture(scope="session")
def matrix(deployments: dict[str, Deployment], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Deployment]:
    """Every kind of deployment there is: jsii runs already, and each takes a second."""
    return (
        deployments
        | {
            name: synthesise(configuration(changes), tmp_path_factory.mktemp("matrix"))
            for name, changes in {**CHANGES, **APART}.items()
        }
        | {file.stem: synthesise(load_config(file), tmp_path_factory.mktemp(file.stem)) for file in EXAMPLES}
    )


@pytest.fixture(params=list(VARIANTS))
def deployment(request: pytest.FixtureRequest, deployments: dict[str, Deployment]) -> Deployment:
    """Each variant in turn."""
    return deployments[request.param]


@pytest.fixture
def cloud(deployments: dict[str, Deployment]) -> Deployment:
    """The example: Prefect Cloud, VAMS, a new VPC."""
    return deployments["cloud"]


@pytest.fixture
def own(deployments: dict[str, Deployment]) -> Deployment:
    """A Prefect server of our own, new buckets, the longest name, a warm machine."""
    return deployments["own"]


@pytest.fixture
def small(deployments: dict[str, Deployment]) -> Deployment:
    """An existing VPC, no VAMS, no Spot, one family."""
    return deployments["small"]


@pytest.fixture
def vams_2_6(deployments: dict[str, Deployment]) -> Deployment:
    """Registered with VAMS 2.6."""
    return deployments["vams-2-6"]
