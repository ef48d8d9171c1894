"""Flows that the system tests run inside Batch's containers."""

from __future__ import annotations

import time
from pathlib import Path

from prefect import flow


@flow(log_prints=True, timeout_seconds=300)
def steps(folder: str, mode: str = "quick") -> int:
    """Count attempts in a folder that outlives the container; `wait` then waits to be ended from outside.

    `lost_once` waits in its first attempt only, so that a second one shows that it goes on.
    """
    note = Path(folder) / "attempts"
    attempt = int(note.read_text()) + 1 if note.exists() else 1
    note.write_text(str(attempt))
    print(f"attempt {attempt} says hello")
    waits = mode == "wait" or (mode == "lost_once" and attempt == 1)
    while waits and not (Path(folder) / "go_on").exists():
        time.sleep(0.2)
    (Path(folder) / "done").write_text(str(attempt))
    return attempt
