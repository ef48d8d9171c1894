"""What ``prefect-aws-batch setup`` makes in an AWS account: each resource can be looked up, made and taken away.

All carry one tag, and only what carries it is ever changed or removed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol

from botocore.exceptions import ClientError

from prefect_aws_batch.batch_api import error_code

TAG = "prefect-aws-batch-setup"
Kind = Literal["fargate", "fargate-spot", "ec2", "spot"]
Presence = Literal["absent", "ours", "another's"]

_KEEP_LOGS_DAYS = 30


@dataclass(frozen=True)
class Wanted:
    """What is to be made."""

    name: str
    kind: Kind = "fargate"
    max_vcpus: int = 16
    instance_types: tuple[str, ...] = ("optimal",)
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    """ARNs that the execution role may read."""
    bucket: str | None = None
    """That jobs may read and write."""
    events: bool = False

    @property
    def is_fargate(self) -> bool:
        """Whether AWS brings the machines."""
        return self.kind.startswith("fargate")

    @property
    def log_group(self) -> str:
        """Of the jobs."""
        return f"/prefect-aws-batch/{self.name}"


class Account:
    """Clients of one account and region.

    Args:
        client: Makes boto3's client of a service.
    """

    def __init__(self, client: Callable[[str], Any]) -> None:
        self.batch, self.logs, self.iam = client("batch"), client("logs"), client("iam")
        self.ec2, self.sqs, self.events = client("ec2"), client("sqs"), client("events")
        self._sts = client("sts")

    @property
    def region(self) -> str:
        """The region."""
        return str(self.batch.meta.region_name)

    @cached_property
    def id(self) -> str:
        """The account's number."""
        return str(self._sts.get_caller_identity()["Account"])

    @cached_property
    def partition(self) -> str:
        """``aws``, ``aws-cn``, ``aws-us-gov`` …"""
        return str(self._sts.get_caller_identity()["Arn"].split(":")[1])


class Resource(Protocol):
    """One thing in the account."""

    what: str
    """For people: what it is, and its name."""

    def look(self) -> Presence:
        """Say whether it is there, and whose."""

    def make(self) -> None:
        """Make it."""

    def remove(self) -> None:
        """Take it away."""


def owner(tags: Mapping[str, str], name: str) -> Presence:
    """Say whose a resource with these tags is."""
    return "ours" if tags.get(TAG) == name else "another's"


def _missing(error: ClientError) -> bool:
    return any(word in error_code(error) for word in ("NoSuchEntity", "ResourceNotFound", "NonExistentQueue"))


@dataclass
class LogGroup:
    """Where the containers' lines go."""

    account: Account
    wanted: Wanted

    def __post_init__(self) -> None:
        self.what = f"log group {self.wanted.log_group}"

    def look(self) -> Presence:
        """Say whether it is there, and whose."""
        found = self.account.logs.describe_log_groups(logGroupNamePrefix=self.wanted.log_group)["logGroups"]
        if not any(group["logGroupName"] == self.wanted.log_group for group in found):
            return "absent"
        return owner(
            self.account.logs.list_tags_log_group(logGroupName=self.wanted.log_group)["tags"], self.wanted.name
        )

    def make(self) -> None:
        """Make it; lines are kept for a month."""
        self.account.logs.create_log_group(logGroupName=self.wanted.log_group, tags={TAG: self.wanted.name})
        self.account.logs.put_retention_policy(logGroupName=self.wanted.log_group, retentionInDays=_KEEP_LOGS_DAYS)

    def remove(self) -> None:
        """Take it and its lines away."""
        self.account.logs.delete_log_group(logGroupName=self.wanted.log_group)


@dataclass
class Role:
    """A role that one service takes on."""

    account: Account
    wanted: Wanted
    suffix: str
    service: str
    managed: str | None = None
    statements: list[dict[str, Any]] = field(default_factory=list)
    with_profile: bool = False

    def __post_init__(self) -> None:
        self.name = f"{self.wanted.name}-{self.suffix}"
        self.what = f"role {self.name}"

    @property
    def arn(self) -> str:
        """Its ARN, be it there or not."""
        return f"arn:{self.account.partition}:iam::{self.account.id}:role/{self.name}"

    @property
    def profile_arn(self) -> str:
        """That of its instance profile."""
        return f"arn:{self.account.partition}:iam::{self.account.id}:instance-profile/{self.name}"

    def look(self) -> Presence:
        """Say whether it is there, and whose."""
        try:
            tags = self.account.iam.list_role_tags(RoleName=self.name)["Tags"]
        except ClientError as error:
            if _missing(error):
                return "absent"
            raise
        return owner({tag["Key"]: tag["Value"] for tag in tags}, self.wanted.name)

    def make(self) -> None:
        """Make it, with its rights."""
        trust = {"Effect": "Allow", "Principal": {"Service": self.service}, "Action": "sts:AssumeRole"}
        self.account.iam.create_role(
            RoleName=self.name,
            AssumeRolePolicyDocument=_policy([trust]),
            Tags=[{"Key": TAG, "Value": self.wanted.name}],
        )
        if self.managed:
            arn = f"arn:{self.account.partition}:iam::aws:policy/service-role/{self.managed}"
            self.account.iam.attach_role_policy(RoleName=self.name, PolicyArn=arn)
        if self.statements:
            self.account.iam.put_role_policy(
                RoleName=self.name, PolicyName=self.suffix, PolicyDocument=_policy(self.statements)
            )
        if self.with_profile:
            self.account.iam.create_instance_profile(InstanceProfileName=self.name)
            self.account.iam.add_role_to_instance_profile(InstanceProfileName=self.name, RoleName=self.name)

    def remove(self) -> None:
        """Take it away, with what hangs on it."""
        iam = self.account.iam
        for attached in iam.list_attached_role_policies(RoleName=self.name)["AttachedPolicies"]:
            iam.detach_role_policy(RoleName=self.name, PolicyArn=attached["PolicyArn"])
        for policy in iam.list_role_policies(RoleName=self.name)["PolicyNames"]:
            iam.delete_role_policy(RoleName=self.name, PolicyName=policy)
        for profile in iam.list_instance_profiles_for_role(RoleName=self.name)["InstanceProfiles"]:
            name = profile["InstanceProfileName"]
            iam.remove_role_from_instance_profile(InstanceProfileName=name, RoleName=self.name)
            iam.delete_instance_profile(InstanceProfileName=name)
        iam.delete_role(RoleName=self.name)


@dataclass
class EventQueue:
    """A rule of EventBridge that sends the queue's job state changes to SQS."""

    account: Account
    wanted: Wanted
    job_queue_arn: str

    def __post_init__(self) -> None:
        self.name = f"{self.wanted.name}-events"
        self.what = f"event rule and SQS queue {self.name}"

    def url(self) -> str | None:
        """Return the queue's URL, or None where there is none."""
        try:
            return str(self.account.sqs.get_queue_url(QueueName=self.name)["QueueUrl"])
        except ClientError as error:
            if _missing(error):
                return None
            raise

    def look(self) -> Presence:
        """Say whether the queue is there, and whose."""
        url = self.url()
        if url is None:
            return "absent"
        return owner(self.account.sqs.list_queue_tags(QueueUrl=url).get("Tags", {}), self.wanted.name)

    def make(self) -> None:
        """Make the queue, encrypted, and the rule, which alone may write it."""
        events = self.account.events
        pattern = {
            "source": ["aws.batch"],
            "detail-type": ["Batch Job State Change"],
            "detail": {"jobQueue": [self.job_queue_arn]},
        }
        tags = [{"Key": TAG, "Value": self.wanted.name}]
        rule = events.put_rule(Name=self.name, EventPattern=json.dumps(pattern), Tags=tags)["RuleArn"]
        arn = f"arn:{self.account.partition}:sqs:{self.account.region}:{self.account.id}:{self.name}"
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": rule}},
        }
        self.account.sqs.create_queue(
            QueueName=self.name,
            Attributes={
                "Policy": _policy([statement]),
                "SqsManagedSseEnabled": "true",
                "MessageRetentionPeriod": "3600",  # the sweeps have seen to what is older
            },
            tags={TAG: self.wanted.name},
        )
        events.put_targets(Rule=self.name, Targets=[{"Id": "queue", "Arn": arn}])

    def remove(self) -> None:
        """Take both away."""
        self.account.events.remove_targets(Rule=self.name, Ids=["queue"])
        self.account.events.delete_rule(Name=self.name)
        self.account.sqs.delete_queue(QueueUrl=self.url())


def _policy(statements: list[dict[str, Any]]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})
