"""A Prefect worker for AWS Batch; Prefect finds it through the entry point group ``prefect.collections``."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect_aws_batch.batch_worker import BatchWorker, BatchWorkerResult
    from prefect_aws_batch.configuration import BatchJobConfiguration, BatchVariables
    from prefect_aws_batch.decorators import aws_batch

__all__ = ["BatchJobConfiguration", "BatchVariables", "BatchWorker", "BatchWorkerResult", "aws_batch"]

_HOMES = {
    "BatchJobConfiguration": "configuration",
    "BatchVariables": "configuration",
    "BatchWorker": "batch_worker",
    "BatchWorkerResult": "batch_worker",
    "aws_batch": "decorators",
}


def __getattr__(name: str) -> Any:
    # Prefect's import takes seconds, and the program `prefect-aws-batch` needs it for some of its commands only.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
