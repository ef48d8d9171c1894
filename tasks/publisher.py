"""Brings the publishable tree up to date and mirrors it while the simulator runs, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable

from schemas.job import Job
from tasks.job_folder import JobFolder
from tasks.metrics import read_metrics
from tasks.outputs import Mirror, refresh
from tasks.storage import storage_at

EVERY_SECONDS = 30.0


class Publisher:
    """Copies what is finished, whenever told and every half minute; faults are warnings until the last copy.

    Args:
        job: The job.
        folder: Its folder.
        warn: Called with a sentence when a copy failed; it is tried again.
    """

    def __init__(self, job: Job, folder: JobFolder, *, warn: Callable[[str], None]) -> None:
        self._job = job
        self._folder = folder
        self._warn = warn
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
        self._mirror.sync()

    def _run(self) -> None:
        while not self._end.is_set():
            self._wake.wait(EVERY_SECONDS)
            self._wake.clear()
            if self._end.is_set():
                return
            try:
                refresh(self._job, self._folder, settled=False)
                if self._job.kind == "training":
                    read_metrics(self._folder.run / "tensorboard").write(self._folder.out / "metrics.csv")
                self._mirror.sync()
            except Exception as error:
                self._warn(f"Saving what is finished failed and will be tried again: {error}")
