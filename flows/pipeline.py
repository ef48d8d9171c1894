"""pipeline: what a request document says becomes one run of this flow; it alone knows jobs and sweeps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from prefect import flow

from isaaclab_flows.flows.orchestrate import Opened, one_job, orchestrate
from isaaclab_flows.flows.requested_sweep import one_sweep
from isaaclab_flows.schemas.outcome import Outcome
from isaaclab_flows.schemas.request import Request
from isaaclab_flows.tasks.request.document import read_request
from isaaclab_flows.tasks.request.forms import document_run_name
from isaaclab_flows.tasks.request.sweep import is_sweep_request
from isaaclab_flows.tasks.simulator.start import Early


@flow(name="pipeline", flow_run_name=document_run_name)
def pipeline(request_uri: str) -> Outcome:
    """Train or evaluate as a request document says.

    Args:
        request_uri: Path or s3:// URI of the request document.
    """
    return orchestrate(read_request(request_uri), _job_or_sweep)


def pipeline_with(early: Early | None) -> Callable[[str], Outcome]:
    """Return `pipeline` for a program that already holds the folder of the job that it asks for."""
    if early is None:
        return pipeline

    @flow(name=pipeline.name, flow_run_name=pipeline.flow_run_name, description=pipeline.description)
    def pipeline_early(request_uri: str) -> Outcome:
        return orchestrate(read_request(request_uri), partial(one_job, early=early))

    return pipeline_early


def _job_or_sweep(request: Request, flow_run_url: str) -> Opened:
    return (one_sweep if is_sweep_request(request) else one_job)(request, flow_run_url)
