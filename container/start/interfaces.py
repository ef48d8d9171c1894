"""Which network interface the nodes of a job speak through.

Batch gives each node of a multi-node job a network interface of its own, and ECS adds ``ecs-eth0``, a link-local one
that every container has under the same address: NCCL and gloo would pick it, and never reach each other.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Final

import psutil

from isaaclab_flows.schemas.errors import ConfigError
from isaaclab_flows.schemas.nodes import RENDEZVOUS_PORT, Node

NOT_BETWEEN_NODES: Final = "^ecs-eth,docker,lo,virbr"
"""NCCL's own form of "any interface but those that begin so"."""
_SOMEWHERE: Final = "192.0.2.1"
"""An address of nobody (RFC 5737), which the default route leads to."""


def network_variables(environment: Mapping[str, str], node: Node) -> dict[str, str]:
    """Return the variables that keep NCCL and gloo on the interface between the nodes; what is set already stays.

    Raises:
        ConfigError: No interface of this machine leads to the main node.
    """
    address = _own_address(node.main_address or _SOMEWHERE)
    found = {name: [entry.address for entry in entries] for name, entries in psutil.net_if_addrs().items()}
    wanted = {"NCCL_SOCKET_IFNAME": NOT_BETWEEN_NODES, "GLOO_SOCKET_IFNAME": interface_of(address, found)}
    return {name: value for name, value in wanted.items() if not environment.get(name)}


def interface_of(address: str, interfaces: Mapping[str, Sequence[str]]) -> str:
    """Return the name of the interface that has an address.

    Raises:
        ConfigError: None has it.
    """
    for name, addresses in interfaces.items():
        if address in addresses:
            return name
    raise ConfigError(
        f"No network interface has the address {address}",
        where="GLOO_SOCKET_IFNAME",
        remedy=f"Set it to one of {', '.join(sorted(interfaces))}.",
    )


def _own_address(towards: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((towards, RENDEZVOUS_PORT))  # nothing is sent: it only chooses the interface
        except OSError as error:
            raise ConfigError(
                f"No network interface leads to the main node at {towards} ({error.strerror})",
                where="AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS",
                remedy="The nodes of a job must lie in one network.",
            ) from error
        return str(probe.getsockname()[0])
