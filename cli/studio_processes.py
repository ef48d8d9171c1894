"""The processes of the local studio: started in the background, remembered in files, found again, ended with all
their descendants.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from isaaclab_flows.schemas.errors import FlowsError

if TYPE_CHECKING:
    import psutil

LOG_TAIL_LINES = 15


class StudioError(FlowsError):
    """The local studio could not be started."""

    kind = "studio"


@dataclass(frozen=True)
class Part:
    """One process of the studio, as its file remembers it."""

    name: str
    pid: int
    created: float
    """The process's start time [s since the epoch]: tells it from a later process with the same number."""
    port: int | None = None


@dataclass(frozen=True)
class PartsFolder:
    """Where the studio keeps the files and logs of its processes.

    Args:
        path: The folder; made when something is first written.
    """

    path: Path

    def log_file(self, name: str) -> Path:
        """Return the log of a part."""
        return self.path / f"{name}.log"

    def _part_file(self, name: str) -> Path:
        return self.path / f"{name}.json"

    def find(self, name: str) -> Part | None:
        """Return a part that is running, or None; the file of one that is not is removed."""
        file = self._part_file(name)
        try:
            part = Part(**json.loads(file.read_text()))
        except (FileNotFoundError, json.JSONDecodeError, TypeError):
            return None
        if _process_of(part) is None:
            file.unlink(missing_ok=True)
            return None
        return part

    def start(self, name: str, command: list[str], *, environment: dict[str, str], port: int | None = None) -> Part:
        """Start a part in a session of its own, so that the terminal's Ctrl-C reaches only who watches over it.

        Args:
            name: Of the part, its log and its file.
            command: Arguments of `python`.
            environment: On top of this process's own.
            port: TCP port that it listens on, to be remembered.
        """
        import psutil

        self.path.mkdir(parents=True, exist_ok=True)
        with self.log_file(name).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *command],
                env=os.environ | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        part = Part(name, process.pid, psutil.Process(process.pid).create_time(), port)
        self._part_file(name).write_text(json.dumps(asdict(part)))
        return part

    def stop(self, parts: list[Part], *, grace_seconds: float = 30.0) -> None:
        """End parts and everything that they started: asked first, made to after the grace.

        Args:
            parts: Ended one after the other, in this order.
            grace_seconds: From SIGTERM to SIGKILL, for each part. A simulator uses it to save a checkpoint.
        """
        for part in parts:
            process = _process_of(part)
            if process is not None:
                _end_family(process, grace_seconds)
            self._part_file(part.name).unlink(missing_ok=True)

    def log_tail(self, name: str) -> str:
        """Return the last lines of a part's log."""
        try:
            text = self.log_file(name).read_text(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-LOG_TAIL_LINES:])


def is_running(part: Part) -> bool:
    """Say whether a part's process runs."""
    return _process_of(part) is not None


def listener_on(port: int) -> str | None:
    """Name the process that listens on a port of this machine, as far as this user may know; None without one."""
    import psutil

    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return None
    for connection in connections:
        address = connection.laddr
        if connection.status == psutil.CONN_LISTEN and address and address.port == port and connection.pid:
            try:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
            except psutil.NoSuchProcess:
                return None
    return None


def _process_of(part: Part) -> psutil.Process | None:
    import psutil

    try:
        process = psutil.Process(part.pid)
        same = abs(process.create_time() - part.created) < 1.0
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def _end_family(process: psutil.Process, grace_seconds: float) -> None:
    import psutil

    # Listed before anything ends: orphans are nobody's descendants. Signalled all at once because Prefect's worker
    # leaves the flow runs it started to themselves, and a flow run hands the signal on to its simulator anyway.
    family = [process, *_descendants(process)]
    for member in family:
        _quietly(member.terminate)
    _, alive = psutil.wait_procs(family, timeout=grace_seconds)
    late = [child for member in alive for child in _descendants(member)]
    for member in {*alive, *late}:
        _quietly(member.kill)
    psutil.wait_procs(alive, timeout=10)


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    import psutil

    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _quietly(signal_process: object) -> None:
    import psutil

    assert callable(signal_process)
    try:
        signal_process()
    except psutil.NoSuchProcess:
        return
