"""One AWS account and region, as the worker uses it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Self

from prefect_aws_batch.batch_api import BatchApi
from prefect_aws_batch.poller import Poller
from prefect_aws_batch.registrar import Registrar


@dataclass(frozen=True)
class Aws:
    """What the runs of one account and region share."""

    api: BatchApi
    poller: Poller
    registrar: Registrar
    draining: set[asyncio.Task[None]] = field(default_factory=set)
    """Logs of ended jobs that are being read to their end."""

    @classmethod
    def of(cls, api: BatchApi, logger: Any = None) -> Self:
        """Put together what shares an API."""
        on_error = (lambda error: logger.warning("Batch could not be asked: %s", error)) if logger else None
        return cls(api, Poller(api.describe, on_error=on_error), Registrar(api))
