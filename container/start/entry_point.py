"""The image's entry point: says what machine this is, refuses a broken GPU, runs the command and passes signals on.

``run`` executes the flow run that the environment names; ``join`` makes this machine a node of a multi-node job's
distributed simulation; anything else is a command. A container that was told to end (SIGTERM: a Spot reclaim, a
cancellation) and ended without success exits with 143, by which Batch's retry strategy knows it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Final

from isaaclab_flows.container.start.gpu_health import Gpu, examine
from isaaclab_flows.container.start.interfaces import network_variables
from isaaclab_flows.container.start.join import join, refuse
from isaaclab_flows.schemas.errors import ConfigError, FlowsError
from isaaclab_flows.schemas.nodes import EXIT_TERMINATED, EXIT_UNHEALTHY_GPU, Node
from isaaclab_flows.schemas.settings import settings

SHARED_FOLDER: Final = Path("/mnt/efs")
"""Where Batch mounts the shared file system."""
_SHOWN_PACKAGES: Final = ("isaaclab", "newton", "torch", "warp-lang", "prefect")
_EXIT_USAGE: Final = 64
_JOB_VARIABLES: Final = {
    "flow run": "PREFECT__FLOW_RUN_ID",
    "Batch job": "AWS_BATCH_JOB_ID",
    "attempt": "AWS_BATCH_JOB_ATTEMPT",
    "queue": "AWS_BATCH_JQ_NAME",
    "node": "AWS_BATCH_JOB_NODE_INDEX",
    "nodes": "AWS_BATCH_JOB_NUM_NODES",
}
"""What is said of the job, in this order; nothing else of the environment is."""


def main(arguments: Sequence[str]) -> int:
    """Run one mode; return the container's exit code."""
    os.environ.update(shared_folders(os.environ, mounted=SHARED_FOLDER.is_mount()))
    try:
        device = settings().device
        report = examine(needed=device == "cuda") if device != "cpu" else None
        for line in introduction(os.environ, report.gpus if report else ()):
            say(line)
        here = _node(arguments)
        if here is not None:
            os.environ.update(network_variables(os.environ, here))
            say(f"The nodes speak through {os.environ['GLOO_SOCKET_IFNAME']}")
        node = _joining(arguments, here)
        if report and report.trouble:
            say(f"The GPU here must not be used: {report.trouble}. Nothing was started; the job may run elsewhere.")
            if node is not None:
                refuse(node, report.trouble)
            return EXIT_UNHEALTHY_GPU
        if node is not None:
            return join(node, say=say)
        return Child(command(arguments)).wait()
    except FlowsError as error:
        say(error.sentence)
        return _EXIT_USAGE


def _node(arguments: Sequence[str]) -> Node | None:
    """Return which node of its job this is; a command that joins no other need not be told all of it.

    Raises:
        ConfigError: What Batch tells a node is incomplete, and this one is to join the others.
    """
    try:
        return Node.from_environment(os.environ)
    except ConfigError:
        if list(arguments[:1]) == ["join"]:
            raise
        return None


def _joining(arguments: Sequence[str], node: Node | None) -> Node | None:
    """Return the node that this machine is to join as; None when the command is another."""
    if list(arguments) != ["join"]:
        return None
    if node is None:
        raise ConfigError(
            "`join` is for a node of a multi-node job",
            where="AWS_BATCH_JOB_NUM_NODES",
            remedy="Batch sets it; run the container with `run` instead.",
        )
    return node


def command(arguments: Sequence[str]) -> list[str]:
    """Return the program that a container's arguments stand for; Prefect's is found without its script."""
    words = list(arguments) or ["run"]
    if words == ["run"]:
        words = ["prefect", "flow-run", "execute"]
    return [sys.executable, "-m", *words] if words[0] == "prefect" else words


def shared_folders(environment: Mapping[str, str], *, mounted: bool) -> dict[str, str]:
    """Return the variables that put job folders, robot files and compiled kernels on the shared file system.

    A second job then finds what the first one fetched and compiled. What the environment already says stays; without
    a shared file system nothing is said.
    """
    jobs = environment.get("ISAACLAB_FLOWS_JOBS_FOLDER") or (str(SHARED_FOLDER / "jobs") if mounted else "")
    if not jobs:
        return {}
    cache = Path(jobs).parent / "cache"
    wanted = {
        "ISAACLAB_FLOWS_JOBS_FOLDER": jobs,
        "ISAACLAB_FLOWS_CACHE_FOLDER": str(cache / "isaaclab-flows"),
        # Warp keeps its kernels below it in a folder of its version; WARP_CACHE_PATH would mix the versions up.
        "XDG_CACHE_HOME": str(cache),
    }
    return {name: value for name, value in wanted.items() if not environment.get(name)}


def introduction(environment: Mapping[str, str], gpus: Sequence[Gpu]) -> list[str]:
    """Return the lines that say which job this is and what it runs on; never what it holds."""
    job = [f"{word} {environment[name]}" for word, name in _JOB_VARIABLES.items() if environment.get(name)]
    machine = [f"GPU {gpu.index}: {gpu.name}, {gpu.memory_mib or 0:,} MiB, driver {gpu.driver}" for gpu in gpus]
    return [
        "isaaclab-flows: " + (", ".join(job) or "no job"),
        *(machine or [f"No GPU in use; {os.cpu_count()} CPU cores"]),
        ", ".join([f"python {sys.version.partition(' ')[0]}", *_versions()]),
    ]


class Child:
    """The program that the container is for. SIGTERM and SIGINT are passed on to it, and to it alone.

    Its own children get theirs from it: Prefect must tell its engine why before the engine is stopped, or the run is
    taken for crashed; the flow ends the simulator after that.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._told = False
        # Before the start, so that a signal in between is not lost: the child is told as soon as it is there.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._pass_on)
        try:
            self._process: subprocess.Popen[bytes] | None = subprocess.Popen(words)
        except OSError as error:
            self._process = None
            raise ConfigError(
                f"The command '{words[0]}' cannot be started ({error.strerror})",
                where="command",
                remedy="Give `run`, `join`, or a program that the image has.",
            ) from error
        if self._told:
            self._process.terminate()

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self._told = True
        process = getattr(self, "_process", None)
        if process is not None and process.poll() is None:
            process.send_signal(number)

    def wait(self) -> int:
        """Wait for its end; return the container's exit code."""
        assert self._process is not None
        code = self._process.wait()
        if self._told and code:
            return EXIT_TERMINATED
        return 128 - code if code < 0 else code


def say(line: str) -> None:
    """Print one line, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _versions() -> list[str]:
    found = []
    for name in _SHOWN_PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found.append(f"{name} {metadata.version(name)}")
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
