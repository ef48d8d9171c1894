"""What the end of a Batch job means: which error, what to do about it, and whether the job is worth another try."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from prefect_aws_batch.causes import PLACEMENT_REASON, PLAIN, Cause, cause_of
from prefect_aws_batch.errors import (
    BatchError,
    CannotBePlacedError,
    ConfigurationError,
    ContainerError,
    EndedOnRequestError,
    MachineLostError,
    StartError,
)
from prefect_aws_batch.states import EXIT_TEMPORARY, EXIT_TERMINATED, BatchJob

DEFAULT_RETRY_EXIT_CODES = (EXIT_TERMINATED, EXIT_TEMPORARY)
EXIT_KILLED = 137
_SIGNALS = {132: "SIGILL", 134: "SIGABRT", 135: "SIGBUS", 136: "SIGFPE", 139: "SIGSEGV"}
_COMMAND_CODES = {
    126: ("The job's command cannot be executed", "Check the command and the image's file permissions."),
    127: ("The job's command was not found in the image", "Check that Prefect is installed in the image."),
}


@dataclass(frozen=True, slots=True)
class Ending:
    """What a job's end means for its flow run."""

    state: Literal["completed", "failed", "crashed", "cancelled"]
    error: BatchError | None = None

    @property
    def try_again(self) -> bool:
        """Whether another attempt can do better."""
        return self.error is not None and self.error.retryable


def diagnose(job: BatchJob, retry_exit_codes: Collection[int] = DEFAULT_RETRY_EXIT_CODES) -> Ending:
    """Say what a job's end means; pure, by the table of causes and the exit code."""
    if job.status == "SUCCEEDED":
        return Ending("completed")
    return ending_of(_error(job, retry_exit_codes))


def ending_of(error: BatchError) -> Ending:
    """Return the ending that an error makes: crashed where the infrastructure failed, failed where the job did."""
    if isinstance(error, EndedOnRequestError):
        return Ending("cancelled", error)
    infrastructure = isinstance(error, MachineLostError | CannotBePlacedError | StartError)
    return Ending("crashed" if infrastructure else "failed", error)


def misfit(job: BatchJob) -> CannotBePlacedError | None:
    """Return the reason why a waiting job will never be placed, where Batch says so already; None otherwise.

    Batch says it too while a queue scales up from nothing, when no machine is connected yet: look again before
    believing it (:class:`~prefect_aws_batch.placement.Placement`).
    """
    cause = cause_of(job.status_reason) if job.status == "RUNNABLE" and job.status_reason else None
    if cause is None or "JOB_RESOURCE_REQUIREMENT" not in cause.pattern:
        return None
    return _placement_error(cause, job)


def not_placed(job: BatchJob, waited: float) -> CannotBePlacedError:
    """Return the error of a job that waited too long [s], with Batch's own reason where it gives one."""
    cause = cause_of(job.status_reason)
    if cause is None or cause.error is not CannotBePlacedError:
        cause = cause_of(PLACEMENT_REASON)
    assert cause is not None
    return _placement_error(cause, job, f" (it waited {waited:.0f} s)")


def _placement_error(cause: Cause, job: BatchJob, waited: str = "") -> CannotBePlacedError:
    said = f"; Batch says: {job.status_reason}" if job.status_reason else ""
    return CannotBePlacedError(f"{cause.what}{waited}{said}", where=_where(job), remedy=cause.remedy)


def _error(job: BatchJob, retry_exit_codes: Collection[int]) -> BatchError:
    where = _where(job)
    words = " | ".join(text for text in (job.status_reason, job.container_reason) if text)
    told = f": {words}" if words else ""
    if cause := cause_of(job.status_reason, job.container_reason):
        return cause.error(f"{cause.what}{told}", where=where, remedy=cause.remedy)
    code = job.exit_code
    said = not PLAIN.match(job.status_reason) or not PLAIN.match(job.container_reason)
    if said and not job.has_started:
        return StartError(
            f"The container was never started{told}",
            where=where,
            remedy="Look at the reason above; if it names nothing of yours, run it again.",
        )
    # Batch says nothing of its own when a container ends: other words are those of whoever ended it. The code is
    # then the container's answer to SIGTERM, which may be any where Batch tells that it was asked.
    asked = job.is_terminated or code in (None, 0, EXIT_KILLED, EXIT_TERMINATED)
    if asked and not PLAIN.match(job.status_reason):
        return EndedOnRequestError(
            f"Somebody ended the job outside of Prefect{told}", where=where, remedy="Ask who did; then run it again."
        )
    if code in (None, EXIT_KILLED):
        how = "no exit code" if code is None else f"exit code {code}: killed from outside the container"
        return MachineLostError(f"The container was lost ({how}){told}", where=where, remedy="Run it again.")
    if code in retry_exit_codes:
        what = "was told to stop" if code == EXIT_TERMINATED else "asks for another machine"
        return MachineLostError(f"The container {what} (exit code {code}){told}", where=where, remedy="Run it again.")
    if code in _COMMAND_CODES:
        what, remedy = _COMMAND_CODES[code]
        return ConfigurationError(f"{what} (exit code {code}){told}", where=where, remedy=remedy)
    how = f"died of {_SIGNALS[code]} (exit code {code})" if code in _SIGNALS else f"ended with exit code {code}"
    return ContainerError(f"The container {how}{told}", where=where, remedy="See the last lines of the log.")


def _where(job: BatchJob) -> str:
    return f"Batch job {job.job_id}" if job.job_id else ""
