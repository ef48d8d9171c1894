"""Who works in a job folder: one at a time, and whoever was overtaken notices before writing.

Each holder creates the file of the next number in the folder's ``lease`` folder, which only one of many can do, and
from then on writes to no file but its own. The highest number is the holder. A holder that was paused or cut off finds
a higher number than its own, at its next refresh or before its next write, and stops.

On Amazon EFS this rests on NFSv4.1: creating a name is atomic at the server, and what was closed is seen by whoever
opens it later (https://docs.aws.amazon.com/efs/latest/ug/features.html#consistency).
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from isaaclab_flows.schemas.errors import InfrastructureLostError, LimitReachedError
from isaaclab_flows.schemas.files import write_whole
from isaaclab_flows.tasks.job.folder import JobFolder
from isaaclab_flows.tasks.job.identity import ProcessIdentity

LEASE_REFRESH_SECONDS = 5.0
LEASE_LOST_SECONDS = 60.0
"""A holder that could not refresh for so long stops: a shared file system's short outage is borne."""
LEASE_EXPIRES_SECONDS = 75.0
"""A lease that has not changed for so long is free; longer than its holder goes on without a refresh."""
_KEPT = 3


@dataclass(frozen=True)
class _Held:
    """One lease file as it was read. What cannot be read is held by somebody unknown, until it has not changed."""

    number: int
    content: bytes
    facts: dict[str, object]

    @property
    def released(self) -> bool:
        return self.facts.get("released") is True

    @property
    def holder(self) -> ProcessIdentity | None:
        return ProcessIdentity.of(self.facts)


class Lease:
    """A held job folder. The refresher is a thread of its own.

    Args:
        folder: The job's.
        number: This holder's; every later holder has a higher one.
        clock: Monotonic time [s].
    """

    def __init__(self, folder: JobFolder, number: int, *, clock: Callable[[], float]) -> None:
        self.folder = folder
        self.number = number
        self._clock = clock
        self._facts = {"owner": uuid4().hex, **ProcessIdentity.own().facts()}
        self._refreshed = clock()
        self._lost = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._refresh, name="job-folder-lease", daemon=True)

    def require(self) -> None:
        """Check that the folder is still this holder's; call it before writing what others rely on.

        Raises:
            InfrastructureLostError: Another attempt holds it, or its file system has been out of reach for too long.
        """
        self._look()
        if self._lost:
            raise InfrastructureLostError(
                self._lost,
                where=str(self.folder.path),
                remedy="Run the job again: it goes on from its last checkpoint.",
            )

    @property
    def lost(self) -> bool:
        """Whether the folder is somebody else's, as far as was noticed."""
        return bool(self._lost)

    def _look(self) -> None:
        with contextlib.suppress(OSError):
            if not self._lost and _newest_number(self.folder) > self.number:
                self._lost = "Another attempt has taken this job over"
        if not self._lost and self._clock() - self._refreshed > LEASE_LOST_SECONDS:
            self._lost = f"The job's folder could not be written to for {LEASE_LOST_SECONDS:.0f} s"

    def _refresh(self) -> None:
        while not self._stop.wait(LEASE_REFRESH_SECONDS):
            # Looked before it is written: the file system may be back after the time.
            self._look()
            if self._lost:
                return
            # Whatever goes wrong, the next try may go well; _look says when it has been too long.
            with contextlib.suppress(Exception):
                self._write()
                self._refreshed = self._clock()

    def _write(self, **more: object) -> None:
        content = json.dumps(self._facts | {"time": time.time()} | more).encode()
        write_whole(_file(self.folder, self.number), content)

    def _create(self) -> bool:
        """Become the holder; False where somebody else was first."""
        target = _file(self.folder, self.number)
        target.parent.mkdir(parents=True, exist_ok=True)
        content = json.dumps(self._facts | {"time": time.time()}).encode()
        whole = target.with_name(f".{uuid4().hex}.partial")
        whole.write_bytes(content)
        try:
            os.link(whole, target)  # with its content, and only where there is none
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            try:
                with target.open("xb") as file:
                    file.write(content)
            except FileExistsError:
                return False
        finally:
            whole.unlink(missing_ok=True)
        return _newest_number(self.folder) == self.number

    def _start(self) -> None:
        for old in range(max(1, self.number - 10), self.number - _KEPT + 1):
            with contextlib.suppress(OSError):
                _file(self.folder, old).unlink(missing_ok=True)
        self._thread.start()

    def _end(self) -> None:
        self._stop.set()
        self._thread.join(LEASE_REFRESH_SECONDS)
        with contextlib.suppress(OSError):  # it then expires
            if not self._lost and _file(self.folder, self.number).exists():
                self._write(released=True)


@contextlib.contextmanager
def lease(
    folder: JobFolder, *, patience: float = 180.0, clock: Callable[[], float] = time.monotonic
) -> Iterator[Lease]:
    """Hold a job folder, so that two attempts never write into it at once.

    A holder on this very machine that no longer runs is known to be gone at once; any other one is taken for dead when
    its file has not changed for 75 s of our own clock, so that machines' clocks need not agree.

    Args:
        folder: The job's.
        patience: How long to wait for another holder [s].
        clock: Monotonic time [s].

    Raises:
        LimitReachedError: Somebody else still works in it after `patience` seconds.
    """
    folder.path.mkdir(parents=True, exist_ok=True)
    start = clock()
    while True:
        free = _wait_until_free(folder, start, patience, clock)
        held = Lease(folder, free + 1, clock=clock)
        if held._create():
            break
    held._start()
    try:
        yield held
    finally:
        held._end()


def _wait_until_free(folder: JobFolder, start: float, patience: float, clock: Callable[[], float]) -> int:
    """Wait until nobody holds the folder; return the number of the last one who did."""
    seen, since = _newest(folder), clock()
    while seen is not None and not seen.released and not (seen.holder and seen.holder.is_gone()):
        now = clock()
        if now - since >= LEASE_EXPIRES_SECONDS:
            break
        if now - start >= patience:
            raise LimitReachedError(
                f"Another attempt (host {seen.facts.get('host')}, process {seen.facts.get('pid')}) still works on"
                " this job",
                where=str(folder.path),
                remedy="Wait for it to end, or cancel it.",
            )
        time.sleep(0.5)
        current = _newest(folder)
        if current != seen:
            seen, since = current, clock()
    return seen.number if seen is not None else 0


def is_live(folder: JobFolder, *, now: float) -> bool:
    """Say whether somebody worked in a job folder within the last minutes (Unix time; clocks may differ a little)."""
    held = _newest(folder)
    if held is None or held.released or (held.holder is not None and held.holder.is_gone()):
        return False
    stamp = held.facts.get("time")
    if not isinstance(stamp, int | float):
        try:
            stamp = _file(folder, held.number).stat().st_mtime
        except OSError:
            return False
    return now - stamp < 10 * LEASE_EXPIRES_SECONDS


def holder_here(folder: JobFolder) -> int | None:
    """Return the process on this machine that works in a job folder; None where nobody does, or somebody elsewhere."""
    held = _newest(folder)
    if held is None or held.released or held.holder is None or not held.holder.is_alive():
        return None
    return held.holder.pid


def _newest(folder: JobFolder) -> _Held | None:
    while number := _newest_number(folder):
        try:
            content = _file(folder, number).read_bytes()
        except FileNotFoundError:
            continue
        try:
            facts = json.loads(content)
        except ValueError:
            facts = {}
        return _Held(number, content, facts if isinstance(facts, dict) else {})
    return None


def _newest_number(folder: JobFolder) -> int:
    try:
        files = list(folder.lease_folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return 0
    return max((int(file.stem) for file in files if file.suffix == ".json" and file.stem.isdigit()), default=0)


def _file(folder: JobFolder, number: int) -> Path:
    return folder.lease_folder / f"{number:06d}.json"
