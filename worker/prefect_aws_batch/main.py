"""The program ``prefect-aws-batch``: what operators ask of the worker outside of Prefect."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from prefect_aws_batch.diagnosis import Ending, diagnose
from prefect_aws_batch.states import BatchJob

if TYPE_CHECKING:
    from prefect_aws_batch.batch_api import BatchApi
    from prefect_aws_batch.setup_resources import Account


async def clean_up(api: BatchApi, prefix: str, keep: int) -> int:
    """Deregister the job definitions that are superseded or unused, say which, and return how many."""
    from prefect_aws_batch.registrar import Registrar

    gone = await Registrar(api).clean_up(prefix, keep=keep)
    for arn in gone:
        sys.stdout.write(f"deregistered {arn}\n")
    return len(gone)


def explanation(ending: Ending) -> dict[str, str | bool]:
    """Return what the worker makes of a job's end: the run's state, whether it is tried again, and the words."""
    error = ending.error
    return {
        "state": ending.state.capitalize(),
        "again": ending.try_again,
        "kind": error.kind if error else "",
        "sentence": error.sentence if error else "The job succeeded.",
        "remedy": error.remedy if error else "",
    }


async def explain(api: BatchApi, job_id: str) -> Ending | str:
    """Return how a job ended, or a sentence where it has not, or is not known."""
    found = await api.describe([job_id])
    if not found:
        return f"Batch knows no job {job_id} in {api.region}: it forgets jobs after about a week."
    job = found[0]
    if job.is_live:
        return f"Job {job_id} has not ended: it is {job.status}. {job.status_reason}".strip()
    return diagnose(job)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line, with boto3's own credentials, and return the exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.command == "setup":
        return _setup(given)
    if given.command == "clean-up":
        asyncio.run(clean_up(_connect(), given.prefix, given.keep))
        return 0
    words = (given.status_reason, given.container_reason, given.exit_code)
    if (given.job_id is None) == all(word is None for word in words):
        parser.error("explain takes a job's id, or its words: --status-reason, --container-reason, --exit-code")
    if given.job_id:
        ending = asyncio.run(explain(_connect(), given.job_id))
        if isinstance(ending, str):
            sys.stderr.write(f"{ending}\n")
            return 1
    else:
        ending = diagnose(_job(given))
    told = explanation(ending)
    if given.json:
        sys.stdout.write(json.dumps(told, ensure_ascii=False) + "\n")
    else:
        again = "tried again" if told["again"] else "not tried again"
        sys.stdout.write(f"{told['state']}, {again}. {told['sentence']}\n")
    return 0


def _setup(given: argparse.Namespace) -> int:
    from botocore.exceptions import BotoCoreError, ClientError

    from prefect_aws_batch import setup
    from prefect_aws_batch.errors import BatchError
    from prefect_aws_batch.setup_resources import Wanted

    try:
        secrets = setup.pairs_of(given.secret)
        wanted = Wanted(
            given.name,
            kind=given.kind,
            max_vcpus=given.max_vcpus,
            instance_types=tuple(given.instance_types),
            subnets=tuple(given.subnets),
            security_groups=tuple(given.security_groups),
            secrets=tuple(secrets.values()),
            bucket=given.bucket,
            events=given.events,
        )
        made = setup.Setup(_account(), wanted)
        deeds = made.remove(dry=given.dry_run) if given.remove else made.make(dry=given.dry_run)
        setup.tell(deeds, sys.stdout.write, dry=given.dry_run)
        if given.remove:
            return 0
        values = made.variables(image=given.image or setup.default_image(), secrets=secrets)
        sys.stdout.write(f"\nThe worker's role or user needs this policy:\n{setup.as_json(made.worker_policy())}\n")
        if given.pool and not given.dry_run:
            done = asyncio.run(_write_pool(given.pool, values))
            sys.stdout.write(f"\nWork pool {given.pool}: {done}. Next: prefect worker start --pool {given.pool}\n")
        else:
            sys.stdout.write(f"\nThe work pool's values:\n{setup.as_json(values)}\n")
    except (BatchError, BotoCoreError, ClientError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


async def _write_pool(pool: str, values: dict[str, Any]) -> str:
    from prefect.client.orchestration import get_client

    from prefect_aws_batch.setup import write_pool

    async with get_client() as client:
        return await write_pool(client, pool, values)


def _account() -> Account:
    import boto3

    from prefect_aws_batch.setup_resources import Account

    client: Callable[[str], Any] = boto3.Session().client  # type: ignore[assignment]
    return Account(client)


def _job(given: argparse.Namespace) -> BatchJob:
    return BatchJob(
        "",
        "",
        "SUCCEEDED" if given.exit_code == 0 and not given.status_reason else "FAILED",
        status_reason=given.status_reason or "",
        exit_code=given.exit_code,
        container_reason=given.container_reason or "",
        has_started=given.exit_code is not None,
    )


def _connect() -> BatchApi:
    from prefect_aws.credentials import AwsCredentials  # takes seconds, which words alone need not wait for

    from prefect_aws_batch.batch_api import BatchApi

    return BatchApi.connect(AwsCredentials())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="prefect-aws-batch", description="Tools of the Prefect worker for AWS Batch.")
    commands = parser.add_subparsers(dest="command", required=True)
    explainer = commands.add_parser("explain", help="say what a job's end means, and what to do about it")
    explainer.add_argument("job_id", nargs="?", help="a Batch job's id, or its words instead:")
    explainer.add_argument("--status-reason", help="Batch's words on the job")
    explainer.add_argument("--container-reason", help="ECS's words on the container")
    explainer.add_argument("--exit-code", type=int, help="the container's; leave it out where there is none")
    explainer.add_argument("--json", action="store_true", help="state, again, kind, sentence and remedy as JSON")
    maker = commands.add_parser("setup", help="make a queue with machines, roles and log group, and a work pool for it")
    maker.add_argument("name", metavar="NAME", help="of the queue and of all that belongs to it")
    maker.add_argument("--pool", help="the work pool to make, or to set the values in")
    kinds = ("fargate", "fargate-spot", "ec2", "spot")
    maker.add_argument("--kind", choices=kinds, default="fargate", help="of the machines (fargate has no GPUs)")
    maker.add_argument("--max-vcpus", type=int, default=16, help="most vCPUs at a time (default: 16)")
    maker.add_argument("--instance-types", nargs="+", default=["optimal"], help="for ec2 and spot, such as g6e.xlarge")
    maker.add_argument("--subnets", nargs="+", default=[], help="default: those of the default VPC")
    maker.add_argument("--security-groups", nargs="+", default=[], help="default: that of the default VPC")
    maker.add_argument("--image", help="the jobs' image (default: Prefect's own)")
    maker.add_argument(
        "--secret", action="append", default=[], metavar="PREFECT_API_KEY=ARN", help="more than one: again"
    )
    maker.add_argument("--bucket", help="an S3 bucket that jobs may read and write: results, and code of @aws_batch")
    maker.add_argument("--events", action="store_true", help="make an event queue, so that jobs need no polling")
    maker.add_argument("--dry-run", action="store_true", help="only say what would be done")
    maker.add_argument("--remove", action="store_true", help="take away what an earlier setup of this name made")
    cleaner = commands.add_parser("clean-up", help="take old job definitions out of use")
    cleaner.add_argument("--prefix", default="prefect", help="the pool's job definition prefix")
    cleaner.add_argument("--keep", type=int, default=20, help="how many of the newest to leave")
    return parser
