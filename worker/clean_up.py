"""Takes old job definitions out of use: ``python -m isaaclab_flows.worker.clean_up [--prefix prefect] [--keep 20]``."""

from __future__ import annotations

import argparse
import asyncio
import sys

from prefect_aws.credentials import AwsCredentials

from isaaclab_flows.worker.batch_api import BatchApi
from isaaclab_flows.worker.registrar import Registrar


async def clean_up(api: BatchApi, prefix: str, keep: int) -> int:
    """Deregister what is superseded or unused, say what, and return how many."""
    gone = await Registrar(api).clean_up(prefix, keep=keep)
    for arn in gone:
        sys.stdout.write(f"deregistered {arn}\n")
    return len(gone)


def main() -> None:
    """Run from the command line, with boto3's own credentials."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prefix", default="prefect", help="the pool's job definition prefix")
    parser.add_argument("--keep", type=int, default=20, help="how many of the newest to leave")
    given = parser.parse_args()
    asyncio.run(clean_up(BatchApi.connect(AwsCredentials()), given.prefix, given.keep))


if __name__ == "__main__":
    main()
