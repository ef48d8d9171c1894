"""The events of a simulator, read while it writes them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from isaaclab_flows.schemas.simulator import EVENTS, SimulatorEvent
from isaaclab_flows.tasks.storage.regular import open_regular

LOOK_BYTES = 1 << 20
"""Most that one look at a simulator at work reads: a flood of events holds nobody up."""
MOST_BYTES = 256 << 20
"""What lies beyond is read over: no simulation says so much."""


class EventTail:
    """Reads the complete new lines of progress.jsonl; a torn last line waits for its end.

    Args:
        path: The file; what is no regular file there says nothing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new(self, *, most_bytes: int = MOST_BYTES) -> Iterator[SimulatorEvent]:
        """Yield the events that were appended since the last call; lines that are none are passed over.

        Args:
            most_bytes: The rest, in steps of 1 MiB, is left to the next call.
        """
        end = self._offset + most_bytes
        while self._offset < min(end, MOST_BYTES):
            try:
                with open_regular(self._path) as file:
                    file.seek(self._offset)
                    data = file.read(LOOK_BYTES)
            except OSError:
                return
            whole = data[: data.rfind(b"\n") + 1]
            if not whole and len(data) == LOOK_BYTES:
                whole = data  # no event is so long
            if not whole:
                return
            self._offset += len(whole)
            for line in whole.splitlines():
                with contextlib.suppress(ValidationError):
                    yield EVENTS.validate_json(line, extra="ignore")
