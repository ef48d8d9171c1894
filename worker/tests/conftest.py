"""The fake Batch, and configurations, for the worker's fast tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from examples import POOL, RUN_ID
from fake_batch import FakeBatch
from prefect_aws_batch.batch_api import BatchApi
from prefect_aws_batch.configuration import BatchJobConfiguration


@pytest.fixture
def batch() -> FakeBatch:
    return FakeBatch()


@pytest.fixture
def slept() -> list[float]:
    """Seconds that the code under test asked to sleep."""
    return []


@pytest.fixture
def api(batch: FakeBatch, slept: list[float]) -> BatchApi:
    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    return BatchApi(batch, batch, sleep=sleep)


@pytest.fixture
def configure() -> Callable[..., BatchJobConfiguration]:
    def make(**fields: Any) -> BatchJobConfiguration:
        defaults: dict[str, Any] = {
            "job_queue": "gpu",
            "image": "trainer:1",
            "env": {"PREFECT_API_URL": "http://prefect/api", "PREFECT__FLOW_RUN_ID": str(RUN_ID)},
            "labels": {
                "prefect.io/flow-run-id": str(RUN_ID),
                "prefect.io/work-pool-name": POOL,
                "prefect.io/worker-name": "w1",
                "prefect.io/flow-name": "train",
            },
            "poll_interval": 0.2,
        }
        return BatchJobConfiguration(**(defaults | fields))

    return make


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
