"""Artifacts of a flow run, written behind the work: a server that is slow, busy or gone holds nothing up."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

Kind = Literal["progress", "markdown", "image", "table"]
QUIET_SECONDS = 60.0
"""After a fault nothing is written for so long."""
FLUSH_SECONDS = 10.0
_LOOK = "(look whether the runs are there)"


@dataclass(frozen=True)
class _Artifact:
    kind: Kind
    data: Any
    description: str
    runs: tuple[UUID, ...]


class ArtifactWriter:
    """Artifacts of the current flow run (and the one above it) under one prefix, each written anew or updated.

    A thread of its own writes them, the newest of each, once: what fails is dropped, told once, and nothing more is
    tried for a minute.

    Args:
        prefix: Ends the artifacts' keys, so that jobs do not share them; `[a-z0-9-]`.
        logger: Where a fault is told.
        above: The run that somebody started and that this one works for.
        shown_above: Whether that run shows the artifacts too.
        clock: Monotonic time [s].
    """

    def __init__(
        self,
        prefix: str,
        logger: logging.Logger | logging.LoggerAdapter[logging.Logger],
        *,
        above: UUID | None = None,
        shown_above: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._prefix = "".join(c for c in prefix.lower() if c.isalnum() or c == "-")
        self._logger = logger
        self._above = above
        self._shown_above = shown_above and above is not None
        self._clock = clock
        self._written: dict[tuple[str, UUID], UUID] = {}
        self._waiting: dict[str, _Artifact] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._faulty = False
        self._quiet_until = float("-inf")
        self.gone = False
        """One of the runs was deleted from the server, as of the last look."""

    def put(self, name: str, kind: Kind, data: Any, description: str) -> None:
        """Write or update an artifact, soon; faults are logged once and otherwise passed over.

        Args:
            name: Begins the key, `[a-z0-9-]`.
            kind: Prefect's artifact type.
            data: A percentage, markdown, an image's address, or a table's rows as JSON.
            description: One line above it.
        """
        runs = self._runs()
        if runs:
            self._later(name, _Artifact(kind, data, description, tuple(runs)))

    def look(self) -> None:
        """Find out, soon, whether one of the runs is gone from the server; one that does not answer says nothing."""
        own = self._own()
        if own:
            runs = {*own, *([self._above] if self._above else [])}
            self._later(_LOOK, _Artifact("progress", None, "", tuple(runs)))

    def flush(self, seconds: float = FLUSH_SECONDS) -> None:
        """Give what waits its last chance: wait until it is written, or so long."""
        thread = self._thread
        if thread is not None:
            thread.join(seconds)

    def retry(self) -> None:
        """Try again at once, also soon after a fault."""
        self._quiet_until = float("-inf")

    def _later(self, name: str, artifact: _Artifact) -> None:
        with self._lock:
            if self._clock() < self._quiet_until:
                return
            self._waiting[name] = artifact
            if self._thread is None:
                # With this thread's context: the run's logger and the settings that were changed for it.
                context = contextvars.copy_context()
                self._thread = threading.Thread(
                    target=context.run, args=(self._write_waiting,), name="artifacts", daemon=True
                )
                self._thread.start()

    def _write_waiting(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                name = next(iter(self._waiting))
                artifact = self._waiting.pop(name)
            try:
                self._write(name, artifact)
            except Exception as error:
                with self._lock:
                    self._waiting.clear()
                    self._quiet_until = self._clock() + QUIET_SECONDS
                if not self._faulty:
                    self._faulty = True
                    self._logger.warning("What the UI shows of this run is behind: %s: %s", type(error).__name__, error)

    def _write(self, name: str, artifact: _Artifact) -> None:
        from prefect.client.orchestration import get_client
        from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
        from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}), get_client(sync_client=True) as client:
            if name == _LOOK:
                self.gone = _is_gone(client, artifact.runs)
                return
            for run in artifact.runs:
                held = self._written.get((name, run))
                if held is not None:
                    client.update_artifact(held, ArtifactUpdate(data=artifact.data, description=artifact.description))
                    continue
                new = ArtifactCreate(
                    key=f"{name}-{self._prefix}",
                    type=artifact.kind,
                    data=artifact.data,
                    description=artifact.description,
                    flow_run_id=run,
                )
                self._written[name, run] = client.create_artifact(new).id

    def _own(self) -> list[UUID]:
        """Return the run that this is called in; outside of any there is nothing to show and nobody to ask."""
        from prefect.context import FlowRunContext

        context = FlowRunContext.get()
        return [] if context is None or context.flow_run is None else [context.flow_run.id]

    def _runs(self) -> list[UUID]:
        runs = self._own()
        if runs and self._shown_above and self._above is not None and self._above not in runs:
            runs.append(self._above)
        return runs


def _is_gone(client: Any, runs: tuple[UUID, ...]) -> bool:
    from prefect.exceptions import ObjectNotFound

    try:
        for run in runs:
            client.read_flow_run(run)
    except ObjectNotFound:
        return True
    return False
