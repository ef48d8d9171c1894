"""The runs that one worker follows, each of which it can let go when another took it over."""

from __future__ import annotations

from collections.abc import Iterator, Set
from contextlib import contextmanager
from uuid import UUID

import anyio


class Following:
    """Remembers the runs under way, and stops following one on demand."""

    def __init__(self) -> None:
        self._scopes: dict[UUID, anyio.CancelScope] = {}

    @property
    def runs(self) -> Set[UUID]:
        """Their ids."""
        return self._scopes.keys()

    @contextmanager
    def of(self, flow_run_id: UUID) -> Iterator[anyio.CancelScope]:
        """Follow a run within; the scope tells afterwards whether it was let go."""
        with anyio.CancelScope() as scope:
            self._scopes[flow_run_id] = scope
            try:
                yield scope
            finally:
                del self._scopes[flow_run_id]

    def let_go(self, flow_run_id: UUID) -> None:
        """Stop following a run, whose job goes on."""
        if scope := self._scopes.get(flow_run_id):
            scope.cancel()
