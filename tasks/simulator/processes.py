"""How a simulation becomes processes: one, one a GPU of this machine, or one a GPU of every node of a Batch job."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from dataclasses import dataclass

from pydantic import ValidationError

from isaaclab_flows.schemas.errors import ConfigError, InfrastructureLostError, SimulatorKilledError
from isaaclab_flows.schemas.files import write_whole
from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.nodes import (
    BEFORE_ANY_CALL,
    Call,
    Departure,
    Node,
    call_file,
    departure_file,
    meeting_folder,
    torchrun_command,
)
from isaaclab_flows.schemas.settings import settings
from isaaclab_flows.tasks.job.folder import Attempt

LOOK_SECONDS = 2.0


@dataclass(frozen=True)
class Layout:
    """How many processes simulate together, and where.

    Args:
        nodes: Machines.
        per_node: Processes on each, one a GPU.
    """

    nodes: int = 1
    per_node: int = 1

    @classmethod
    def of(cls, job: Job) -> Layout:
        """Return what a job asks for."""
        compute = job.config.compute_config
        return cls(compute.num_nodes, compute.gpus_per_node)

    @property
    def distributed(self) -> bool:
        """Whether there is more than one process."""
        return self.nodes * self.per_node > 1


def simulator_words(attempt: Attempt) -> tuple[str, ...]:
    """Return what Python is given to start one simulator process."""
    return ("-m", "isaaclab_flows.container.simulator", str(attempt.order_file))


def simulator_python() -> str:
    """Return the Python that has Isaac Lab."""
    return str(settings().simulator_python or sys.executable)


class Together:
    """The processes of a distributed simulation, seen from the main node: started by torchrun, watched over nodes.

    Args:
        layout: How many there are.
        attempt: What they work on; its folder is seen by all nodes.

    Raises:
        ConfigError: Several nodes are asked for and this machine is not the main node of so many.
    """

    def __init__(self, layout: Layout, attempt: Attempt) -> None:
        self._attempt = attempt
        self._call = Call(
            number=attempt.number,
            processes=layout.per_node,
            arguments=simulator_words(attempt),
            log_folder=str(attempt.folder),
        )
        self._node = _main_node(layout.nodes) if layout.nodes > 1 else None
        self._looked = time.monotonic()

    def command(self) -> list[str]:
        """Return torchrun's command line for this machine, and call the other nodes to run theirs."""
        if self._node is None:
            # Their own machine by number: torchrun would look up its name, which takes minutes where there is no DNS.
            standalone = ("--standalone", "--local-addr=127.0.0.1", f"--nproc-per-node={self._call.processes}")
            return [simulator_python(), "-m", "torch.distributed.run", *standalone, *self._call.arguments]
        words = torchrun_command(simulator_python(), self._node, self._call, own_address=own_address())
        write_whole(
            call_file(meeting_folder(settings().jobs_folder), self._node), self._call.model_dump_json().encode()
        )
        return words

    def require_complete(self) -> None:
        """Look every few seconds whether all nodes are still at work.

        Raises:
            InfrastructureLostError: A node must not be used.
            SimulatorKilledError: A node's processes ended without leaving a result.
        """
        if self._node is None or time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        if self._attempt.result_file.exists():
            return  # whoever failed has said why
        for index in range(self._node.count):
            which = f"node {index} of {self._node.count}"
            refusal = self._departure(self._node, index, call=BEFORE_ANY_CALL)
            if refusal is not None:
                raise InfrastructureLostError(
                    f"The GPU of {which} must not be used: {refusal.log_tail}",
                    where=which,
                    remedy="Run the job again: other machines are then asked for.",
                )
            departure = self._departure(self._node, index, call=self._call.number)
            if departure is not None and departure.code != 0:
                raise SimulatorKilledError(
                    f"The processes of {which} ended with exit code {departure.code}",
                    where=str(self._attempt.folder / f"node-{index}.txt"),
                    remedy="Run the job again: it goes on from its last checkpoint.",
                    details=departure.log_tail,
                )

    def _departure(self, node: Node, index: int, *, call: int) -> Departure | None:
        file = departure_file(meeting_folder(settings().jobs_folder), node, call=call, index=index)
        with contextlib.suppress(FileNotFoundError, ValidationError):
            return Departure.model_validate_json(file.read_bytes())
        return None


def _main_node(count: int) -> Node:
    node = Node.from_environment(os.environ)
    if node is None or not node.is_main or node.count != count:
        here = f"node {node.index} of {node.count}" if node else "no node of a multi-node job"
        raise ConfigError(
            f"computeConfig.numNodes is {count}, but this machine is {here}",
            where="computeConfig.numNodes",
            remedy="Set it to 1, or run on AWS Batch, where the worker asks for so many nodes.",
        )
    return node


def own_address() -> str:
    """Return this machine's IPv4 address as its neighbours reach it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # nothing is sent: it only chooses the interface (RFC 5737's address)
        return str(probe.getsockname()[0])
    return socket.gethostbyname(socket.gethostname())
