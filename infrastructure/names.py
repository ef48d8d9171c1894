"""Names that people and code see. Everything else is named by CloudFormation, prefixed with the stack's name.

Every function stays within AWS's limit for the longest deployment name (24) and region (14, ``ap-southeast-1``).
"""

from __future__ import annotations

from infrastructure.config import Config

EFS_MOUNT = "/mnt/efs"
REQUESTS_PREFIX = "requests/"
METRIC_NAMESPACE = "isaaclab-flows"
TAG = "isaaclab-flows:deployment"


def bucket(config: Config, purpose: str) -> str:
    """Return a bucket's name (63 characters at most), unique by account and region."""
    return f"{config.name}-{purpose}-{config.account}-{config.region}"


def bridge(config: Config) -> str:
    """Return the Lambda's name (64): VAMS may invoke only functions with its own name in theirs, 2.6 also `vams-…`."""
    if config.vams.version == "2.5":
        return f"{config.name}-{config.vams.name}-bridge"
    return f"vams-{config.name}-{config.vams.name}-bridge"


def queue(config: Config, gpus: int, purpose: str) -> str:
    """Return a job queue's name (128)."""
    return f"{config.name}-gpu{gpus}-{purpose}"


def log_group(config: Config, purpose: str) -> str:
    """Return a log group's name (512)."""
    if purpose == "jobs" and config.vams.version != "2.5":
        # What VAMS 2.6 may read, to show it with an execution.
        return f"/aws/vendedlogs/Pipelines/{config.name}-jobs"
    return f"/isaaclab-flows/{config.name}/{purpose}"


def load_balancer(config: Config) -> str:
    """Return the load balancer's name (32)."""
    return f"{config.name}-prefect"


def job_definitions(config: Config) -> str:
    """Return the prefix of the job definitions that the Batch worker registers."""
    return f"{config.name}-"


def registration(config: Config, kind: str) -> str:
    """Return a pipeline's and workflow's id in VAMS (4 to 63 characters)."""
    return f"{config.vams.id_prefix or f'{config.name}-flows'}-{kind}"
