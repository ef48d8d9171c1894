"""The events of a simulator, read while it writes them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from isaaclab_flows.schemas.simulator import EVENTS, SimulatorEvent


class EventTail:
    """Reads the complete new lines of progress.jsonl; a torn last line waits for its end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new(self) -> Iterator[SimulatorEvent]:
        """Yield the events that were appended since the last call; lines that are none are passed over."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            with contextlib.suppress(ValidationError):
                yield EVENTS.validate_json(line)
