"""What the end of a Batch job means: which error, what to do about it, and whether the job is worth another try."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from prefect_aws_batch.errors import (
    BatchError,
    CannotBePlacedError,
    ConfigurationError,
    ContainerError,
    EndedOnRequestError,
    ImageError,
    MachineLostError,
    OutOfMemoryError,
    TimeLimitError,
)
from prefect_aws_batch.states import EXIT_TEMPORARY, EXIT_TERMINATED, BatchJob

CANCEL_REASON = "Cancelled in Prefect"
PLACEMENT_REASON = "Not placed in time by Prefect"
CHILD_NODE_REASON = "Child node lost"
"""How the worker's own terminations begin; Batch hands the reason back as the job's statusReason."""


@dataclass(frozen=True, slots=True)
class Cause:
    """One row of the table: a pattern of Batch's or ECS's words, and what they mean."""

    pattern: str
    """Regular expression, matched anywhere in `statusReason | container reason`, case ignored."""
    error: type[BatchError]
    what: str
    remedy: str


# In order; the first match decides. The words are those of Batch, ECS and Docker.
CAUSES: tuple[Cause, ...] = (
    Cause(
        rf"^{CANCEL_REASON}",
        EndedOnRequestError,
        "The run was cancelled and its job ended",
        "Run it again if that was a mistake.",
    ),
    Cause(
        rf"^{CHILD_NODE_REASON}.*(Host EC2|Spot)",
        MachineLostError,
        "A node of the job was taken away",
        "It is tried again.",
    ),
    Cause(
        rf"^{CHILD_NODE_REASON}",
        ContainerError,
        "A node of the job died, and the others with it",
        "See that node's log stream.",
    ),
    Cause(
        r"MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT|resource requirement.*(higher|exceed)",
        CannotBePlacedError,
        "The job asks for more than any machine of its queue has",
        "Lower vCPUs, memory or GPUs, or give the queue a compute environment with larger instances.",
    ),
    Cause(
        r"MISCONFIGURATION|CLIENT_ERROR|INVALID",
        CannotBePlacedError,
        "The job's queue or compute environment is set up so that nothing can be placed",
        "Mend the compute environment (its roles, subnets, limits, state): see its status in the Batch console.",
    ),
    Cause(
        rf"CAPACITY|InsufficientInstanceCapacity|MAX_?VCPU|^{PLACEMENT_REASON}",
        CannotBePlacedError,
        "No machine could be had in time",
        "Allow more instance types or zones, raise the environment's vCPU limit, or raise the placement timeout.",
    ),
    Cause(
        r"Host EC2|Spot (Instance )?(interruption|termination)|instance-terminated",
        MachineLostError,
        "The machine was taken away (Spot reclaim or host failure)",
        "Run it again; raise 'attempts', or use On-Demand machines.",
    ),
    Cause(
        r"OutOfMemory|out of memory|OOM",
        OutOfMemoryError,
        "The container used more than its memory",
        "Raise the job's memory.",
    ),
    Cause(
        r"CannotPullContainer.*(timeout|timed out|toomanyrequests|TLS handshake|connection re|unavailable|EOF)",
        MachineLostError,
        "The registry did not hand out the image in time",
        "Run it again; if it repeats, look at the route from the machine's subnet to the registry.",
    ),
    Cause(
        r"CannotPullContainer|manifest .*not found|pull access denied|No such image",
        ImageError,
        "The image cannot be pulled",
        "Check the image's name and tag, the execution role's right to pull it, and the route to the registry.",
    ),
    Cause(
        r"ResourceInitializationError.*(secret|ssm)|unable to (pull|retrieve) secret",
        ConfigurationError,
        "A secret of the job cannot be read",
        "Check its ARN in 'secrets' and the execution role's right to read it.",
    ),
    Cause(
        r"ResourceInitializationError.*(EFS|mount|volume)|failed to invoke EFS|mount\.nfs|mount\.efs",
        ImageError,
        "The EFS file system cannot be mounted",
        "Check the file system, its access point, the mount target in the machine's zone, and port 2049.",
    ),
    Cause(
        r"DockerTimeoutError|CannotInspectContainer|CannotCreateContainer.*timeout|Agent (error|disconnected)"
        r"|TaskFailedToStart|internal error",
        MachineLostError,
        "The machine's agent could not start the container",
        "Run it again; if it repeats, look at the machine's image and disk.",
    ),
    Cause(
        r"CannotStartContainer|CannotCreateContainer|executable file not found|exec format error",
        ConfigurationError,
        "The container cannot be started",
        "Check the image's entry point, its architecture, and the job's command, volumes and GPUs.",
    ),
    Cause(
        r"attempt duration exceeded timeout|exceeded the configured attemptDurationSeconds",
        TimeLimitError,
        "The job ran into its timeout",
        "Raise 'timeout_seconds', or ask for less in one job.",
    ),
    Cause(
        r"definition .*(inactive|does not exist|deregistered)",
        ConfigurationError,
        "The job's definition is gone",
        "Run it again: the worker registers its definitions anew.",
    ),
)

_SIGNALS = {132: "SIGILL", 134: "SIGABRT", 135: "SIGBUS", 136: "SIGFPE", 139: "SIGSEGV"}
_COMMAND_CODES = {
    126: ("The job's command cannot be executed", "Check the command and the image's file permissions."),
    127: ("The job's command was not found in the image", "Check that Prefect is installed in the image."),
}
_PLAIN_REASONS = re.compile(r"^(Essential container in task exited|Task stopped)?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Ending:
    """What a job's end means for its flow run."""

    state: Literal["completed", "failed", "crashed", "cancelled"]
    error: BatchError | None = None

    @property
    def try_again(self) -> bool:
        """Whether another attempt can do better."""
        return self.error is not None and self.error.retryable


def diagnose(job: BatchJob) -> Ending:
    """Say what a job's end means; pure, by the table above and the exit code."""
    if job.status == "SUCCEEDED":
        return Ending("completed")
    return ending_of(_error(job))


def ending_of(error: BatchError) -> Ending:
    """Return the ending that an error makes: crashed where the infrastructure failed, failed where the job did."""
    if isinstance(error, EndedOnRequestError):
        return Ending("cancelled", error)
    infrastructure = isinstance(error, MachineLostError | CannotBePlacedError)
    return Ending("crashed" if infrastructure else "failed", error)


def cause_of(words: str) -> Cause | None:
    """Return the row of the table that Batch's words belong to, or None."""
    return next((cause for cause in CAUSES if re.search(cause.pattern, words, re.IGNORECASE | re.DOTALL)), None)


def misfit(job: BatchJob) -> CannotBePlacedError | None:
    """Return the reason why a waiting job will never be placed, where Batch says so already; None otherwise."""
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


def _error(job: BatchJob) -> BatchError:
    words = " | ".join(text for text in (job.status_reason, job.container_reason) if text)
    where = _where(job)
    if cause := cause_of(words):
        return cause.error(f"{cause.what}: {words}", where=where, remedy=cause.remedy)
    code = job.exit_code
    plain = bool(_PLAIN_REASONS.match(job.status_reason))
    if not plain and code in (None, 137, EXIT_TERMINATED):
        return EndedOnRequestError(
            f"The job was terminated from outside Prefect: {job.status_reason}",
            where=where,
            remedy="Ask who did.",
        )
    if code in (None, 137, EXIT_TERMINATED):
        how = "no exit code" if code is None else f"exit code {code}: killed from outside the container"
        return MachineLostError(
            f"The container was lost ({how})",
            where=where,
            remedy="Run it again.",
        )
    if code == EXIT_TEMPORARY:
        return MachineLostError(
            f"The container found its machine unfit (exit code {code})",
            where=where,
            remedy="Run it again: elsewhere it may go.",
        )
    if code in _COMMAND_CODES:
        what, remedy = _COMMAND_CODES[code]
        return ConfigurationError(f"{what} (exit code {code})", where=where, remedy=remedy)
    if code in _SIGNALS:
        return ContainerError(
            f"The container's process died of {_SIGNALS[code]} (exit code {code})",
            where=where,
            remedy="See the last lines of the log; driver and image may not fit each other.",
        )
    return ContainerError(
        f"The container ended with exit code {code}", where=where, remedy="See the last lines of the log."
    )


def _where(job: BatchJob) -> str:
    return f"Batch job {job.job_id}"
