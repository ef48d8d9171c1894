"""The compute environment and the job queue that ``prefect-aws-batch setup`` makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from botocore.exceptions import ClientError
from tenacity import RetryCallState, Retrying, retry_if_exception, retry_if_result, stop_after_delay, wait_fixed

from prefect_aws_batch.batch_api import error_code
from prefect_aws_batch.errors import ConfigurationError, MachineLostError
from prefect_aws_batch.setup_resources import TAG, Account, Presence, Role, Wanted, owner

_READY_WITHIN, _LOOK_EVERY = 300.0, 3.0
_ROLE_KNOWN_WITHIN = 60.0
"""Seconds that a new role takes, at most, until the other services of AWS know it."""


@dataclass
class _OfBatch:
    """A compute environment or a queue: disabled first, deleted then, each of which takes a while."""

    account: Account
    wanted: Wanted
    title: ClassVar[str]
    many: ClassVar[str]
    key: ClassVar[str]

    def __post_init__(self) -> None:
        self.what = f"{self.title} {self.wanted.name}"

    def _found(self) -> dict[str, Any] | None:
        describe = getattr(self.account.batch, f"describe_{self.many}")
        found = describe(**{f"{self.key}s": [self.wanted.name]})[f"{self.key}s"]
        return next((dict(one) for one in found if one.get("status") != "DELETED"), None)

    @property
    def arn(self) -> str:
        """Its ARN, be it there or not."""
        kind = self.title.replace(" ", "-")
        return f"arn:{self.account.partition}:batch:{self.account.region}:{self.account.id}:{kind}/{self.wanted.name}"

    def look(self) -> Presence:
        """Say whether it is there, and whose."""
        found = self._found()
        if found is None:
            return "absent"
        tags = (
            found.get("tags") or self.account.batch.list_tags_for_resource(resourceArn=found[f"{self.key}Arn"])["tags"]
        )
        return owner(tags, self.wanted.name)

    def remove(self) -> None:
        """Take it away, and wait until it is gone."""
        one = self.many.removesuffix("s")
        named = {self.key: self.wanted.name}
        getattr(self.account.batch, f"update_{one}")(**named, state="DISABLED")
        self._wait(lambda found: found is not None and found.get("status") == "UPDATING")
        getattr(self.account.batch, f"delete_{one}")(**named)
        self._wait(lambda found: found is not None)

    def _wait(self, goes_on: Callable[[dict[str, Any] | None], bool]) -> None:
        Retrying(
            retry=retry_if_result(goes_on),
            wait=wait_fixed(_LOOK_EVERY),
            stop=stop_after_delay(_READY_WITHIN),
            retry_error_callback=self._takes_too_long,
        )(self._found)

    def _takes_too_long(self, _: RetryCallState) -> None:
        raise MachineLostError(
            f"The {self.what} has not come to rest in {_READY_WITHIN:.0f} s",
            remedy="See its status in the Batch console; then run the same command again: it goes on.",
        )

    def _wait_until_ready(self) -> None:
        self._wait(lambda found: found is None or found.get("status") in ("CREATING", "UPDATING"))
        found = self._found() or {}
        if found.get("status") not in ("VALID", None):
            raise ConfigurationError(
                f"The {self.title} is {found.get('status')}: {found.get('statusReason')}",
                where=self.wanted.name,
                remedy="See its status in the Batch console; 'setup --remove' takes away what was made.",
            )


@dataclass
class ComputeEnvironment(_OfBatch):
    """The machines."""

    machines: Role | None = None
    title = "compute environment"
    many = "compute_environments"
    key = "computeEnvironment"

    def make(self) -> None:
        """Make it, and wait until it is ready."""
        wanted = self.wanted
        resources: dict[str, Any] = {
            "type": wanted.kind.upper().replace("-", "_"),
            "maxvCpus": wanted.max_vcpus,
            "subnets": list(wanted.subnets),
            "securityGroupIds": list(wanted.security_groups),
        }
        if self.machines is not None:
            spot = wanted.kind == "spot"
            resources |= {
                "allocationStrategy": "SPOT_PRICE_CAPACITY_OPTIMIZED" if spot else "BEST_FIT_PROGRESSIVE",
                "minvCpus": 0,
                "instanceTypes": list(wanted.instance_types),
                "instanceRole": self.machines.profile_arn,
                "tags": {"Name": wanted.name, TAG: wanted.name},
            }
        # A role that was made a moment ago is not known everywhere yet.
        Retrying(
            retry=retry_if_exception(_knows_no_role),
            wait=wait_fixed(_LOOK_EVERY),
            stop=stop_after_delay(_ROLE_KNOWN_WITHIN),
            reraise=True,
        )(
            self.account.batch.create_compute_environment,
            computeEnvironmentName=wanted.name,
            type="MANAGED",
            state="ENABLED",
            computeResources=resources,
            tags={TAG: wanted.name},
        )
        self._wait_until_ready()


@dataclass
class JobQueue(_OfBatch):
    """The queue that runs go to."""

    title = "job queue"
    many = "job_queues"
    key = "jobQueue"

    def make(self) -> None:
        """Make it, and wait until it is ready."""
        self.account.batch.create_job_queue(
            jobQueueName=self.wanted.name,
            state="ENABLED",
            priority=1,
            computeEnvironmentOrder=[{"order": 1, "computeEnvironment": self.wanted.name}],
            tags={TAG: self.wanted.name},
        )
        self._wait_until_ready()


def _knows_no_role(error: BaseException) -> bool:
    is_refusal = isinstance(error, ClientError) and error_code(error) == "ClientException"
    return is_refusal and any(word in str(error).lower() for word in ("role", "instance profile"))
