"""The words in which Batch, ECS and Docker say how a job ended, and what they mean: a table, no code.

Each pattern begins where a text begins, so that a word in somebody's sentence decides nothing:
"make room for the demo" is not about memory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from prefect_aws_batch.errors import (
    BatchError,
    CannotBePlacedError,
    ConfigurationError,
    ContainerError,
    EndedOnRequestError,
    ImageError,
    MachineLostError,
    OutOfMemoryError,
    StartError,
    TimeLimitError,
)

CANCEL_REASON = "Cancelled in Prefect"
PLACEMENT_REASON = "Not placed in time by Prefect"
CHILD_NODE_REASON = "Child node lost"
"""How the worker's own terminations begin; Batch hands the reason back as the job's statusReason."""


@dataclass(frozen=True, slots=True)
class Cause:
    """One row of the table: a pattern of Batch's or ECS's words, and what they mean."""

    pattern: str
    """Regular expression, matched at the beginning of the status reason or of the container's reason, case ignored."""
    error: type[BatchError]
    what: str
    remedy: str


_PULL = r"CannotPull(ECR)?Container(Error)?\b"
_HICCUP = (
    r"context (canceled|deadline exceeded)|\b(429|500|502|503|504)\b|toomanyrequests|too many requests|rate exceeded"
    r"|timeout|timed out|TLS handshake|connection re(set|fused)|unavailable|\bEOF\b|i/o error|server misbehaving"
    r"|throttl"
)
_SECRETS = r"ResourceInitializationError.*(secret|ssm|parameter)"

# In order; the first match decides.
CAUSES: tuple[Cause, ...] = (
    Cause(CANCEL_REASON, EndedOnRequestError, "The run was cancelled and its job ended", "Run it again if needed."),
    Cause(
        rf"{CHILD_NODE_REASON}.*(Host EC2|Spot)", MachineLostError, "A node of the job was taken away", "Run it again."
    ),
    Cause(CHILD_NODE_REASON, ContainerError, "A node of the job died, and the others with it", "See that node's log."),
    Cause(
        r"MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT",
        CannotBePlacedError,
        "The job asks for more than any machine of its queue has",
        "Lower vCPUs, memory or GPUs, or give the queue a compute environment with larger instances.",
    ),
    Cause(
        r"(?-i:MISCONFIGURATION:|CLIENT_ERROR\b|INVALID\b)",
        CannotBePlacedError,
        "The job's queue or compute environment is set up so that nothing can be placed",
        "Mend the compute environment (its roles, subnets, limits, state): see its status in the Batch console.",
    ),
    Cause(
        rf"CAPACITY:|InsufficientInstanceCapacity\b|MAX_?VCPU|{PLACEMENT_REASON}",
        CannotBePlacedError,
        "No machine could be had in time",
        "Allow more instance types or zones, raise the environment's vCPU limit, or raise the placement timeout.",
    ),
    Cause(
        r"Host EC2\b|Spot (Instance )?(interruption|termination)|Your Spot Task was interrupted|instance-terminated",
        MachineLostError,
        "The machine was taken away (Spot reclaim or host failure)",
        "Run it again; raise 'attempts', or use On-Demand machines.",
    ),
    Cause(
        r"(Job )?attempt duration exceeded timeout|exceeded the configured attemptDurationSeconds",
        TimeLimitError,
        "The job ran into its timeout",
        "Raise 'timeout_seconds', or ask for less in one job.",
    ),
    Cause(
        r"(Container|Node) Overrides length must be at most|Job size must be less than",
        ConfigurationError,
        "The job's environment, command and parameters are longer than Batch takes",
        "Shorten 'env' (Batch takes 8192 bytes of overrides): put long values into S3, a secret or the image.",
    ),
    Cause(
        r"ECS was unable to assume the role|.*is not authorized to perform: (sts:AssumeRole|iam:PassRole)",
        ConfigurationError,
        "A role of the job cannot be assumed",
        "Check that the job role and the execution role exist and that ecs-tasks.amazonaws.com may assume them.",
    ),
    Cause(
        r"OutOfMemory(Error)?\b",
        OutOfMemoryError,
        "The container used more than its memory",
        "Raise the job's memory.",
    ),
    Cause(
        rf"({_PULL}|CannotStartContainer|CannotCreateContainer|DockerTimeoutError).*no space left on device",
        MachineLostError,
        "The machine's disk is full",
        "Run it again; if it repeats, give the compute environment's machines a larger disk or use a smaller image.",
    ),
    Cause(
        rf"{_PULL}.*(access ?denied|not authorized|denied:|not found|manifest unknown|no basic auth|does not exist"
        r"|repository .*required)",
        ImageError,
        "The image cannot be pulled",
        "Check the image's name and tag, and the execution role's right to pull it.",
    ),
    Cause(
        rf"{_PULL}.*({_HICCUP})",
        MachineLostError,
        "The registry did not hand out the image in time",
        "Run it again; if it repeats, look at the route from the machine's subnet to the registry.",
    ),
    Cause(
        rf"{_PULL}|manifest .*not found|pull access denied|No such image",
        ImageError,
        "The image cannot be pulled",
        "Check the image's name and tag, the execution role's right to pull it, and the route to the registry.",
    ),
    Cause(
        rf"({_SECRETS}|unable to (pull|retrieve) secret).*(context deadline|timeout|timed out|connection re)",
        MachineLostError,
        "A secret of the job could not be read in time",
        "Run it again; if it repeats, look at the route from the machine's subnet to Secrets Manager.",
    ),
    Cause(
        rf"{_SECRETS}|unable to (pull|retrieve) secret",
        ConfigurationError,
        "A secret of the job cannot be read",
        "Check its ARN in 'secrets' and the execution role's right to read it.",
    ),
    Cause(
        r"ResourceInitializationError.*(EFS|mount|volume)|failed to invoke EFS|mount\.nfs|mount\.efs",
        ConfigurationError,
        "The EFS file system cannot be mounted",
        "Check the file system, its access point, the mount target in the machine's zone, and port 2049.",
    ),
    Cause(
        r"ResourceInitializationError.*log (group|stream|driver)|.*failed to initialize logging driver",
        ConfigurationError,
        "The container's log cannot be written",
        "Check that the log group exists in the region, and the execution role's right to write to it.",
    ),
    Cause(
        r"Timeout waiting for network interface provisioning|ResourceInitializationError.*network",
        MachineLostError,
        "The machine's network interface was not provisioned in time",
        "Run it again; if it repeats, look for free addresses in the subnets.",
    ),
    Cause(
        r"(CannotStart|CannotCreate)Container(Error)?\b.*(nvidia-container-cli|nvml|driver|no such device|libcuda)",
        MachineLostError,
        "The machine's GPU driver does not work",
        "Run it again; if it repeats, look at the compute environment's machine image (its driver) and the job's GPUs.",
    ),
    Cause(
        r"DockerTimeoutError|CannotInspectContainer|(CannotStart|CannotCreate)Container(Error)?\b.*(timeout|timed out"
        r"|context (canceled|deadline)|connect to the Docker daemon)|Agent (error|disconnected)|InternalError"
        r"\b",
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
        r"Job ?definition\b.*(inactive|does not exist|deregistered)",
        ConfigurationError,
        "The job's definition is gone",
        "Run it again: the worker registers its definitions anew.",
    ),
    Cause(
        r"Dependent Job failed|Job dependency",
        StartError,
        "A job that this one waits for has failed",
        "Look at that job.",
    ),
)

# What Batch and ECS say whatever the cause: it neither explains nor comes from a person.
PLAIN = re.compile(
    r"(Essential container in task exited|Task stopped|Task failed to start|.{0,12}container exited.*|Terminated by .*"
    r"Batch.*)?\.?$",
    re.IGNORECASE,
)


def cause_of(*texts: str) -> Cause | None:
    """Return the row of the table that Batch's words belong to, or None: the first text that says anything decides.

    Args:
        texts: The status reason and the container's reason.
    """
    stripped = [re.sub(r"^(Task failed to start|Task stopped)\s*[:(]?\s*", "", text.strip()) for text in texts]
    for text in filter(None, stripped):
        for cause in CAUSES:
            if re.match(cause.pattern, text, re.IGNORECASE | re.DOTALL):
                return cause
    return None
