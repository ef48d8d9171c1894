"""A Prefect worker for AWS Batch; Prefect finds it through the entry point group ``prefect.collections``."""

from worker.batch_worker import BatchWorker, BatchWorkerResult
from worker.configuration import BatchJobConfiguration, BatchVariables

__all__ = ["BatchJobConfiguration", "BatchVariables", "BatchWorker", "BatchWorkerResult"]
