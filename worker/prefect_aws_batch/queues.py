"""Which queues a pool's jobs may be in: those of its runs, its deployments, its form, and all that were ever met."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from botocore.exceptions import ClientError
from prefect.client.schemas.filters import WorkPoolFilter, WorkPoolFilterName

from prefect_aws_batch.batch_api import error_code
from prefect_aws_batch.configuration import BatchJobConfiguration

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

    from prefect_aws_batch.aws import Aws

_PAGE = 200
_DEPLOYMENTS_EVERY = 20
"""Sweeps from one look at the pool's deployments, and the account's queues, to the next."""


class Connects(Protocol):
    """Who connects to AWS as a configuration says."""

    def aws_for(self, configuration: BatchJobConfiguration) -> Aws:
        """Return the connection."""


class Queues:
    """Remembers every queue that a run of the pool was, or may be, sent to.

    A job outlives its run's record and its deployment, so a queue that was met once is swept from then on. Where the
    pool's form does not name its other queues, all queues of the account are looked through.
    """

    def __init__(self, host: Connects, pool: str, logger: Any) -> None:
        self._host = host
        self._pool = pool
        self._logger = logger
        self._known: dict[str, Aws] = {}
        self._sweeps = 0
        self._may_list = True

    def note(self, configuration: BatchJobConfiguration) -> None:
        """Remember a configuration's queues."""
        for queue in (configuration.job_queue, *(configuration.other_queues or ())):
            if queue and _name(queue) not in self._known:
                self._known[_name(queue)] = self._host.aws_for(configuration)

    async def to_sweep(
        self, client: PrefectClient, of_pool: BatchJobConfiguration, of_runs: Iterable[BatchJobConfiguration]
    ) -> dict[str, Aws]:
        """Return the names of all queues to sweep, each with its connection."""
        for configuration in (of_pool, *of_runs):
            self.note(configuration)
        if self._sweeps % _DEPLOYMENTS_EVERY == 0:
            await self._note_deployments(client, of_pool)
            if of_pool.other_queues is None:
                await self._note_account(of_pool)
        self._sweeps += 1
        return dict(self._known)

    async def _note_deployments(self, client: PrefectClient, of_pool: BatchJobConfiguration) -> None:
        offset = 0
        mine = WorkPoolFilter(name=WorkPoolFilterName(any_=[self._pool]))
        while True:
            page = await client.read_deployments(work_pool_filter=mine, limit=_PAGE, offset=offset)
            for deployment in page:
                queue = (deployment.job_variables or {}).get("job_queue")
                if isinstance(queue, str):
                    self.note(of_pool.model_copy(update={"job_queue": queue}))
            offset += len(page)
            if len(page) < _PAGE:
                return

    async def _note_account(self, of_pool: BatchJobConfiguration) -> None:
        if not self._may_list:
            return
        try:
            names = await self._host.aws_for(of_pool).api.queue_names()
        except ClientError as error:
            self._may_list = False
            self._logger.warning(
                "The account's queues cannot be listed (%s): jobs in queues that no run or deployment of the pool "
                "names are not found. Name them in the pool's 'other_queues', or allow batch:DescribeJobQueues.",
                error_code(error),
            )
            return
        for name in names:
            self.note(of_pool.model_copy(update={"job_queue": name}))


def _name(queue: str) -> str:
    """Return a queue's name, which its ARN ends with: one queue is swept once."""
    return queue.rpartition("/")[2]
