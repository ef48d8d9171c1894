"""Step Functions as VAMS uses it: one task that waits for a token, retried twice, with time limits.

Serves the three token calls over HTTP, as boto3 makes them, and enforces what AWS enforces: a token is known, lives
for one attempt and is answered once; heartbeats keep it alive; sizes are bounded. Faults are injected by method.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

MOST_OUTPUT = 262_144
MOST_ERROR = 256
MOST_CAUSE = 32_768
MOST_TOKEN = 2_048
RETRIES = 2
Fault = Literal["fails", "succeeds but times out"]
Event = dict[str, Any]
Invoke = Callable[[Event], object]


@dataclass
class Attempt:
    """One attempt of the waiting task."""

    token: str
    started: float
    heard: float
    result: dict[str, Any] | None = None
    """How it ended: ``output``, or ``error`` and ``cause``."""
    by_token: bool = False
    """It was ended by an answer, not by a timeout or the Lambda."""


@dataclass
class Call:
    """One call of the three."""

    method: str
    token: str
    refused: str
    at: float


@dataclass
class Execution:
    """One run of the state machine."""

    attempts: list[Attempt] = field(default_factory=list)
    status: str = "RUNNING"
    output: dict[str, Any] | None = None
    error: str = ""
    cause: str = ""

    @property
    def tokens(self) -> list[str]:
        return [attempt.token for attempt in self.attempts]


class StepFunctions:
    """The stand-in.

    Args:
        interval: Seconds before the first retry (VAMS: 5), doubled for the second.
    """

    def __init__(self, *, interval: float = 5.0) -> None:
        self.url = ""
        self.calls: list[Call] = []
        self.faults: dict[str, list[Fault]] = {}
        self._interval = interval
        self._changed = threading.Condition()
        self._attempts: dict[str, Attempt] = {}

    def run(
        self,
        event_of: Callable[[str], Event],
        invoke: Invoke,
        *,
        timeout: float,
        heartbeat: float | None = None,
        retries: int = RETRIES,
        on_execution: Callable[[Execution], None] | None = None,
    ) -> Execution:
        """Run VAMS's state machine to its end.

        Args:
            event_of: The event for a token.
            invoke: The Lambda; raising fails the attempt.
            timeout: TimeoutSeconds of one attempt.
            heartbeat: HeartbeatSeconds.
            retries: MaxAttempts of the Retry.
            on_execution: Called with the execution at its beginning.
        """
        execution = Execution()
        if on_execution:
            on_execution(execution)
        for number in range(retries + 1):
            if number:
                time.sleep(self._interval * 2 ** (number - 1))
            attempt = self._attempt(execution, event_of, invoke, timeout, heartbeat)
            assert attempt.result is not None
            if "output" in attempt.result:
                execution.status, execution.output = "SUCCEEDED", attempt.result["output"]
                return execution
            execution.error, execution.cause = attempt.result["error"], attempt.result["cause"]
        # VAMS's Catch: the error is stored and the workflow fails.
        execution.status = "FAILED"
        return execution

    def accepted(self, method: str | None = None) -> list[Call]:
        """Return the answers (not heartbeats) that were taken, or the taken calls of one method."""
        wanted = (method,) if method else ("SendTaskSuccess", "SendTaskFailure")
        return [call for call in self.calls if call.method in wanted and not call.refused]

    def _attempt(
        self,
        execution: Execution,
        event_of: Callable[[str], Event],
        invoke: Invoke,
        timeout: float,
        heartbeat: float | None,
    ) -> Attempt:
        now = time.monotonic()
        attempt = Attempt(secrets.token_urlsafe(400), now, now)
        with self._changed:
            self._attempts[attempt.token] = attempt
            execution.attempts.append(attempt)
        try:
            invoke(event_of(attempt.token))
        except Exception as error:
            self._end(attempt, {"error": type(error).__name__, "cause": str(error)})
        with self._changed:
            while attempt.result is None:
                now = time.monotonic()
                limits = [(attempt.started + timeout, "States.Timeout")]
                if heartbeat is not None:
                    limits.append((attempt.heard + heartbeat, "States.HeartbeatTimeout"))
                end, name = min(limits)
                if now >= end:
                    attempt.result = {"error": name, "cause": ""}
                    break
                self._changed.wait(end - now)
        return attempt

    def _end(self, attempt: Attempt, result: dict[str, Any], *, by_token: bool = False) -> bool:
        with self._changed:
            if attempt.result is not None:
                return False
            attempt.result, attempt.by_token = result, by_token
            self._changed.notify_all()
            return True

    def take(self, method: str, body: dict[str, Any]) -> str:
        """Take one call; return the error's code, empty where it was accepted."""
        refused = self._take(method, body)
        self.calls.append(Call(method, str(body.get("taskToken", "")), refused, time.monotonic()))
        return refused

    def _take(self, method: str, body: dict[str, Any]) -> str:
        token = body.get("taskToken")
        if not isinstance(token, str) or not 0 < len(token) <= MOST_TOKEN:
            return "ValidationException"
        attempt = self._attempts.get(token)
        if attempt is None:
            return "InvalidToken"
        if attempt.result is not None:
            return "TaskTimedOut"
        if method == "SendTaskHeartbeat":
            with self._changed:
                attempt.heard = time.monotonic()
            return ""
        if method == "SendTaskSuccess":
            if len(body["output"].encode()) > MOST_OUTPUT:
                return "ValidationException"
            try:
                result = {"output": json.loads(body["output"])}
            except ValueError:
                return "InvalidOutput"
        else:
            if len(body.get("error", "")) > MOST_ERROR or len(body.get("cause", "")) > MOST_CAUSE:
                return "ValidationException"
            result = {"error": body.get("error", ""), "cause": body.get("cause", "")}
        return "" if self._end(attempt, result, by_token=True) else "TaskTimedOut"

    def next_fault(self, method: str) -> Fault | None:
        """Take the next injected fault of a method."""
        waiting = self.faults.get(method)
        return waiting.pop(0) if waiting else None


@contextmanager
def step_functions(*, interval: float = 5.0) -> Iterator[StepFunctions]:
    """Serve a stand-in on a free port."""
    stand_in = StepFunctions(interval=interval)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            method = self.headers["X-Amz-Target"].partition(".")[2]
            fault = stand_in.next_fault(method)
            if fault == "fails":
                self._answer(500, {"__type": "InternalFailure", "message": "injected"})
                return
            code = stand_in.take(method, body)
            if fault == "succeeds but times out":
                # What the client sees of a lost answer, without its waiting for a real timeout.
                self.close_connection = True
                self.connection.close()
            elif code:
                self._answer(400, {"__type": code, "message": code})
            else:
                self._answer(200, {})

        def _answer(self, status: int, body: object) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    stand_in.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield stand_in
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
