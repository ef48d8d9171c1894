"""The jobs of a Prefect server, as a list shows them, and what people do with one: cancel, retry, read its log."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from isaaclab_flows.schemas.errors import ConfigError, InfrastructureLostError
from isaaclab_flows.schemas.job_view import JobState, JobView

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State

FLOWS = {"train": "training", "evaluate": "evaluation", "pipeline": "request", "evaluation-sweep": "sweep"}
"""The flows that people and VAMS start, and what kind of job each one is."""
_SERVER_REMEDY = (
    "Check the address (PREFECT_API_URL, or --api-url) and that it ends in /api; unset PREFECT_API_URL to work without"
    " a server; `isaaclab-flows up` starts one here."
)


def server_url() -> str | None:
    """Return the API's address of the Prefect server that the settings name; None where none is named.

    Prefect takes two seconds to import: where neither the environment nor a profile says anything, it is not asked.
    """
    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    if "PREFECT_API_URL" not in os.environ and not (home / "profiles.toml").is_file():
        return None
    from prefect.settings import PREFECT_API_URL

    url: str | None = PREFECT_API_URL.value()
    return url


def require_server(url: str) -> None:
    """Check that a Prefect server answers, before anything is asked of it.

    Args:
        url: Its API, ending in /api.

    Raises:
        InfrastructureLostError: It does not answer, or what answers is no Prefect server.
    """
    import httpx

    try:
        # Its health page needs no credential; a server that asks for one all the same has answered.
        answer = httpx.get(f"{url.rstrip('/')}/health", timeout=10.0)
        found = answer.status_code in (200, 401, 403)
        why = f"it answers {answer.status_code} to /health"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        found, why = False, str(error)
    if not found:
        raise InfrastructureLostError(f"The Prefect server does not answer: {why}", where=url, remedy=_SERVER_REMEDY)


def server_jobs(*, limit: int) -> list[JobView]:
    """Return the newest jobs of the server that PREFECT_API_URL names; none where it names none.

    Raises:
        InfrastructureLostError: The server does not answer.
    """
    if server_url() is None:
        return []
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName
    from prefect.client.schemas.sorting import FlowRunSort

    with _client() as client:
        chosen = FlowFilter(name=FlowFilterName(any_=list(FLOWS)))
        runs = client.read_flow_runs(flow_filter=chosen, sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=limit)
        kinds = {flow.id: FLOWS[flow.name] for flow in client.read_flows(flow_filter=chosen)}
        return [_view(client, run, kinds.get(run.flow_id, "")) for run in runs]


def merged(here: list[JobView], there: list[JobView]) -> list[JobView]:
    """Return jobs of this machine and of a server as one list, the newest first.

    A job that both know is shown as its folder tells it, which knows more, with the server's page.
    """
    runs = {view.flow_run_id: view for view in there}
    known = [
        view.model_copy(update={"page": runs[view.flow_run_id].page}) if view.flow_run_id in runs else view
        for view in here
    ]
    seen = {view.flow_run_id for view in here}
    others = [view for view in there if view.flow_run_id not in seen]
    return sorted([*known, *others], key=lambda view: view.started_at or time.time(), reverse=True)


def cancel_run(run_id: str, *, who: str) -> None:
    """Ask for a run's end; what it has saved is published.

    Args:
        run_id: The flow run.
        who: Named in its state's message.
    """
    from prefect.states import Cancelling

    with _client() as client:
        client.set_flow_run_state(UUID(run_id), Cancelling(message=f"Cancelled by {who} with `isaaclab-flows jobs`"))


def retry_run(run_id: str) -> None:
    """Run a flow run again, as Retry in the UI does: the job goes on from its newest checkpoint.

    Raises:
        ConfigError: It has not ended, or no deployment would run it.
    """
    from prefect.states import AwaitingRetry

    with _client() as client:
        run = client.read_flow_run(UUID(run_id))
        if run.state is None or not run.state.is_final():
            raise ConfigError(f"'{run.name}' has not ended", where=run_id, remedy="Cancel it first, or let it work.")
        if run.deployment_id is None:
            raise ConfigError(
                f"'{run.name}' was not started through a deployment, so no worker would run it",
                where=run_id,
                remedy="Start it where it was started.",
            )
        client.set_flow_run_state(run.id, AwaitingRetry(message="Retried with `isaaclab-flows jobs`"), force=True)


def log_lines(run_id: str, *, follow: bool, every: float = 2.0) -> Iterator[str]:
    """Yield the lines of a run's log, oldest first; its subflows' lines are among them.

    Args:
        run_id: The flow run.
        follow: Go on until the run has ended.
        every: Seconds from one look to the next.
    """
    from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
    from prefect.client.schemas.sorting import LogSort

    with _client() as client:
        read = 0
        while True:
            ended = _ended(client, run_id)
            below = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[UUID(i) for i in _family(client, run_id)]))
            while logs := client.read_logs(below, limit=200, offset=read, sort=LogSort.TIMESTAMP_ASC):
                read += len(logs)
                for line in logs:
                    yield f"{line.timestamp:%H:%M:%S} {line.message}"
            if ended or not follow:
                return
            time.sleep(every)


def _family(client: SyncPrefectClient, run_id: str) -> list[str]:
    """Return a run and the runs below it."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId

    below = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[UUID(run_id)]))
    return [run_id, *(str(run.id) for run in client.read_flow_runs(flow_run_filter=below, limit=200))]


def _ended(client: SyncPrefectClient, run_id: str) -> bool:
    state = client.read_flow_run(UUID(run_id)).state
    return state is not None and state.is_final()


def _client() -> Any:
    """Return the server's client as a context; a server that does not answer is an error of ours."""
    import contextlib

    import httpx
    from prefect.client.orchestration import get_client

    @contextlib.contextmanager
    def answering() -> Iterator[SyncPrefectClient]:
        try:
            with get_client(sync_client=True) as client:
                yield client
        except httpx.TransportError as error:
            raise InfrastructureLostError(
                f"The Prefect server does not answer: {error}", where=server_url() or "", remedy=_SERVER_REMEDY
            ) from None

    return answering()


def _view(client: SyncPrefectClient, run: FlowRun, kind: str) -> JobView:
    parameters = run.parameters or {}
    state = state_of(run.state)
    done = _percent(client, run) if state == "running" else None
    started = run.start_time or run.expected_start_time
    return JobView(
        job_id=str((parameters.get("places") or {}).get("job_id") or run.id),
        name=run.name,
        kind=kind,
        task=str(parameters.get("task") or ""),
        library=str(parameters.get("library") or ""),
        state=state,
        iteration=None if done is None else round(done),
        total=None if done is None else 100,
        started_at=started.timestamp() if started else None,
        seconds=run.estimated_run_time.total_seconds(),
        machine=run.work_pool_name or "",
        recoveries=max(0, (run.run_count or 1) - 1),
        page=client_page(run),
        flow_run_id=str(run.id),
        message=((run.state.message if run.state else "") or "") if state in ("failed", "cancelled") else "",
    )


def client_page(run: FlowRun) -> str:
    """Return the address of a run's page in the UI, as far as the settings tell it."""
    from prefect.utilities.urls import url_for

    return url_for(run) or ""


def state_of(state: State | None) -> JobState:
    """Return a Prefect state in the words of a list of jobs."""
    if state is None or state.is_scheduled() or state.is_pending():
        return "waiting"
    if state.is_completed():
        return "succeeded"
    if state.is_cancelled() or state.is_cancelling():
        return "cancelled"
    if state.is_failed() or state.is_crashed():
        return "failed"
    return "running"


def _percent(client: SyncPrefectClient, run: FlowRun) -> float | None:
    """Return how far a run is, as its progress artifact says it."""
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterType

    below = ArtifactFilter(
        flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]), type=ArtifactFilterType(any_=["progress"])
    )
    found = client.read_artifacts(artifact_filter=below, limit=1)
    data = found[0].data if found else None
    return float(data) if isinstance(data, int | float) else None
