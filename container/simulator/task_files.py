"""Which files a task needs, read from its configuration, so that a missing one is known before anything is launched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from isaaclab_flows.container.simulator.failures import missing_file
from isaaclab_flows.schemas.simulator import SimulatorJob

_NEEDED_SUFFIXES = (".usd", ".usda", ".usdc", ".usdz", ".urdf", ".xml", ".pt", ".pth", ".onnx", ".npz")
"""Robots, scenes, actuator networks and motions. Textures and materials are not: without them it looks plain."""


def needed_files(config: Any) -> list[str]:
    """Return paths and URLs of the files that a resolved environment configuration names, each once.

    Markers that only a viewer draws do not count.
    """
    return list(dict.fromkeys(_walk(config, seen=set())))


def check_files(config: Any, job: SimulatorJob, *, answers: Callable[[str], bool]) -> None:
    """Check that the task's files can be had.

    Args:
        config: The resolved environment configuration.
        job: The order, for the error.
        answers: Says whether the server of a URL can be reached; asked once a server.

    Raises:
        InputMissingError: Naming the first file that cannot be had.
    """
    servers: dict[str, bool] = {}
    for path in needed_files(config):
        address = urlsplit(path)
        if address.scheme in ("http", "https"):
            server = f"{address.scheme}://{address.netloc}"
            if server not in servers:
                servers[server] = answers(server)
            if not servers[server]:
                raise missing_file(
                    path, job, reason=f"the server {address.netloc} would send, but it cannot be reached"
                )
        elif path.startswith("/") and not Path(path).is_file():
            raise missing_file(path, job, reason="does not exist here")


def _walk(node: Any, *, seen: set[int]) -> Iterator[str]:
    if isinstance(node, str):
        if node.lower().endswith(_NEEDED_SUFFIXES):
            yield str(node)
        return
    children = _children(node)
    if children is None or id(node) in seen:
        return
    seen.add(id(node))
    for key, child in children:
        if "visualizer" not in str(key):
            yield from _walk(child, seen=seen)


def _children(node: Any) -> list[tuple[Any, Any]] | None:
    if isinstance(node, Mapping):
        return list(node.items())
    if isinstance(node, list | tuple):
        return list(enumerate(node))
    if is_dataclass(node) and not isinstance(node, type):
        # Scenes get entities beyond their class's fields, so the instance is looked at.
        names = dict.fromkeys([field.name for field in fields(node)] + list(vars(node)))
        return [(name, getattr(node, name, None)) for name in names]
    return None
