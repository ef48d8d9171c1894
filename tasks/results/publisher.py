"""Brings the publishable tree up to date and mirrors it while the simulator runs, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from isaaclab_flows.schemas.files import PARTIAL_SUFFIX
from isaaclab_flows.schemas.job import Job
from isaaclab_flows.tasks.job.folder import JobFolder
from isaaclab_flows.tasks.results.metrics import read_metrics
from isaaclab_flows.tasks.results.tree import refresh
from isaaclab_flows.tasks.storage import storage_at
from isaaclab_flows.tasks.storage.base import Storage, copy_all
from isaaclab_flows.tasks.storage.folder import FolderStorage

EVERY_SECONDS = 30.0


class Mirror:
    """Copies the new and changed files of a local tree to a storage; remembers what it has sent."""

    def __init__(self, tree: Path, storage: Storage) -> None:
        self._tree = tree
        self._storage = storage
        self._sent: dict[str, tuple[int, int]] = {}

    def sync(self) -> int:
        """Send what is new or changed; return how many files that was. Raises StorageError after retries."""
        if isinstance(self._storage, FolderStorage) and self._storage.root.resolve() == self._tree.resolve():
            return 0
        work = []
        for path in sorted(self._tree.rglob("*")):
            name = path.relative_to(self._tree).as_posix()
            if path.is_symlink() or not path.is_file() or path.name.endswith(PARTIAL_SUFFIX):
                continue
            stamp = (path.stat().st_mtime_ns, path.stat().st_size)
            if self._sent.get(name) != stamp:
                work.append((path, name, stamp))

        def send(path: Path, name: str, stamp: tuple[int, int]) -> None:
            self._storage.upload(path, name)
            self._sent[name] = stamp

        copy_all([(lambda w=w: send(*w), w[1]) for w in work])  # type: ignore[misc]
        return len(work)


class Publisher:
    """Copies what is finished, whenever told and every half minute; faults are warnings until the last copy.

    Args:
        job: The job.
        folder: Its folder.
        warn: Called with a sentence when a copy failed; it is tried again.
        require: Called before anything is written; it raises once the folder is somebody else's.
    """

    def __init__(
        self, job: Job, folder: JobFolder, *, warn: Callable[[str], None], require: Callable[[], None]
    ) -> None:
        self._job = job
        self._folder = folder
        self._warn = warn
        self._require = require
        self._mirror = Mirror(folder.out, storage_at(job.staging_uri))
        self._wake = threading.Event()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        folder.out.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Publisher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._wake.set()
        self._thread.join()

    def wake(self) -> None:
        """Something was finished: copy it now."""
        self._wake.set()

    def finish(self) -> None:
        """Copy everything that there is, for the last time. Raises StorageError after retries."""
        self._require()
        self._mirror.sync()

    def _run(self) -> None:
        while not self._end.is_set():
            self._wake.wait(EVERY_SECONDS)
            self._wake.clear()
            if self._end.is_set():
                return
            try:
                self._require()
                refresh(self._job, self._folder, settled=False)
                if self._job.kind == "training":
                    read_metrics(self._folder.run / "tensorboard").write(self._folder.out / "metrics.csv")
                self._mirror.sync()
            except Exception as error:
                self._warn(f"Saving what is finished failed and will be tried again: {error}")
