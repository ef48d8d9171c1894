"""The program ``prefect-aws-batch``: what operators ask of the worker outside of Prefect."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from prefect_aws.credentials import AwsCredentials

from prefect_aws_batch.batch_api import BatchApi
from prefect_aws_batch.registrar import Registrar


async def clean_up(api: BatchApi, prefix: str, keep: int) -> int:
    """Deregister the job definitions that are superseded or unused, say which, and return how many."""
    gone = await Registrar(api).clean_up(prefix, keep=keep)
    for arn in gone:
        sys.stdout.write(f"deregistered {arn}\n")
    return len(gone)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line, with boto3's own credentials."""
    given = _parser().parse_args(arguments)
    asyncio.run(clean_up(BatchApi.connect(AwsCredentials()), given.prefix, given.keep))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="prefect-aws-batch", description="Tools of the Prefect worker for AWS Batch.")
    commands = parser.add_subparsers(dest="command", required=True)
    cleaner = commands.add_parser("clean-up", help="take old job definitions out of use")
    cleaner.add_argument("--prefix", default="prefect", help="the pool's job definition prefix")
    cleaner.add_argument("--keep", type=int, default=20, help="how many of the newest to leave")
    return parser
