"""A Prefect worker for AWS Batch; Prefect finds it through the entry point group ``prefect.collections``."""

from prefect_aws_batch.batch_worker import BatchWorker, BatchWorkerResult
from prefect_aws_batch.configuration import BatchJobConfiguration, BatchVariables

__all__ = ["BatchJobConfiguration", "BatchVariables", "BatchWorker", "BatchWorkerResult"]
