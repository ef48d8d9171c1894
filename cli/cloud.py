"""A deployment to AWS from the terminal: look at it, check it, take it down. For those who do not live in CDK."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from isaaclab_flows.cli import cloud_checks as checks
from isaaclab_flows.cli.console import console, say
from isaaclab_flows.schemas.errors import ConfigError, FlowsError

_LIVE = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING")


def clients(region: str | None) -> checks.Client:
    """Return boto3's clients by service.

    Raises:
        ConfigError: No region is given or configured.
    """
    import boto3

    session = boto3.Session(region_name=region)
    if session.region_name is None:
        raise ConfigError("No region is given", where="--region", remedy="Give --region, or set AWS_DEFAULT_REGION.")

    @lru_cache
    def client(service: str) -> Any:
        make: Callable[..., Any] = session.client
        return make(service)

    return client


def check(client: checks.Client, name: str) -> bool:
    """Print what was looked at; return whether all is well."""
    well = True
    for finding in _all(client, name):
        well = well and not finding.trouble
        say(f"{'wrong' if finding.trouble else 'ok   '}  {finding.what}")
        if finding.trouble:
            say(f"       {finding.trouble}")
            say(f"       do: {finding.remedy}")
    return well


def _all(client: checks.Client, name: str) -> Iterator[checks.CloudFinding]:
    found = list(checks.stacks(client, name))
    yield from found
    if any(finding.trouble for finding in found):
        return
    parts = checks.parts_of(client, name)
    environments = checks.environments(client, parts)
    for what, look in (
        ("compute environments", lambda: checks.compute(environments)),
        ("quotas", lambda: checks.quotas(client, environments)),
        ("routes", lambda: checks.routes(client, environments)),
        ("mount targets", lambda: checks.mounts(client, parts, environments)),
        ("secrets", lambda: checks.secrets(client, name)),
        ("services", lambda: checks.services(client, name)),
    ):
        yield from _read(what, look)


def _read(what: str, look: Callable[[], Iterator[checks.CloudFinding]]) -> Iterator[checks.CloudFinding]:
    """One thing that may not be read does not hide the others."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield from look()
    except (ClientError, BotoCoreError) as error:
        yield checks.CloudFinding(what, f"could not be read: {error}", "Use credentials that may read this.")


def status(client: checks.Client, name: str) -> bool:
    """Print the stacks, the services and how many jobs each queue has; return whether the stacks are whole."""
    found = list(checks.stacks(client, name))
    for finding in found:
        say(f"{finding.what}: {finding.trouble or 'whole'}")
    if any(finding.trouble for finding in found):
        return False
    for finding in _read("services", lambda: checks.services(client, name)):
        say(f"{finding.what}: {finding.trouble or 'runs'}")
    batch = client("batch")
    for arn in checks.parts_of(client, name).of("AWS::Batch::JobQueue"):
        counts = {}
        for state in _LIVE:
            pages = batch.get_paginator("list_jobs").paginate(jobQueue=arn, jobStatus=state)
            counts[state] = sum(len(page["jobSummaryList"]) for page in pages)
        said = ", ".join(f"{count} {state.lower()}" for state, count in counts.items() if count) or "no jobs"
        say(f"queue {arn.rpartition('/')[2]}: {said}")
    return True


def destroy(client: checks.Client, name: str, *, keep_data: bool, confirmed: bool) -> None:
    """Delete the service stack and, unless data is kept, the data stack, and wait for it.

    Raises:
        ConfigError: It was not confirmed, or there is no such deployment.
        FlowsError: CloudFormation could not delete a stack.
    """
    from botocore.exceptions import ClientError, WaiterError

    cloudformation = client("cloudformation")
    parts = ("service",) if keep_data else ("service", "data")
    if not confirmed:
        raise ConfigError(
            f"This deletes {' and '.join(f'{name}-{part}' for part in parts)}",
            where="--yes",
            remedy="Say --yes as well. Buckets, EFS and the key stay in any case; --keep-data also keeps their stack.",
        )
    for part in parts:
        stack = f"{name}-{part}"
        try:
            cloudformation.describe_stacks(StackName=stack)
        except ClientError:
            console().print(f"{stack} is not there.")
            continue
        if part == "data":
            cloudformation.update_termination_protection(StackName=stack, EnableTerminationProtection=False)
        cloudformation.delete_stack(StackName=stack)
        console().print(f"Deleting {stack}; this takes some minutes.")
        try:
            cloudformation.get_waiter("stack_delete_complete").wait(StackName=stack)
        except WaiterError as error:
            raise FlowsError(
                f"{stack} could not be deleted",
                where=stack,
                remedy="Its events say what stands in the way; a protected database must be unprotected first.",
                details=str(error),
            ) from error
        say(f"Deleted {stack}.")
    if keep_data:
        say(f"{name}-data stays, with the files, the buckets and the key. Deploying again finds them.")
    else:
        say("The file system, the buckets and the key stay and cost money: docs/deploy.md says how to delete them.")
