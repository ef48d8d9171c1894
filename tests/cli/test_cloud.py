"""`isaaclab-flows cloud` against moto: what is wrong is said with what to do, and data stays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from isaaclab_flows.cli import cloud, cloud_checks
from isaaclab_flows.schemas.errors import ConfigError

NAME, REGION = "robots", "us-east-1"
TYPES = ("g6.2xlarge", "g5.2xlarge")


def _template(resources: dict[str, Any]) -> str:
    return json.dumps({"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources})


DATA = {
    "Vpc": {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "10.0.0.0/16"}},
    "Subnet": {
        "Type": "AWS::EC2::Subnet",
        "Properties": {"VpcId": {"Ref": "Vpc"}, "CidrBlock": "10.0.1.0/24", "AvailabilityZone": "us-east-1a"},
    },
    "Files": {"Type": "AWS::EFS::FileSystem", "Properties": {}},
}
SERVICE = {"Topic": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "robots-alarms"}}}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[cloud_checks.Client]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        yield cloud.clients(REGION)


@pytest.fixture
def deployed(client: cloud_checks.Client) -> dict[str, str]:
    """A deployment whose subnet has no way out and whose file system has no mount target; ids by logical name."""
    formation = client("cloudformation")
    formation.create_stack(StackName=f"{NAME}-data", TemplateBody=_template(DATA))
    formation.create_stack(StackName=f"{NAME}-service", TemplateBody=_template(SERVICE))
    resources = formation.list_stack_resources(StackName=f"{NAME}-data")["StackResourceSummaries"]
    return {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in resources}


def _environment(subnet: str, **changes: Any) -> dict[str, Any]:
    return {
        "computeEnvironmentName": "Spot-1",
        "status": "VALID",
        "state": "ENABLED",
        "computeResources": {"type": "SPOT", "instanceTypes": list(TYPES), "subnets": [subnet]},
    } | changes


def test_a_deployment_that_is_not_there_is_said_to_be(
    client: cloud_checks.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not cloud.check(client, "nobody")
    assert "wrong  stack nobody-data" in capsys.readouterr().out
    assert not cloud.status(client, "nobody")


def test_a_subnet_without_a_way_out_is_wrong_and_one_with_nat_is_not(
    client: cloud_checks.Client, deployed: dict[str, str]
) -> None:
    found = [_environment(deployed["Subnet"])]
    (finding,) = cloud_checks.routes(client, found)
    assert finding.trouble == "it has no route out"
    assert "NAT" in finding.remedy
    ec2 = client("ec2")
    (table,) = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [deployed["Vpc"]]}])["RouteTables"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=deployed["Vpc"])
    ec2.create_route(RouteTableId=table["RouteTableId"], DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    (finding,) = cloud_checks.routes(client, found)
    assert "internet gateway" in finding.trouble
    nat = ec2.create_nat_gateway(SubnetId=deployed["Subnet"])["NatGateway"]["NatGatewayId"]
    ec2.replace_route(RouteTableId=table["RouteTableId"], DestinationCidrBlock="0.0.0.0/0", NatGatewayId=nat)
    (finding,) = cloud_checks.routes(client, found)
    assert not finding.trouble


def test_zones_without_a_mount_target_are_named(client: cloud_checks.Client, deployed: dict[str, str]) -> None:
    parts, found = cloud_checks.parts_of(client, NAME), [_environment(deployed["Subnet"])]
    (finding,) = cloud_checks.mounts(client, parts, found)
    assert "none is available in use1-az" in finding.trouble
    client("efs").create_mount_target(FileSystemId=deployed["Files"], SubnetId=deployed["Subnet"])
    (finding,) = cloud_checks.mounts(client, parts, found)
    assert not finding.trouble


@pytest.mark.parametrize(("value", "well"), [(0.0, False), (8.0, True)])
def test_a_quota_below_one_machine_is_wrong(client: cloud_checks.Client, value: float, well: bool) -> None:
    class Quotas:
        def get_service_quota(self, **asked: str) -> dict[str, Any]:
            assert asked == {"ServiceCode": "ec2", "QuotaCode": "L-3819A6DF"}
            return {"Quota": {"Value": value}}

    def with_quotas(service: str) -> Any:
        return Quotas() if service == "service-quotas" else client(service)

    (finding,) = cloud_checks.quotas(with_quotas, [_environment("subnet-1")])
    assert finding.what == "quota All G and VT Spot Instance Requests"
    assert bool(finding.trouble) is not well
    assert well or ("0 vCPUs" in finding.trouble and "L-3819A6DF" in finding.remedy)


def test_an_environment_that_batch_refuses_is_wrong_with_its_reason() -> None:
    well, ill = cloud_checks.compute(
        [_environment("s"), _environment("s", status="INVALID", statusReason="no such subnet")]
    )
    assert not well.trouble
    assert "no such subnet" in ill.trouble


def test_services_that_do_not_run_and_secrets_that_are_gone_are_wrong(client: cloud_checks.Client) -> None:
    ecs = client("ecs")
    ecs.create_cluster(clusterName=NAME)
    secret = client("secretsmanager").create_secret(Name="prefect", SecretString="{}")["ARN"]
    ecs.register_task_definition(
        family=f"{NAME}-worker",
        containerDefinitions=[
            {
                "name": "worker",
                "image": "x",
                "memory": 4,
                "secrets": [{"name": "PREFECT_API_KEY", "valueFrom": f"{secret}:api_key::"}],
            }
        ],
    )
    (finding,) = cloud_checks.secrets(client, NAME)
    assert not finding.trouble
    client("secretsmanager").delete_secret(SecretId=secret)
    (finding,) = cloud_checks.secrets(client, NAME)
    assert "deletion" in finding.trouble
    ecs.create_service(
        cluster=NAME, serviceName=f"{NAME}-orchestrator", taskDefinition=f"{NAME}-worker", desiredCount=1
    )
    findings = list(cloud_checks.services(client, NAME))
    assert [finding.what for finding in findings] == [f"service {NAME}-orchestrator", f"service {NAME}-batch-worker"]
    assert all("no task of it runs" in finding.trouble for finding in findings)


@pytest.mark.usefixtures("deployed")
def test_what_may_not_be_read_does_not_hide_the_rest(
    client: cloud_checks.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not cloud.check(client, NAME)
    said = capsys.readouterr().out
    assert f"ok     stack {NAME}-data" in said
    assert "wrong  secrets" in said
    assert "wrong  services" in said


@pytest.mark.usefixtures("deployed")
@pytest.mark.parametrize("keep", [True, False])
def test_destroying_takes_the_service_and_the_data_stack_only_where_that_was_said(
    client: cloud_checks.Client, keep: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match=f"deletes {NAME}-service"):
        cloud.destroy(client, NAME, keep_data=keep, confirmed=False)
    unprotected: list[str] = []

    class Formation:
        """moto's, which has no termination protection."""

        def update_termination_protection(self, *, StackName: str, EnableTerminationProtection: bool) -> None:
            assert EnableTerminationProtection is False
            unprotected.append(StackName)

        def __getattr__(self, name: str) -> Any:
            return getattr(client("cloudformation"), name)

    cloud.destroy(
        lambda service: Formation() if service == "cloudformation" else client(service),
        NAME,
        keep_data=keep,
        confirmed=True,
    )
    assert unprotected == ([] if keep else [f"{NAME}-data"])
    assert f"Deleted {NAME}-service." in capsys.readouterr().out
    formation = client("cloudformation")
    with pytest.raises(ClientError):
        formation.describe_stacks(StackName=f"{NAME}-service")
    if keep:
        assert formation.describe_stacks(StackName=f"{NAME}-data")["Stacks"]
    else:
        with pytest.raises(ClientError):
            formation.describe_stacks(StackName=f"{NAME}-data")


def test_without_a_region_it_says_where_to_give_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(ConfigError, match="No region"):
        cloud.clients(None)
