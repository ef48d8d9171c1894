"""here: one request in this process, with an embedded Prefect server where no other is named."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from isaaclab_flows.schemas.job import NAME_LABEL
from isaaclab_flows.schemas.settings import settings

if TYPE_CHECKING:
    from isaaclab_flows.schemas.job import Job
    from isaaclab_flows.schemas.outcome import Outcome
    from isaaclab_flows.schemas.request import Request
    from isaaclab_flows.tasks.simulator.start import Early


def prepare_prefect(*, verbose: bool) -> None:
    """Set Prefect's defaults for a run from a terminal or a script; must come before Prefect is imported.

    Its server gets all log lines, the terminal only our own display. The embedded server may take longer to start than
    Prefect's 20 s where the cores are busy, as they are when the simulator imports at the same time.
    """
    if not verbose:
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")


def run_here(request: Request, job: Job, *, tags: Sequence[str] = ()) -> Outcome:
    """Run a request to its end, and let its simulator work while Prefect's server starts.

    Args:
        request: What was asked for; kept in the job's folder, from where the job can go on.
        job: The same, resolved.
        tags: Of the flow run.

    Raises:
        InfrastructureLostError: The Prefect server that the settings name does not answer; nothing was started.
        FlowsError: It failed; what was saved has been published.
        KeyboardInterrupt: It was stopped by Ctrl-C; the same holds.
    """
    from isaaclab_flows.tasks.job.folder import folder_of
    from isaaclab_flows.tasks.prefect_jobs import require_server, server_url
    from isaaclab_flows.tasks.request.document import write_request

    url = server_url()
    if url is not None:
        require_server(url)
    document = str(folder_of(job).path / "request.json")
    labels = request.labels | {NAME_LABEL: job.config.name}
    write_request(request.model_copy(update={"labels": labels}), document)
    with _simulator_started_early(job) as early:
        return _pipeline(document, early, tags)


@contextlib.contextmanager
def _simulator_started_early(job: Job) -> Iterator[Early | None]:
    """Let the simulator work while Prefect's server starts, where the work is done on this machine."""
    from isaaclab_flows.tasks.job.folder import folder_of
    from isaaclab_flows.tasks.simulator.machine import require_simulator
    from isaaclab_flows.tasks.simulator.start import started_early

    finished = folder_of(job).load_outcome()
    done = finished is not None and finished.status == "succeeded" and not job.again
    if settings().execute_deployment is not None or done:
        yield None
        return
    require_simulator()
    folder = folder_of(job)

    def keep(failure: BaseException, started: float, warnings: Sequence[str]) -> None:
        from isaaclab_flows.tasks.results.conclude import keep_abandoned

        keep_abandoned(job, folder, failure=failure, started=started, warnings=warnings)

    with started_early(job, folder, abandoned=keep) as early:
        yield early


def _pipeline(document: str, early: Early | None, tags: Sequence[str]) -> Outcome:
    from prefect import tags as tagged
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from isaaclab_flows.flows.pipeline import pipeline_with
    from isaaclab_flows.flows.prefect_server import start_own_server

    # The end of a flow waits up to a second for its heartbeat, which nobody hears where the server is our own.
    lonely = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None} if PREFECT_API_URL.value() is None else {}
    with temporary_settings(lonely), tagged(*tags):
        start_own_server()
        return pipeline_with(early)(document)
