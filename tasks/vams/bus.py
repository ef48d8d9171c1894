"""Tells VAMS 2.6's bus which Batch job works for an execution, so that its abort ends that job and it shows its log."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from isaaclab_flows.schemas.request import VamsBus
from isaaclab_flows.schemas.settings import settings
from isaaclab_flows.tasks.storage.s3 import error_code
from isaaclab_flows.tasks.vams.callback import CLIENT_CONFIG

DETAIL_TYPE = "pipeline.execution.register"
POLL_SECONDS = 2.0
ABORTED = "Aborted by VAMS execution abort"
"""The reason that VAMS gives when it ends a job that was registered."""
_JOB_ID = re.compile(r"[A-Za-z0-9_-]+")
_log = logging.getLogger("isaaclab_flows.vams")


def detail_of(bus: VamsBus, batch_job: str, *, log_group: str | None) -> dict[str, Any]:
    """Return the event's detail.

    Args:
        bus: Where it goes.
        batch_job: The Batch job's id; of an array or several nodes, any part's.
        log_group: CloudWatch's group with the jobs' logs, where there is one.
    """
    # Ids of parts (`…:0`, `…#0`) are dropped by VAMS; ending the whole ends its parts.
    found = _JOB_ID.match(batch_job)
    detail: dict[str, Any] = {
        "pipelineExecutionId": bus.pipeline_execution_id,
        "subExecution": {"resourceType": "batchJob", "jobId": found[0] if found else batch_job},
    }
    if log_group:
        detail["logs"] = [{"logGroupName": log_group}]
    return detail


def register(bus: VamsBus, batch_job: str) -> bool:
    """Tell the bus of a Batch job; False, with a line in the log, where it did not take it."""
    detail = detail_of(bus, batch_job, log_group=settings().jobs_log_group)
    entry = {"EventBusName": bus.arn, "Source": bus.source, "DetailType": DETAIL_TYPE, "Detail": json.dumps(detail)}
    region = bus.arn.split(":")[3] if bus.arn.count(":") > 3 else None
    try:
        answer = boto3.client("events", region_name=region, config=CLIENT_CONFIG).put_events(Entries=[entry])
    except (ClientError, BotoCoreError, OSError) as error:
        _log.warning("VAMS's bus did not take the job's registration: %s", error_code(error))
        return False
    if answer.get("FailedEntryCount"):
        _log.warning("VAMS's bus did not take the job's registration: %s", answer["Entries"][0].get("ErrorCode"))
        return False
    _log.info("VAMS knows the Batch job %s", batch_job)
    return True


@contextmanager
def registered(bus: VamsBus | None, batch_job: Callable[[], str | None]) -> Iterator[None]:
    """Register a job as soon as it has an id, while the block waits for the job; without a bus, do nothing.

    Args:
        bus: Where to.
        batch_job: Returns the Batch job's id, or None while there is none.
    """
    if bus is None:
        yield
        return
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(POLL_SECONDS):
            try:
                found = batch_job()
            except Exception as error:  # best effort: the job itself must not fail by it
                _log.warning("The job's id cannot be read just now: %s", error)
                continue
            if found and register(bus, found):
                return

    thread = threading.Thread(target=watch, name="vams-registration", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)
