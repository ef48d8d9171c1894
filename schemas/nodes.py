"""The machines of a multi-node job: what Batch tells each of them, and how their processes find each other.

Node 0, the main node, runs the flow. Before it starts a distributed simulation it leaves a :class:`Call` in the jobs
folder, which all nodes share; the other nodes wait for it, start their part of the same torchrun, and leave a
:class:`Departure` when that has ended. Nothing else passes between them. Batch's variables: https://docs.aws.amazon.com/batch/latest/userguide/job_env_vars.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from isaaclab_flows.schemas.config import CamelModel
from isaaclab_flows.schemas.errors import ConfigError

RENDEZVOUS_PORT: Final = 29400
"""TCP port on the main node at which the nodes meet; all other traffic between them is NCCL's, on ports it chooses."""
JOIN_SECONDS: Final = 900
"""How long torchrun waits for all nodes: importing the simulator on a cold machine is included."""
BEFORE_ANY_CALL: Final = 0
"""The number of the call that a node leaves which never joins one."""
EXIT_UNHEALTHY_GPU: Final = 75
"""Exit code of a container whose GPU must not be used (EX_TEMPFAIL): the same job may succeed on another machine."""
EXIT_TERMINATED: Final = 143
"""Exit code of a container that was told to end by SIGTERM before its work was done."""


@dataclass(frozen=True)
class Node:
    """One machine of a multi-node job."""

    job_id: str
    """Batch's job id, the same on every node."""
    attempt: int
    """Batch's attempt, from 1."""
    index: int
    """From 0."""
    count: int
    main_index: int
    main_address: str | None
    """Private IPv4 address of the main node; None on the main node itself, which Batch does not tell."""

    @property
    def is_main(self) -> bool:
        """Whether this machine runs the flow."""
        return self.index == self.main_index

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Node | None:
        """Read Batch's variables; None outside a multi-node job.

        Raises:
            ConfigError: Some of them are missing or make no sense together.
        """
        if "AWS_BATCH_JOB_NUM_NODES" not in environment:
            return None
        count = _number(environment, "AWS_BATCH_JOB_NUM_NODES")
        if count < 2:
            return None
        index = _number(environment, "AWS_BATCH_JOB_NODE_INDEX")
        main_index = _number(environment, "AWS_BATCH_JOB_MAIN_NODE_INDEX", default="0")
        address = environment.get("AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS") or None
        if index >= count or main_index >= count:
            raise ConfigError(
                f"Node {index} (main node {main_index}) is not one of {count}",
                where="AWS_BATCH_JOB_NODE_INDEX",
                remedy=f"It counts from 0 to {count - 1}.",
            )
        if index != main_index and address is None:
            raise ConfigError(
                "A node does not know its main node's address",
                where="AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS",
                remedy="Batch sets it on every node but the main one.",
            )
        # A child node's job id is the job's with `#<index>` behind it.
        job_id = environment.get("AWS_BATCH_JOB_ID", "").partition("#")[0]
        if not job_id:
            raise ConfigError("The job id is missing", where="AWS_BATCH_JOB_ID", remedy="Batch sets it on every node.")
        attempt = _number(environment, "AWS_BATCH_JOB_ATTEMPT", default="1")
        return cls(job_id, attempt, index, count, main_index, None if index == main_index else address)


class Call(CamelModel):
    """What the main node asks the others to start with it."""

    number: Annotated[int, Field(ge=1)]
    """Grows from call to call of one job: a simulation that failed and is resumed is called for again."""
    processes: Annotated[int, Field(ge=1)]
    """Processes on each node, one a GPU."""
    arguments: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
    """What torchrun starts: ``-m isaaclab_flows.container.simulator <order.json>``; paths that every node sees."""
    log_folder: str
    """Absolute path of the folder for the nodes' logs, ``node-<index>.txt``."""


class Departure(CamelModel):
    """How a node's processes ended."""

    code: int
    """torchrun's exit code; 0 is a good end."""
    log_tail: str = ""
    """The last lines of the node's log."""


def meeting_folder(jobs_folder: Path | None) -> Path:
    """Return the jobs folder, in which the nodes of a job meet.

    Raises:
        ConfigError: There is none.
    """
    if jobs_folder is None:
        raise ConfigError(
            "The nodes of a job meet in the jobs folder, and there is none",
            where="ISAACLAB_FLOWS_JOBS_FOLDER",
            remedy="Mount the shared file system at /mnt/efs on every node.",
        )
    return jobs_folder


def call_file(jobs_folder: Path, node: Node) -> Path:
    """Return where the main node's calls lie; a new Batch attempt has a new file, so that it takes no old call."""
    return jobs_folder / ".nodes" / f"{node.job_id}-{node.attempt}.json"


def departure_file(jobs_folder: Path, node: Node, *, call: int, index: int) -> Path:
    """Return where a node says how its part of a call ended.

    Args:
        jobs_folder: What all nodes share.
        node: Any node of the job.
        call: The call's number, or :data:`BEFORE_ANY_CALL`.
        index: The node that ended.
    """
    return jobs_folder / ".nodes" / f"{node.job_id}-{node.attempt}-{call}-node-{index}.json"


def torchrun_command(python: str, node: Node, call: Call, *, own_address: str | None = None) -> list[str]:
    """Return the command that starts this node's processes of a distributed simulation.

    Every node runs the same with its own index. The processes of the main node get the ranks 0, 1, …, so that it
    alone writes checkpoints and reports; torch ranks nodes by their names' order, hence the names.

    Args:
        python: The simulator's Python.
        node: This machine.
        call: What is started.
        own_address: This machine's IPv4 address as the others reach it; needed on the main node.

    Raises:
        ConfigError: The main node's address is not known.
    """
    address = own_address if node.is_main else node.main_address
    if not address:
        raise ConfigError(
            "The main node's address is not known",
            where="own_address",
            remedy="Give the main node's own IPv4 address.",
        )
    # Digits sort before letters: the main node goes by its address, which its peers also connect to.
    name = address if node.is_main else f"node-{node.index:03d}"
    return [
        python,
        "-m",
        "torch.distributed.run",
        f"--nnodes={node.count}",
        f"--nproc-per-node={call.processes}",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={address}:{RENDEZVOUS_PORT}",
        f"--rdzv-id={node.job_id}-{node.attempt}-{call.number}",
        f"--rdzv-conf=is_host={str(node.is_main).lower()},join_timeout={JOIN_SECONDS}",
        f"--local-addr={name}",
        *call.arguments,
    ]


def _number(environment: Mapping[str, str], name: str, *, default: str | None = None) -> int:
    text = environment.get(name, default)
    if text is None or not text.isascii() or not text.isdigit():
        raise ConfigError(
            f"{name} is {text!r}" if text is not None else f"{name} is missing",
            where=name,
            remedy="Batch sets it to a whole number, from 0.",
        )
    return int(text)
