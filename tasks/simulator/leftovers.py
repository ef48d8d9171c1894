"""Ends what an earlier attempt left running on this machine: its simulator, and all that it started."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from pathlib import Path

from isaaclab_flows.schemas.files import write_whole
from isaaclab_flows.tasks.job.folder import Attempt, JobFolder
from isaaclab_flows.tasks.job.identity import ProcessIdentity

ATTEMPT_VARIABLE = "ISAACLAB_FLOWS_ATTEMPT"
"""In the environment of a simulator and of all that it starts: names the attempt's folder."""
_WAIT_SECONDS = 10.0


def remember(attempt: Attempt, pid: int) -> None:
    """Write down which process an attempt's simulator is, for whoever comes after a supervisor that was killed."""
    write_whole(attempt.process_file, json.dumps(ProcessIdentity.here(pid).facts()).encode())


def end_leftovers(folder: JobFolder) -> list[str]:
    """Kill the simulators of earlier attempts that still run on this machine; call it while holding the folder.

    Returns:
        A sentence for each.
    """
    return [sentence for attempt in folder.attempts() for sentence in end_attempt(attempt)]


def end_attempt(attempt: Attempt) -> list[str]:
    """Kill what still runs of one attempt: its process and group, and helpers that left the session.

    Returns:
        A sentence, or none where nothing ran.
    """
    simulator = _remembered(attempt)
    members = helpers_of(attempt)
    if simulator is not None and simulator.is_alive():
        members = [simulator, *members]
        # A session of its own, so that its number is its group's too.
        with contextlib.suppress(OSError):
            if os.getpgid(simulator.pid) == simulator.pid:
                os.killpg(simulator.pid, signal.SIGKILL)
    for member in members:
        with contextlib.suppress(OSError):
            if member.is_alive():
                os.kill(member.pid, signal.SIGKILL)
    end = time.monotonic() + _WAIT_SECONDS
    while any(member.is_alive() for member in members) and time.monotonic() < end:
        time.sleep(0.05)
    if not members:
        return []
    numbers = ", ".join(str(member.pid) for member in members)
    return [f"Ended what attempt {attempt.number} had left running (process {numbers})."]


def helpers_of(attempt: Attempt) -> list[ProcessIdentity]:
    """Return the processes of this machine that an attempt's simulator started, wherever they went since."""
    wanted = f"{ATTEMPT_VARIABLE}={attempt.folder}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        if process.name == str(os.getpid()):
            continue
        with contextlib.suppress(OSError):
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                found.append(ProcessIdentity.here(int(process.name)))
    return [process for process in found if process.is_alive()]


def _remembered(attempt: Attempt) -> ProcessIdentity | None:
    try:
        facts = json.loads(attempt.process_file.read_bytes())
    except (OSError, ValueError):
        return None
    return ProcessIdentity.of(facts) if isinstance(facts, dict) else None
