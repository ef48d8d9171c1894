"""What a worker tells Prefect of a run's job, and how it finds the job of a run that it did not submit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from prefect_aws_batch.definitions import job_name
from prefect_aws_batch.phases import may_have_a_new_job
from prefect_aws_batch.presence import Mark
from prefect_aws_batch.reporting import read_run
from prefect_aws_batch.timeline import Timeline

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun

    from prefect_aws_batch.batch_api import BatchApi
    from prefect_aws_batch.configuration import BatchJobConfiguration
    from prefect_aws_batch.states import BatchJob


class Notes(Timeline):
    """What one run's job is told and asks as it goes."""

    def __init__(
        self, client: PrefectClient, flow_run: FlowRun, mine: Mark, started: Callable[[str], None] | None = None
    ) -> None:
        super().__init__(flow_run)
        self._client = client
        self._flow_run_id = flow_run.id
        self._mine = mine
        self._started = started

    async def submitted(self, job_id: str) -> None:
        """Note the job as the run's infrastructure; the first submission is Prefect's own business."""
        if self._started is not None:
            started, self._started = self._started, None
            started(job_id)
        else:
            await self._client.update_flow_run(self._flow_run_id, infrastructure_pid=job_id)

    async def may_go_on(self) -> bool:
        """Whether the run still wants a container of this worker: nobody ended, paused, rescheduled or adopted it."""
        run = await read_run(self._client, self._flow_run_id)
        return run is not None and may_have_a_new_job(run) and Mark.of(run).process in (None, self._mine.process)


async def last_job(
    api: BatchApi, configuration: BatchJobConfiguration, flow_run: FlowRun, job_id: str | None
) -> BatchJob | None:
    """Return the run's newest job, live or not, by its id or by the names its jobs have."""
    for known in (job_id, flow_run.infrastructure_pid):
        if known and (found := await api.describe([known])):
            return found[0]
    if not configuration.job_queue:
        return None
    flow = configuration.labels.get("prefect.io/flow-name", "flow")
    prefix = job_name(flow, flow_run.id, 0, 0).removesuffix("-1")
    named = await api.find_by_prefix(configuration.job_queue, prefix)
    return named[0] if named else None
