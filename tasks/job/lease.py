"""Who works in a job folder: one at a time."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from uuid import uuid4

from isaaclab_flows.schemas.errors import LimitReachedError
from isaaclab_flows.schemas.files import write_whole
from isaaclab_flows.tasks.job.folder import JobFolder

LEASE_REFRESH_SECONDS = 5.0


LEASE_EXPIRES_SECONDS = 30.0


_HELD: ContextVar[frozenset[Path]] = ContextVar("held_job_folders", default=frozenset())


@contextlib.contextmanager
def lease(folder: JobFolder, *, patience: float = 120.0, clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """Hold a job folder, so that two attempts never write into it at once.

    The holder rewrites live.json every few seconds. A holder on this very machine that no longer runs is known to be
    gone at once; any other one is taken for dead when the file has not changed for 30 s of our own clock, so that
    machines' clocks need not agree. Whoever holds it may take it again further down.

    Raises:
        LimitReachedError: Somebody else still works in it after `patience` seconds.
    """
    if folder.path in _HELD.get():
        yield
        return
    folder.path.mkdir(parents=True, exist_ok=True)
    _wait_for_lease(folder, patience, clock)
    holder = {"owner": uuid4().hex, **_identity()}
    stop = threading.Event()

    def refresh() -> None:
        while not stop.wait(LEASE_REFRESH_SECONDS):
            write_whole(folder.lease_file, json.dumps(holder | {"time": time.time()}).encode())

    write_whole(folder.lease_file, json.dumps(holder | {"time": time.time()}).encode())
    thread = threading.Thread(target=refresh, name="job-folder-lease", daemon=True)
    thread.start()
    token = _HELD.set(_HELD.get() | {folder.path})
    try:
        yield
    finally:
        _HELD.reset(token)
        stop.set()
        thread.join(LEASE_REFRESH_SECONDS)
        folder.lease_file.unlink(missing_ok=True)


def _wait_for_lease(folder: JobFolder, patience: float, clock: Callable[[], float]) -> None:
    seen = _read_lease(folder)
    since = start = clock()
    while seen is not None and not _is_gone(seen):
        now = clock()
        if now - since >= LEASE_EXPIRES_SECONDS:
            return
        if now - start >= patience:
            raise LimitReachedError(
                f"Another attempt (host {seen.get('host')}, process {seen.get('pid')}) still works on this job",
                where=str(folder.path),
                remedy="Wait for it to end, or cancel it.",
            )
        time.sleep(0.5)
        current = _read_lease(folder)
        if current != seen:
            seen, since = current, now


def is_live(folder: JobFolder, *, now: float) -> bool:
    """Say whether somebody worked in a job folder within the last minutes (Unix time; clocks may differ a little)."""
    held = _read_lease(folder)
    if held is None or _is_gone(held):
        return False
    stamp = held.get("time")
    return isinstance(stamp, int | float) and now - stamp < 10 * LEASE_EXPIRES_SECONDS


def holder_here(folder: JobFolder) -> int | None:
    """Return the process on this machine that works in a job folder; None where nobody does, or somebody elsewhere."""
    held = _read_lease(folder)
    if held is None or _is_gone(held) or held.get("machine") != _identity()["machine"]:
        return None
    pid = held.get("pid")
    return pid if isinstance(pid, int) else None


def _read_lease(folder: JobFolder) -> dict[str, object] | None:
    try:
        data = json.loads(folder.lease_file.read_bytes())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return data if isinstance(data, dict) else None


def _identity() -> dict[str, object]:
    """Name this process so that it can be told, on this machine, from a later one with the same number."""
    return {
        "host": socket.gethostname(),
        "machine": f"{_first_line('/proc/sys/kernel/random/boot_id')} {_link('/proc/self/ns/pid')}",
        "pid": os.getpid(),
        "started": _started(os.getpid()),
    }


def _is_gone(held: dict[str, object]) -> bool:
    """Say whether a lease's holder ran on this machine, in this process namespace, and no longer does."""
    pid = held.get("pid")
    return (
        held.get("machine") == _identity()["machine"] and isinstance(pid, int) and _started(pid) != held.get("started")
    )


def _started(pid: int) -> str:
    fields = _first_line(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] != "Z" else ""


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text().partition("\n")[0]
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""
