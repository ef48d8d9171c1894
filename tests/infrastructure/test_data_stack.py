"""Network and storage: who may speak to whom, what is encrypted, what stays."""

from __future__ import annotations

import json

from isaaclab_flows.schemas.nodes import RENDEZVOUS_PORT
from tests.infrastructure.conftest import Deployment
from tests.infrastructure.templates import Resolver


def _ingress(deployment: Deployment) -> list[tuple[str, str, int, int]]:
    """Return every inbound rule as group, source, first and last port."""
    resolve = Resolver(deployment)
    rules = []
    for name, group in deployment.resources("AWS::EC2::SecurityGroup").items():
        rules += [(f"<{name}.GroupId>", rule) for rule in group["Properties"].get("SecurityGroupIngress", [])]
    for rule in deployment.resources("AWS::EC2::SecurityGroupIngress").values():
        rules.append((resolve(rule["Properties"]["GroupId"]), rule["Properties"]))
    return [
        (group, resolve(rule.get("SourceSecurityGroupId") or rule["CidrIp"]), rule["FromPort"], rule["ToPort"])
        for group, rule in rules
    ]


def _short(group: str) -> str:
    return group.removeprefix("<Network")[: -len("12345678.GroupId>")]


def test_nothing_comes_in_but_files_endpoints_and_the_nodes_of_one_job(cloud: Deployment) -> None:
    rules = {(_short(group), _short(source), first, last) for group, source, first, last in _ingress(cloud)}
    users = ("Jobs", "Nodes", "Services")
    assert rules == {
        *(("FileSystem", user, 2049, 2049) for user in users),
        *(("Endpoints", user, 443, 443) for user in users),
        ("Nodes", "Nodes", RENDEZVOUS_PORT, RENDEZVOUS_PORT),
        ("Nodes", "Nodes", 32_768, 60_999),
    }


def test_no_rule_lets_the_world_in(deployment: Deployment) -> None:
    assert not [rule for rule in _ingress(deployment) if "/" in rule[1]]


def test_our_own_server_is_reached_through_its_load_balancer_only(own: Deployment) -> None:
    rules = {(_short(group), _short(source), first) for group, source, first, _ in _ingress(own)}
    assert {rule for rule in rules if rule[0] in ("LoadBalancer", "Server", "Database")} == {
        *(("LoadBalancer", user, 443) for user in ("Jobs", "Nodes", "Services")),
        ("Server", "LoadBalancer", 4200),
        ("Database", "Server", 5432),
    }


def test_a_new_vpc_has_nat_isolated_subnets_flow_logs_and_endpoints(cloud: Deployment) -> None:
    assert len(cloud.resources("AWS::EC2::NatGateway")) == cloud.config.network.nat_gateways
    assert len(cloud.resources("AWS::EC2::FlowLog")) == 1
    resolve = Resolver(cloud)
    services = {
        resolve(endpoint["Properties"]["ServiceName"]).rpartition("us-east-1.")[2]
        for endpoint in cloud.resources("AWS::EC2::VPCEndpoint").values()
    }
    assert services == {"s3", "ecr.api", "ecr.dkr", "logs", "batch", "secretsmanager", "states"}
    routes = cloud.resources("AWS::EC2::Route")
    assert not [name for name in routes if "data" in name], "isolated subnets have no way out"


def test_an_existing_vpc_is_used_as_it_is(small: Deployment) -> None:
    for kind in ("VPC", "Subnet", "NatGateway", "VPCEndpoint", "RouteTable"):
        assert not small.resources(f"AWS::EC2::{kind}")
    targets = small.resources("AWS::EFS::MountTarget")
    assert {target["Properties"]["SubnetId"] for target in targets.values()} == {
        "subnet-0123456789abcdef2",
        "subnet-0123456789abcdef3",
    }


def test_the_file_system_is_encrypted_elastic_backed_up_and_kept(deployment: Deployment) -> None:
    (file_system,) = deployment.resources("AWS::EFS::FileSystem").values()
    properties = file_system["Properties"]
    assert properties["Encrypted"] is True
    assert properties["KmsKeyId"]
    assert properties["ThroughputMode"] == "elastic"
    assert properties["BackupPolicy"] == {"Status": "ENABLED"}
    assert {"TransitionToIA": "AFTER_30_DAYS"} in properties["LifecyclePolicies"]
    assert file_system["DeletionPolicy"] == file_system["UpdateReplacePolicy"] == "Retain"


def test_mounting_needs_tls_and_iam(deployment: Deployment) -> None:
    (file_system,) = deployment.resources("AWS::EFS::FileSystem").values()
    statements = file_system["Properties"]["FileSystemPolicy"]["Statement"]
    allowed = [statement for statement in statements if statement["Effect"] == "Allow"]
    assert all("ClientMount" not in str(statement["Action"]) for statement in allowed)
    refused = [s for s in statements if s["Effect"] == "Deny"]
    without_tls = {"Bool": {"aws:SecureTransport": "false"}}
    assert not refused or any(s.get("Condition") == without_tls for s in refused)


def test_buckets_are_private_encrypted_logged_and_kept(deployment: Deployment) -> None:
    for name, bucket in deployment.resources("AWS::S3::Bucket").items():
        properties = bucket["Properties"]
        assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}, name
        assert properties["BucketEncryption"], name
        assert bucket["DeletionPolicy"] == bucket["UpdateReplacePolicy"] == "Retain", name
        if "AccessLogs" not in name:
            assert properties["LoggingConfiguration"], name
            assert "aws:kms" in str(properties["BucketEncryption"]), name


def test_requests_are_not_versioned_and_go_after_a_month(deployment: Deployment) -> None:
    (bucket,) = (
        b for b in deployment.resources("AWS::S3::Bucket").values() if "-requests-" in b["Properties"]["BucketName"]
    )
    assert "VersioningConfiguration" not in bucket["Properties"], "an old token would stay behind"
    rules = bucket["Properties"]["LifecycleConfiguration"]["Rules"]
    assert [rule["ExpirationInDays"] for rule in rules if "ExpirationInDays" in rule] == [30]


def test_buckets_are_the_same_whether_others_are_used_or_not(cloud: Deployment, own: Deployment) -> None:
    """One that is kept when others come would stand in the way of its own return."""
    made = [
        sorted(b["Properties"]["BucketName"] for b in d.resources("AWS::S3::Bucket").values()) for d in (cloud, own)
    ]
    for each in made:
        assert [name.split("-123456789012")[0].rpartition("-")[2] for name in each] == [
            "assets", "auxiliary", "logs", "requests",
        ]  # fmt: skip


def test_the_data_stack_is_protected_from_deletion(deployment: Deployment) -> None:
    manifest = json.loads((deployment.folder / "manifest.json").read_text())
    stack = manifest["artifacts"][f"{deployment.config.name}-data"]
    assert stack["properties"]["terminationProtection"] is True
