"""What is looked at after a deployment to AWS: each check only reads, and says what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

Client = Callable[[str], Any]
"""A boto3 client by its service's name."""

QUOTAS: Final = {
    ("g", "EC2"): ("L-DB2E81BA", "Running On-Demand G and VT instances"),
    ("g", "SPOT"): ("L-3819A6DF", "All G and VT Spot Instance Requests"),
    ("p", "EC2"): ("L-417A185B", "Running On-Demand P instances"),
    ("p", "SPOT"): ("L-7212CCBC", "All P4, P3 and P2 Spot Instance Requests"),
}
"""Service Quotas' code and name of each kind of machine."""


@dataclass(frozen=True)
class CloudFinding:
    """One thing that was looked at."""

    what: str
    trouble: str = ""
    """What is wrong; empty where all is well."""
    remedy: str = ""


@dataclass(frozen=True)
class Parts:
    """What a deployment's two stacks are made of: physical ids by CloudFormation type."""

    name: str
    by_type: dict[str, tuple[str, ...]]

    def of(self, kind: str) -> tuple[str, ...]:
        """Return the physical ids of one type."""
        return self.by_type.get(kind, ())


def stacks(client: Client, name: str) -> Iterator[CloudFinding]:
    """Both stacks are there and whole."""
    from botocore.exceptions import ClientError

    for part in ("data", "service"):
        try:
            (stack,) = client("cloudformation").describe_stacks(StackName=f"{name}-{part}")["Stacks"]
        except ClientError as error:
            yield CloudFinding(
                f"stack {name}-{part}", str(error), "Deploy it: docs/deploy.md; are name and region right?"
            )
            continue
        status = stack["StackStatus"]
        whole = status.endswith("_COMPLETE") and "ROLLBACK" not in status and not status.startswith("DELETE")
        yield CloudFinding(
            f"stack {name}-{part}",
            "" if whole else f"its status is {status}: {stack.get('StackStatusReason', 'no reason given')}",
            "" if whole else "Look at its events in CloudFormation, mend the cause, deploy again.",
        )


def parts_of(client: Client, name: str) -> Parts:
    """Read what the stacks are made of."""
    found: dict[str, list[str]] = {}
    for part in ("data", "service"):
        pages = client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=f"{name}-{part}")
        for resource in (r for page in pages for r in page["StackResourceSummaries"]):
            found.setdefault(resource["ResourceType"], []).append(resource.get("PhysicalResourceId", ""))
    return Parts(name, {kind: tuple(ids) for kind, ids in found.items()})


def environments(client: Client, parts: Parts) -> Sequence[dict[str, Any]]:
    """Describe the deployment's compute environments."""
    ids = parts.of("AWS::Batch::ComputeEnvironment")
    if not ids:
        return ()
    described = client("batch").describe_compute_environments(computeEnvironments=list(ids))
    return list(described["computeEnvironments"])


def compute(found: Sequence[dict[str, Any]]) -> Iterator[CloudFinding]:
    """Batch can use every compute environment."""
    for environment in found:
        name = f"compute environment {environment['computeEnvironmentName']}"
        well = environment["status"] == "VALID" and environment["state"] == "ENABLED"
        said = f"it is {environment['state']} and {environment['status']}: {environment.get('statusReason', '')}"
        yield CloudFinding(name, "" if well else said, "" if well else "Its reason says what AWS refuses.")


def quotas(client: Client, found: Sequence[dict[str, Any]]) -> Iterator[CloudFinding]:
    """The account may have at least one machine of each kind that the queues use."""
    needed: dict[tuple[str, str], int] = {}
    for environment in found:
        resources = environment["computeResources"]
        family = resources["instanceTypes"][0][0]
        types = client("ec2").describe_instance_types(InstanceTypes=resources["instanceTypes"])["InstanceTypes"]
        smallest = min(each["VCpuInfo"]["DefaultVCpus"] for each in types)
        kind = (family, resources["type"])
        needed[kind] = max(needed.get(kind, 0), smallest)
    for kind, vcpus in sorted(needed.items()):
        code, title = QUOTAS[kind]
        quota = client("service-quotas").get_service_quota(ServiceCode="ec2", QuotaCode=code)["Quota"]
        enough = quota["Value"] >= vcpus
        yield CloudFinding(
            f"quota {title}",
            "" if enough else f"it is {quota['Value']:.0f} vCPUs, and the largest machine of the queues has {vcpus}",
            "" if enough else f"Ask for more in Service Quotas (EC2, {code}); until then jobs stay RUNNABLE.",
        )


def routes(client: Client, found: Sequence[dict[str, Any]]) -> Iterator[CloudFinding]:
    """Every machine's subnet has a way out."""
    ec2 = client("ec2")
    for subnet in sorted({s for environment in found for s in environment["computeResources"]["subnets"]}):
        (described,) = ec2.describe_subnets(SubnetIds=[subnet])["Subnets"]
        explicit = [{"Name": "association.subnet-id", "Values": [subnet]}]
        tables = ec2.describe_route_tables(Filters=explicit)["RouteTables"]
        if not tables:
            main = [
                {"Name": "vpc-id", "Values": [described["VpcId"]]},
                {"Name": "association.main", "Values": ["true"]},
            ]
            tables = ec2.describe_route_tables(Filters=main)["RouteTables"]
        out = [
            route
            for table in tables
            for route in table["Routes"]
            if route.get("DestinationCidrBlock") == "0.0.0.0/0" and route.get("State", "active") == "active"
        ]
        through_internet = any(str(route.get("GatewayId", "")).startswith("igw-") for route in out)
        trouble = "it has no route out" if not out else ""
        if through_internet:
            trouble = "its route out is an internet gateway, and machines have no public address"
        yield CloudFinding(
            f"route out of {subnet}",
            trouble,
            "Route 0.0.0.0/0 to a NAT gateway: machines fetch images and call AWS's APIs." if trouble else "",
        )


def mounts(client: Client, parts: Parts, found: Sequence[dict[str, Any]]) -> Iterator[CloudFinding]:
    """The file system has a mount target in every zone of the machines."""
    subnets = sorted({s for environment in found for s in environment["computeResources"]["subnets"]})
    if not subnets:
        return
    described = client("ec2").describe_subnets(SubnetIds=subnets)["Subnets"]
    zones = {subnet["AvailabilityZoneId"] for subnet in described}
    for file_system in parts.of("AWS::EFS::FileSystem"):
        targets = client("efs").describe_mount_targets(FileSystemId=file_system)["MountTargets"]
        ready = {t["AvailabilityZoneId"] for t in targets if t["LifeCycleState"] == "available"}
        missing = sorted(zones - ready)
        yield CloudFinding(
            f"mount targets of {file_system}",
            f"none is available in {', '.join(missing)}, where machines run" if missing else "",
            "network.existing.isolatedSubnetIds must cover the zones of privateSubnetIds." if missing else "",
        )


def services(client: Client, name: str) -> Iterator[CloudFinding]:
    """The orchestrator, the Batch worker and our own server, where there is one, run."""
    ecs = client("ecs")
    for service in ("orchestrator", "batch-worker", "prefect-server"):
        described = ecs.describe_services(cluster=name, services=[f"{name}-{service}"])["services"]
        if not described and service == "prefect-server":
            continue
        there = described and described[0]["status"] == "ACTIVE"
        running = described[0]["runningCount"] if there else 0
        events = described[0].get("events", []) if there else []
        last = events[0]["message"] if events else "no event says why"
        yield CloudFinding(
            f"service {name}-{service}",
            "" if running else f"no task of it runs: {last}",
            "" if running else f"Read its log in /isaaclab-flows/{name}/services.",
        )


def secrets(client: Client, name: str) -> Iterator[CloudFinding]:
    """The secrets that the services start with exist; their values are not read."""
    from botocore.exceptions import ClientError

    definition = client("ecs").describe_task_definition(taskDefinition=f"{name}-worker")["taskDefinition"]
    for container in definition["containerDefinitions"]:
        for entry in container.get("secrets", []):
            arn = ":".join(entry["valueFrom"].split(":")[:7])
            trouble = ""
            try:
                if client("secretsmanager").describe_secret(SecretId=arn).get("DeletedDate"):
                    trouble = "it is scheduled for deletion"
            except ClientError as error:
                trouble = str(error)
            yield CloudFinding(
                f"secret for {entry['name']}",
                trouble,
                "Restore it, or name another in prefect.secretArn and deploy again." if trouble else "",
            )
