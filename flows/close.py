"""close: check the outputs, publish them, and only then say that it went well."""

from __future__ import annotations

from prefect import flow, get_run_logger

from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.outcome import Outcome
from isaaclab_flows.schemas.request import VamsLocations
from isaaclab_flows.tasks.job.folder import folder_of
from isaaclab_flows.tasks.results.publish import point_latest, publish
from isaaclab_flows.tasks.results.tree import require
from isaaclab_flows.tasks.show.artifacts import show_outputs
from isaaclab_flows.tasks.vams.limits import MOST_KEYS, MOST_RECORDED, RESERVED_KEYS, best_checkpoint, select
from isaaclab_flows.tasks.vams.metadata import write_metadata
from isaaclab_flows.tasks.vams.previews import write_previews
from isaaclab_flows.tasks.vams.results import write_results


@flow(name="close", flow_run_name="close {job.job_id}")
def close(
    job: Job, outcome: Outcome, vams: VamsLocations | None = None, asset_uri: str | None = None, flow_run_url: str = ""
) -> Outcome:
    """Publish the checked outputs in one pass; for VAMS within its limits, with previews and metadata.

    Args:
        job: The job.
        outcome: How execute ended.
        vams: Where VAMS takes results from.
        asset_uri: The asset's root, where it is known.
        flow_run_url: The flow run's page.

    Raises:
        OutputsMissingError: What makes a success is not there.
        StorageError: Outputs could not be copied.
    """
    logger = get_run_logger()
    require(job, outcome.files)
    target = job.outputs_uri
    outcome = outcome.model_copy(update={"output_uri": target})
    staged = outcome.files
    if vams is not None:
        most = MOST_RECORDED if vams.paged else MOST_KEYS
        selection = select(outcome.files, best=best_checkpoint(outcome), most=most - RESERVED_KEYS)
        if selection.warning:
            logger.warning(selection.warning)
            outcome = outcome.model_copy(update={"warnings": (*outcome.warnings, selection.warning)})
        outcome = outcome.model_copy(update={"files": selection.kept})
    publish(job.staging_uri, target, outcome.files, scratch=folder_of(job).path)
    point_latest(job)
    if vams is not None:
        for problem in write_previews(job, outcome, vams, staged=staged):
            logger.warning(problem)
        for problem in write_results(job, outcome, vams):
            logger.warning(problem)
        write_metadata(job, outcome, vams, asset_uri=asset_uri, flow_run_url=flow_run_url)
    logger.info("Published %d files to %s", len(outcome.files), target)
    show_outputs(job, outcome, logger)
    return outcome
