"""Talks to VAMS through its task token: heartbeats while a job runs, and exactly one answer at its end.

An answer's intent is recorded before it is sent and its result after; whoever comes later (a restart, the error
handler, a redelivery) finds the intent and sends the same again, which Step Functions takes at most once.
The token is read anew from the request document before every use, so that a retry's token is the one answered.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, Protocol

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from isaaclab_flows.schemas.errors import FlowsError, InfrastructureLostError
from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.outcome import Outcome
from isaaclab_flows.schemas.request import Callback, Request
from isaaclab_flows.schemas.settings import settings
from isaaclab_flows.tasks.storage.s3 import error_code
from isaaclab_flows.tasks.vams import answers
from isaaclab_flows.tasks.vams.records import (
    Answer,
    Result,
    mark,
    newest_callback,
    record_answer,
    record_sent,
    record_unawaited,
    recorded_answer,
    was_sent,
)

GONE = frozenset({"TaskTimedOut", "TaskDoesNotExist", "InvalidToken"})
"""What Step Functions says of a token that has expired, was answered, or never was."""
CLIENT_CONFIG = Config(connect_timeout=5, read_timeout=15, retries={"mode": "standard", "total_max_attempts": 3})
RETRY_SECONDS = 5.0
SEND_WITHIN_SECONDS = 600.0
Heard = Literal["alive", "gone", "unknown"]

_log = logging.getLogger("isaaclab_flows.vams")


class StepFunctions(Protocol):
    """The three calls that answer a token."""

    def send_task_heartbeat(self, *, taskToken: str) -> Any: ...  # noqa: D102, N803

    def send_task_success(self, *, taskToken: str, output: str) -> Any: ...  # noqa: D102, N803

    def send_task_failure(self, *, taskToken: str, error: str, cause: str) -> Any: ...  # noqa: D102, N803


class Heartbeats:
    """A thread that holds off VAMS's heartbeat timeout until the answer.

    Args:
        callback: Where to.
        on_unawaited: Called once, in the thread, when nobody has waited for the setting's time.
    """

    def __init__(self, callback: Callback, on_unawaited: Callable[[], None] | None = None) -> None:
        self.unawaited = threading.Event()
        self._callback = callback
        self._on_unawaited = on_unawaited
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vams-heartbeats", daemon=True)

    def start(self) -> None:
        """Send the first heartbeat now, the next ones in the background."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a call under way is not waited for longer than 30 s."""
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        gone_since: float | None = None
        while True:
            heard, code = self._beat()
            gone_since = (
                None if heard == "alive" else (gone_since or time.monotonic()) if heard == "gone" else gone_since
            )
            if self._nobody_waits(gone_since, code):
                return
            # After trouble the next try comes soon: a missed beat counts against VAMS's timeout.
            pause = self._callback.heartbeat_seconds
            if self._stop.wait(pause if heard == "alive" else min(pause, RETRY_SECONDS)):
                return

    def _beat(self) -> tuple[Heard, str]:
        """Send one heartbeat with the newest token."""
        try:
            self._callback = newest_callback(self._callback)
        except FlowsError as error:
            # The token known so far may still be the newest.
            _log.warning("The request document cannot be read just now: %s", error.sentence)
        try:
            _step_functions(self._callback).send_task_heartbeat(taskToken=self._callback.task_token.get_secret_value())
        except (ClientError, BotoCoreError, OSError) as error:
            code = error_code(error)
            if code in GONE:
                return "gone", code
            _log.warning("VAMS's heartbeat failed (%s); trying again in %g s", code, RETRY_SECONDS)
            return "unknown", code
        return "alive", ""

    def _nobody_waits(self, gone_since: float | None, code: str) -> bool:
        """Note that the token is gone, once VAMS has had the time to retry with a new one."""
        patience = settings().end_unawaited_after_seconds
        if self._callback.end_unawaited_after_seconds is not None:
            # Where the setting lets jobs go on, they go on.
            patience = min(patience, self._callback.end_unawaited_after_seconds)
        if gone_since is None or not patience or time.monotonic() - gone_since < patience:
            return False
        _log.error(
            "VAMS no longer waits for this execution: token %s is gone (%s) and no newer one came in %g s",
            mark(self._callback),
            code,
            patience,
        )
        try:
            record_unawaited(self._callback, code)
        except FlowsError as error:
            _log.warning("That nobody waits could not be recorded: %s", error.sentence)
        self.unawaited.set()
        if self._on_unawaited is not None:
            self._on_unawaited()
        return True


@contextmanager
def start_heartbeats(request: Request, on_unawaited: Callable[[], None] | None = None) -> Iterator[Heartbeats | None]:
    """Send heartbeats to VAMS from here to the end of the block; for other requests, nothing.

    Args:
        request: As read from its document.
        on_unawaited: Ends the job; called when nobody waits any more, see ``end_unawaited_after_seconds``.
    """
    if request.callback is None:
        yield None
        return
    heartbeats = Heartbeats(request.callback, on_unawaited)
    heartbeats.start()
    try:
        yield heartbeats
    finally:
        heartbeats.stop()


def answer_success(
    request: Request, job: Job, outcome: Outcome, *, links: dict[str, str] | None = None
) -> Answer | None:
    """Answer VAMS that the job succeeded; call it only when the outputs are checked, published and described.

    Returns:
        The answer that counts, which an earlier run of this attempt may have decided; None where nobody asked.

    Raises:
        InfrastructureLostError: The answer is decided but Step Functions took no call for ten minutes.
    """
    if request.callback is None:
        return None
    most = answers.MOST_KEPT_OUTPUT if request.bus is not None else answers.MOST_OUTPUT
    answer = answers.success(job, outcome, attempt=request.callback.attempt, links=links, most=most)
    return _answer(request.callback, answer)


def answer_failure(request: Request, error: BaseException) -> Answer | None:
    """Answer VAMS that the job ended without success; see :func:`answer_success`."""
    if request.callback is None:
        return None
    secret = request.callback.task_token.get_secret_value()
    return _answer(request.callback, answers.failure(error, attempt=request.callback.attempt, secret=secret))


def resend(request: Request) -> Answer | None:
    """Send the answer that an earlier process decided, where that is not known to have arrived.

    Returns:
        That answer, or None where nothing is decided yet.
    """
    if request.callback is None:
        return None
    answer = recorded_answer(request.callback)
    if answer is not None:
        _send_to_newest(request.callback, answer)
    return answer


def _answer(callback: Callback, answer: Answer) -> Answer | None:
    newest = newest_callback(callback)
    if newest.attempt > callback.attempt:
        _log.info("Attempt %d is answered by attempt %d instead", callback.attempt, newest.attempt)
        return None
    answer = record_answer(callback, answer)
    _send_to_newest(callback, answer)
    return answer


def _send_to_newest(callback: Callback, answer: Answer) -> None:
    """Send an answer to the newest token, and again when a newer one came meanwhile.

    A token that arrives after the last look here is answered by the bridge, which looks for the recorded answer after
    it has written the token.
    """
    answered = ""
    while True:
        newest = newest_callback(callback)
        if newest.attempt != callback.attempt or mark(newest) == answered:
            return
        if not was_sent(newest):
            result = _send(newest, answer)
            record_sent(newest, result)
            _log.info("VAMS was answered: %s (token %s: %s)", answer.error or "success", mark(newest), result)
        answered = mark(newest)


def _send(callback: Callback, answer: Answer) -> Result:
    token = callback.task_token.get_secret_value()
    end = time.monotonic() + SEND_WITHIN_SECONDS
    while True:
        try:
            client = _step_functions(callback)
            if answer.status == "succeeded":
                client.send_task_success(taskToken=token, output=json.dumps(answer.output))
            else:
                client.send_task_failure(taskToken=token, error=answer.error, cause=answer.cause)
            return "accepted"
        except (ClientError, BotoCoreError, OSError) as error:
            code = error_code(error)
            if code in GONE:
                return "gone"
            if time.monotonic() + RETRY_SECONDS > end:
                raise InfrastructureLostError(
                    f"VAMS could not be answered within {SEND_WITHIN_SECONDS:.0f} s ({code})",
                    where="Step Functions",
                    remedy="The answer is recorded and is sent when this run, or handle-error, runs again.",
                ) from None
            _log.warning("VAMS's answer was not taken (%s); trying again in %g s", code, RETRY_SECONDS)
            time.sleep(RETRY_SECONDS)


def _step_functions(callback: Callback) -> StepFunctions:
    client: StepFunctions = boto3.client("stepfunctions", region_name=callback.region, config=CLIENT_CONFIG)
    return client
