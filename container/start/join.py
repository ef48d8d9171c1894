"""The other nodes of a multi-node job: each waits for the main node's call and starts its part of torchrun."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Final

from pydantic import ValidationError

from isaaclab_flows.schemas.files import write_whole
from isaaclab_flows.schemas.nodes import (
    BEFORE_ANY_CALL,
    EXIT_TERMINATED,
    EXIT_UNHEALTHY_GPU,
    Call,
    Departure,
    Node,
    call_file,
    departure_file,
    meeting_folder,
    torchrun_command,
)
from isaaclab_flows.schemas.settings import settings

POLL_SECONDS: Final = 1.0
CALL_SECONDS: Final = 3600.0
"""Longest wait for a call: the main node may first fetch checkpoints and packages; when it dies, Batch ends the job."""
_TAIL_LINES: Final = 30


def join(node: Node, *, say: Callable[[str], None], call_seconds: float = CALL_SECONDS) -> int:
    """Answer the main node's calls until one of them ends well; return the container's exit code.

    A call whose processes fail is not the end: the main node may resume the simulation and call again. When the main
    node ends, Batch ends this one.

    Raises:
        ConfigError: There is no jobs folder to find calls in.
    """
    folder = meeting_folder(settings().jobs_folder)
    told = _Told()
    answered, code = 0, 0
    while True:
        call = _next_call(call_file(folder, node), after=answered, seconds=call_seconds, told=told)
        if told.stop:
            return EXIT_TERMINATED
        if call is None:
            say(f"The main node did not call within {call_seconds:.0f} s.")
            return code or 1
        say(f"Joining call {call.number}: {call.processes} processes; their log is in {call.log_folder}")
        code = _run(node, call, told)
        _depart(departure_file(folder, node, call=call.number, index=node.index), code, _log_file(node, call))
        if told.stop:
            return EXIT_TERMINATED
        if code == 0:
            return 0
        say(f"The processes of call {call.number} ended with {code}; waiting for the main node to call again.")
        answered = call.number


def refuse(node: Node, trouble: str) -> None:
    """Tell the main node that this one cannot take part, before it waits for it with its GPUs.

    Raises:
        ConfigError: There is no jobs folder to leave word in.
    """
    file = departure_file(meeting_folder(settings().jobs_folder), node, call=BEFORE_ANY_CALL, index=node.index)
    file.parent.mkdir(parents=True, exist_ok=True)
    _leave(file, Departure(code=EXIT_UNHEALTHY_GPU, log_tail=trouble))


class _Told:
    """Remembers that this node was told to end, and passes that on to what it runs."""

    def __init__(self) -> None:
        self.stop = False
        self.process: subprocess.Popen[bytes] | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._pass_on)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self.stop = True
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)


def _next_call(file: Path, *, after: int, seconds: float, told: _Told) -> Call | None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not told.stop:
        call = _read(file)
        if call is not None and call.number > after:
            return call
        time.sleep(POLL_SECONDS)
    return None


def _read(file: Path) -> Call | None:
    try:
        return Call.model_validate_json(file.read_bytes())
    except (FileNotFoundError, ValidationError):
        # It is written by rename, yet a network file system may show a name before its content.
        return None


def _run(node: Node, call: Call, told: _Told) -> int:
    python = settings().simulator_python
    words = torchrun_command(str(python or sys.executable), node, call)
    log_file = _log_file(node, call)
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with log_file.open("ab") as log:
        told.process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT)
    if told.stop:
        told.process.terminate()
    return told.process.wait()


def _log_file(node: Node, call: Call) -> Path:
    return Path(call.log_folder) / f"node-{node.index}.txt"


def _depart(file: Path, code: int, log_file: Path) -> None:
    """Tell the main node, which would otherwise wait for these processes until its time limit."""
    lines = log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
    _leave(file, Departure(code=code, log_tail="\n".join(lines)))


def _leave(file: Path, departure: Departure) -> None:
    write_whole(file, departure.model_dump_json().encode())
