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

from infrastructure.config import EXAMPLE_FILE, Config, check_config

Template = dict[str, Any]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever needs templates needs jsii: half a minute before the first test."""
    for item in items:
        if "deployments" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.infrastructure)


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


VARIANTS: dict[str, dict[str, Any]] = {
    "cloud": {},
    "own": {
        "name": LONG_NAME,
        "region": "ap-southeast-1",
        "keepWarmInstance": True,
        "storage": {},
        "prefect": {
            "mode": "selfHosted",
            "hostName": "prefect.example.com",
            "certificateArn": f"arn:aws:acm:ap-southeast-1:123456789012:certificate/{uuid.UUID(int=0)}",
        },
    },
    "small": {
        "name": "abc",
        "acceptNvidiaEula": False,
        "autoRegisterWithVAMS": False,
        "network": {
            "existing": {
                "vpcId": "vpc-0123456789abcdef0",
                "cidr": "10.0.0.0/16",
                "availabilityZones": ["us-east-1a", "us-east-1b"],
                "privateSubnetIds": ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"],
                "isolatedSubnetIds": ["subnet-0123456789abcdef2", "subnet-0123456789abcdef3"],
            }
        },
        "compute": {"images": ["newton"], "gpusPerMachine": [1], "spot": False, "multiNode": False, "families": ["g5"]},
        "operations": {"alarmEmail": None},
    },
}


@pytest.fixture(scope="session")
def deployments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Deployment]:
    """Every variant, synthesised with cdk-nag looking on: a finding without a reason fails here."""
    from infrastructure.app import build

    made = {}
    for variant, changes in VARIANTS.items():
        config = check_config(example(**changes), source="config.yaml")
        folder = tmp_path_factory.mktemp(variant)
        build(config, folder).synth()
        data, service = (
            json.loads((folder / f"{config.name}-{part}.template.json").read_text()) for part in ("data", "service")
        )
        made[variant] = Deployment(config, folder, data, service)
    return made


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
