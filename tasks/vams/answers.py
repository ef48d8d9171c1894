"""What VAMS is answered, within Step Functions' limits: pure functions from an outcome or an error to an answer."""

from __future__ import annotations

import json
from typing import Any

from isaaclab_flows.schemas.errors import FlowsError
from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.outcome import Outcome
from isaaclab_flows.tasks.vams.records import Answer

MOST_ERROR = 256
MOST_CAUSE = 32_768
MOST_OUTPUT = 200_000
"""Bytes; Step Functions takes 262,144, and VAMS's next states add to it."""
MOST_KEPT_OUTPUT = 4_000
"""Bytes; VAMS 2.6 keeps the answers of all steps in its state."""
_MOST_EVALUATIONS = 50


def success(
    job: Job, outcome: Outcome, *, attempt: int, links: dict[str, str] | None = None, most: int = MOST_OUTPUT
) -> Answer:
    """Return the answer of a job whose outputs were checked and published.

    Args:
        job: The job.
        outcome: How it ended.
        attempt: Counts the runs of the execution.
        links: Pages to look at, by name.
        most: Its longest length [bytes].
    """
    output: dict[str, Any] = {
        "jobId": job.job_id,
        "kind": job.kind,
        "status": outcome.status,
        "task": outcome.task,
        "library": outcome.library,
        "outputs": outcome.output_uri,
        "auxiliary": job.staging_uri,
        "files": len(outcome.files),
        "seconds": round(outcome.seconds, 1),
        "gpuSeconds": round(outcome.gpu_seconds, 1),
        "estimatedCost": outcome.estimated_cost,
        "links": links or {},
        "warnings": list(outcome.warnings),
    }
    if outcome.training is not None:
        output["training"] = outcome.training.model_dump(mode="json")
    if outcome.sweep is not None:
        output["sweep"] = outcome.sweep.model_dump(mode="json")
    if outcome.evaluations:
        output["evaluations"] = [item.model_dump(mode="json") for item in outcome.evaluations[:_MOST_EVALUATIONS]]
        output["evaluationsInAll"] = len(outcome.evaluations)
    # What is longest and is in the published summary anyway goes first.
    for key in ("warnings", "evaluations", "sweep", "links"):
        if len(json.dumps(output)) > most:
            output.pop(key, None)
    return Answer(attempt=attempt, status="succeeded", output=output)


def failure(error: BaseException, *, attempt: int, secret: str) -> Answer:
    """Return the answer of a job that ended without success.

    Args:
        error: Why; of the project's tree, or any other.
        attempt: Counts the runs of the execution.
        secret: The task token, which the cause must not show even where an error quotes it.
    """
    if isinstance(error, FlowsError):
        name, sentence, details = error.kind, error.sentence, error.details
    else:
        name = "error"
        sentence = (
            f"Unexpected {type(error).__name__}: {error}. Look at the flow run's log; if it is a fault of"
            " isaaclab-flows, report it with that log."
        )
        details = ""
    cause = sentence if not details else f"{sentence}\n\n{details}"
    if len(cause) > MOST_CAUSE:
        head = sentence[: MOST_CAUSE // 2]
        # A log's last lines say most: its beginning is what is cut.
        cause = f"{head}\n\n…{details[-(MOST_CAUSE - len(head) - 3) :]}"
    if secret:
        cause = cause.replace(secret, "********")
    return Answer(
        attempt=attempt,
        status="failed",
        error=f"isaaclab.{name}"[:MOST_ERROR],
        cause=cause[:MOST_CAUSE],
        retryable=isinstance(error, FlowsError) and error.retryable,
    )
