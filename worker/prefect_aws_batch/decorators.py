"""Binds a flow to AWS Batch, without a deployment: its code travels as a bundle through the work pool's storage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from prefect import Flow
from prefect.flows import InfrastructureBoundFlow, bind_flow_to_infrastructure

from prefect_aws_batch.batch_worker import BatchWorker

P = ParamSpec("P")
R = TypeVar("R")


def aws_batch(
    work_pool: str,
    include_files: Sequence[str] | None = None,
    *,
    include_files_base_dir: Path | str | None = None,
    **job_variables: Any,
) -> Callable[[Flow[P, R]], InfrastructureBoundFlow[P, R]]:
    """Return a decorator that makes a flow run as a Batch job when it is called.

    The pool needs a storage for bundles: ``prefect work-pool storage configure s3 POOL --bucket …``. Its image needs
    Prefect and prefect-aws, and its job role the right to read the bucket.

    Args:
        work_pool: Name of a work pool of type aws-batch.
        include_files: Patterns of files beside the flow's own that travel with it.
        include_files_base_dir: Where those patterns begin; by default the flow's folder.
        **job_variables: Values of the pool's form for this flow, e.g. ``memory=8_000``.
    """

    def bind(flow: Flow[P, R]) -> InfrastructureBoundFlow[P, R]:
        return bind_flow_to_infrastructure(
            flow,
            work_pool=work_pool,
            job_variables=job_variables,
            worker_cls=BatchWorker,
            include_files=list(include_files) if include_files is not None else None,
            include_files_base_dir=include_files_base_dir,
        )

    return bind
