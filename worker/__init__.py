"""A Prefect worker for AWS Batch; Prefect finds it through the entry point group ``prefect.collections``."""

from isaaclab_flows.worker.batch_worker import BatchWorker, BatchWorkerResult
from isaaclab_flows.worker.configuration import BatchJobConfiguration, BatchVariables

__all__ = ["BatchJobConfiguration", "BatchVariables", "BatchWorker", "BatchWorkerResult"]
