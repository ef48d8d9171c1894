"""Short texts that VAMS 2.6 shows with an execution: the summary, the configuration that ran, a sweep's leaderboard."""

from __future__ import annotations

from isaaclab_flows.schemas.errors import FlowsError
from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.outcome import Outcome
from isaaclab_flows.schemas.request import VamsLocations
from isaaclab_flows.tasks.storage import storage_at

MOST_RESULT_BYTES = 380 * 1024
SHOWN = frozenset(
    {"summary.json", "training-config.json", "evaluation-config.json", "leaderboard.md", "leaderboard.csv"}
)


def write_results(job: Job, outcome: Outcome, locations: VamsLocations) -> list[str]:
    """Copy the short texts among a job's published files to where VAMS shows them from, if it has such a place.

    Args:
        job: The job.
        outcome: Its files are those that were published.
        locations: Where VAMS takes results from.

    Returns:
        A sentence for each that could not be copied; none is worth a failed job.
    """
    if locations.results is None:
        return []
    problems: list[str] = []
    published, results = storage_at(job.outputs_uri), storage_at(locations.results)
    for name in sorted(SHOWN & {file.path for file in outcome.files if file.size <= MOST_RESULT_BYTES}):
        try:
            content = published.read(name)
            # VAMS fails an execution for one result that is no UTF-8.
            results.write(name, content.decode().encode())
        except (FlowsError, UnicodeDecodeError) as error:
            problems.append(f"{name} is not among VAMS's results: {error}")
    return problems
