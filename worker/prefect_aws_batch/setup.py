"""``prefect-aws-batch setup``: a queue with its machines, roles, log group and, if wanted, events, without any CDK."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from prefect_aws_batch.errors import ConfigurationError
from prefect_aws_batch.setup_batch import ComputeEnvironment, JobQueue
from prefect_aws_batch.setup_resources import Account, EventQueue, LogGroup, Resource, Role, Wanted

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,49}")
_FARGATE = {
    "platformCapabilities": ["FARGATE"],
    "containerProperties": {"linuxParameters": None, "networkConfiguration": {"assignPublicIp": "ENABLED"}},
}

Deed = Literal["make", "keep", "remove", "leave"]


class Setup:
    """What one setup consists of, in the order in which it is made.

    Args:
        account: Where.
        wanted: What.

    Raises:
        ConfigurationError: The name cannot be that of all resources.
    """

    def __init__(self, account: Account, wanted: Wanted) -> None:
        if not _NAME.fullmatch(wanted.name):
            raise ConfigurationError(
                f"'{wanted.name}' cannot be the name of a queue and its roles",
                where="NAME",
                remedy="Allowed: letters, digits, - and _, at most 50, a letter or digit first.",
            )
        self._account = account
        self.wanted = wanted

    def _roles(self) -> tuple[Role, Role, Role]:
        wanted, account = self.wanted, self._account
        bucket = [
            {
                "Effect": "Allow",
                "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"],
                "Resource": [f"arn:{account.partition}:s3:::{wanted.bucket}{rest}" for rest in ("", "/*")],
            }
        ]
        secrets = [
            {
                "Effect": "Allow",
                "Action": ["secretsmanager:GetSecretValue", "ssm:GetParameters"],
                "Resource": list(wanted.secrets),
            }
        ]
        tasks = "ecs-tasks.amazonaws.com"
        jobs = Role(account, wanted, "jobs", tasks, statements=bucket if wanted.bucket else [])
        managed = "AmazonECSTaskExecutionRolePolicy"
        execution = Role(account, wanted, "execution", tasks, managed, secrets if wanted.secrets else [])
        machines = Role(
            account,
            wanted,
            "machines",
            f"ec2.amazonaws.com{'.cn' if account.partition == 'aws-cn' else ''}",
            "AmazonEC2ContainerServiceforEC2Role",
            with_profile=True,
        )
        return jobs, execution, machines

    def _resources(self, *, everything: bool) -> list[Resource]:
        wanted, account = self.wanted, self._account
        jobs, execution, machines = self._roles()
        own_machines = everything or not wanted.is_fargate
        queue = JobQueue(account, wanted)
        return [
            LogGroup(account, wanted),
            jobs,
            execution,
            *([machines] if own_machines else []),
            ComputeEnvironment(account, wanted, None if wanted.is_fargate else machines),
            queue,
            *([EventQueue(account, wanted, queue.arn)] if everything or wanted.events else []),
        ]

    def make(self, *, dry: bool = False) -> Iterator[tuple[Deed, str]]:
        """Make what is missing; yield what is done, or would be, before it is.

        Raises:
            ConfigurationError: A resource of that name is somebody else's, or there is no network.
        """
        self._find_network()
        resources = self._resources(everything=False)
        looks = [(resource, resource.look()) for resource in resources]
        for resource, presence in looks:
            if presence == "another's":
                raise ConfigurationError(
                    f"The {resource.what} exists, and this setup did not make it",
                    where=self.wanted.name,
                    remedy="Choose another name. Nothing was made.",
                )
        for resource, presence in looks:
            yield "make" if presence == "absent" else "keep", resource.what
            if presence == "absent" and not dry:
                resource.make()

    def remove(self, *, dry: bool = False) -> Iterator[tuple[Deed, str]]:
        """Take away what an earlier setup of this name made, and nothing else; yield what is done, before it is."""
        for resource in reversed(self._resources(everything=True)):
            presence = resource.look()
            if presence == "absent":
                continue
            yield "remove" if presence == "ours" else "leave", resource.what
            if presence == "ours" and not dry:
                resource.remove()

    def _find_network(self) -> None:
        """Fill in the default VPC's subnets and security group where none are given."""
        if self.wanted.subnets and self.wanted.security_groups:
            return
        found = self._account.ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
        if not found:
            raise ConfigurationError(
                "This region has no default VPC",
                where=f"region {self._account.region}",
                remedy="Name --subnets and --security-groups.",
            )
        in_vpc = {"Name": "vpc-id", "Values": [found[0]["VpcId"]]}
        subnets = self._account.ec2.describe_subnets(Filters=[in_vpc])["Subnets"]
        groups = self._account.ec2.describe_security_groups(
            Filters=[in_vpc, {"Name": "group-name", "Values": ["default"]}]
        )["SecurityGroups"]
        self.wanted = replace(
            self.wanted,
            subnets=self.wanted.subnets or tuple(subnet["SubnetId"] for subnet in subnets),
            security_groups=self.wanted.security_groups or tuple(group["GroupId"] for group in groups),
        )

    def variables(self, *, image: str, secrets: dict[str, str]) -> dict[str, Any]:
        """Return the values of the pool's form that lead jobs to what was made."""
        jobs, execution, _ = self._roles()
        values: dict[str, Any] = {
            "job_queue": self.wanted.name,
            "image": image,
            "log_group": self.wanted.log_group,
            "job_role_arn": jobs.arn,
            "execution_role_arn": execution.arn,
        }
        if secrets:
            values["secrets"] = secrets
        if self.wanted.is_fargate:
            values["job_definition_template"] = _FARGATE
        if self.wanted.events:
            url = EventQueue(self._account, self.wanted, "").url()
            values["event_queue_url"] = url or "(known once it is made)"
        return values

    def worker_policy(self) -> dict[str, Any]:
        """Return the policy that the worker's own role, or user, needs."""
        jobs, execution, _ = self._roles()
        account, name = self._account, self.wanted.name
        here = f"{account.region}:{account.id}"
        batch = ["SubmitJob", "TerminateJob", "DescribeJobs", "ListJobs", "TagResource", "DescribeJobDefinitions"]
        batch += ["DescribeJobQueues", "RegisterJobDefinition", "DeregisterJobDefinition"]
        group = f"arn:{account.partition}:logs:{here}:log-group:{self.wanted.log_group}:*"
        statements: list[dict[str, Any]] = [
            {"Effect": "Allow", "Action": [f"batch:{action}" for action in batch], "Resource": "*"},
            {"Effect": "Allow", "Action": "logs:GetLogEvents", "Resource": group},
            {"Effect": "Allow", "Action": "iam:PassRole", "Resource": [jobs.arn, execution.arn]},
        ]
        if self.wanted.events:
            actions = [f"sqs:{action}" for action in ("ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility")]
            queue = f"arn:{account.partition}:sqs:{here}:{name}-events"
            statements.append({"Effect": "Allow", "Action": actions, "Resource": queue})
        return {"Version": "2012-10-17", "Statement": statements}


def default_image() -> str:
    """Return Prefect's own image of the version that is installed here."""
    import prefect

    return f"prefecthq/prefect:{prefect.__version__}-python3.12"


async def write_pool(client: PrefectClient, pool: str, values: dict[str, Any]) -> Literal["made", "changed"]:
    """Make a work pool with these defaults, or set them in the one of that name."""
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectNotFound

    from prefect_aws_batch.batch_worker import BatchWorker

    try:
        known = await client.read_work_pool(pool)
    except ObjectNotFound:
        template = BatchWorker.get_default_base_job_template()
        _fill_in(template, values)
        await client.create_work_pool(WorkPoolCreate(name=pool, type=BatchWorker.type, base_job_template=template))
        return "made"
    if known.type != BatchWorker.type:
        raise ConfigurationError(
            f"The work pool '{pool}' is of type {known.type}", where="--pool", remedy="Name another pool, or a new one."
        )
    template = known.base_job_template or BatchWorker.get_default_base_job_template()
    _fill_in(template, values)
    await client.update_work_pool(pool, WorkPoolUpdate(base_job_template=template))
    return "changed"


def _fill_in(template: dict[str, Any], values: dict[str, Any]) -> None:
    properties = template["variables"]["properties"]
    own = None
    for name, value in values.items():
        if name not in properties:  # a pool that an older version of the worker made
            from prefect_aws_batch.batch_worker import BatchWorker

            own = own or BatchWorker.get_default_base_job_template()
            properties[name] = own["variables"]["properties"][name]
            template["job_configuration"][name] = own["job_configuration"][name]
        properties[name]["default"] = value


def tell(deeds: Iterator[tuple[Deed, str]], write: Callable[[str], object], *, dry: bool) -> None:
    """Say what is done, line by line, as it is."""
    words = {"make": "making", "keep": "is there", "remove": "removing", "leave": "left: not made by this setup"}
    would = {"make": "would be made", "keep": "is there", "remove": "would be removed", "leave": words["leave"]}
    for deed, what in deeds:
        write(f"{what}: {(would if dry else words)[deed]}\n")


def pairs_of(given: Sequence[str]) -> dict[str, str]:
    """Read NAME=ARN arguments.

    Raises:
        ConfigurationError: One is none.
    """
    pairs = {}
    for pair in given:
        name, equals, arn = pair.partition("=")
        if not name or not equals or not arn.startswith("arn:"):
            raise ConfigurationError(
                f"'{pair}' names no secret", where="--secret", remedy="Allowed: PREFECT_API_KEY=arn:aws:…"
            )
        pairs[name] = arn
    return pairs


def as_json(values: dict[str, Any]) -> str:
    """Return values for people and for files."""
    return json.dumps(values, indent=2, ensure_ascii=False)
