"""The two REST calls of Prefect that the Lambda makes, with faults by number of call."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class PrefectStandIn:
    """Remembers what was asked of it.

    ``faults`` are consumed one a POST: an int is answered instead, ``"lost"`` creates the run and drops the answer.
    """

    url: str = ""
    deployment: str = "pipeline/isaaclab-pipeline"
    authorization: str | None = None
    faults: list[int | str] = field(default_factory=list)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    headers: list[str | None] = field(default_factory=list)

    def create(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Create a run, or find the one of this idempotency key."""
        key = body["idempotency_key"]
        if key in self.runs:
            return 200, self.runs[key]
        run = {"id": str(uuid.uuid4()), "state": {"type": "SCHEDULED"}, **body}
        self.runs[key] = run
        return 201, run


@contextmanager
def prefect_stand_in() -> Iterator[PrefectStandIn]:
    """Serve on a free port."""
    state = PrefectStandIn()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self, status: int, body: object) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _allowed(self) -> bool:
            state.headers.append(self.headers.get("Authorization"))
            if state.authorization in (None, self.headers.get("Authorization")):
                return True
            self._answer(401, {})
            return False

        def do_GET(self) -> None:
            if self._allowed():
                known = self.path == f"/api/deployments/name/{state.deployment}"
                self._answer(200 if known else 404, {"id": "d1"} if known else {"detail": "not found"})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if not self._allowed():
                return
            fault = state.faults.pop(0) if state.faults else None
            if isinstance(fault, int):
                self._answer(fault, {})
            elif fault == "lost":
                state.create(body)
                self.close_connection = True
                self.connection.close()
            else:
                self._answer(*state.create(body))

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}/api"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
