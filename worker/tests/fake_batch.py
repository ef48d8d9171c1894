"""A small fake of boto3's Batch and Logs clients, with Batch's habits: latency, throttling, eventual consistency.

Only what the worker calls, and only as Batch answers it. Faults are injected by name of the call.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError, ReadTimeoutError

Fault = Callable[[], Exception | None]


def throttled(call: str = "DescribeJobs") -> ClientError:
    return ClientError(
        {
            "Error": {"Code": "TooManyRequestsException", "Message": "Rate exceeded"},
            "ResponseMetadata": {"HTTPStatusCode": 429},
        },
        call,
    )


def refused(message: str, call: str = "SubmitJob") -> ClientError:
    return ClientError(
        {"Error": {"Code": "ClientException", "Message": message}, "ResponseMetadata": {"HTTPStatusCode": 400}}, call
    )


def timed_out() -> ReadTimeoutError:
    return ReadTimeoutError(endpoint_url="https://batch")


class FakeBatch:
    """Jobs live until :meth:`move` says otherwise."""

    meta = SimpleNamespace(region_name="eu-central-1")

    def __init__(self, *, latency: float = 0.0, hidden_looks: int = 0) -> None:
        """Args:
        latency: Seconds that every call takes.
        hidden_looks: DescribeJobs and ListJobs do not know a new job for so many calls.
        """
        self.latency = latency
        self.hidden_looks = hidden_looks
        self.jobs: dict[str, dict[str, Any]] = {}
        self.definitions: list[dict[str, Any]] = []
        self.calls: Counter[str] = Counter()
        self.described: list[int] = []
        self.submitted_at: list[float] = []
        self.terminated: list[tuple[str, str]] = []
        self.before: dict[str, list[Exception | None]] = {}
        """Faults of a call that is not carried out, in order; None lets one through."""
        self.after: dict[str, list[Exception | None]] = {}
        """Faults of a call that is carried out, though its answer is lost."""
        self.streams: dict[str, list[dict[str, Any]]] = {}
        self.page = 100
        self.queues = ["gpu"]
        self._lock = threading.Lock()
        self._hidden: Counter[str] = Counter()

    def _enter(self, call: str) -> None:
        time.sleep(self.latency)
        with self._lock:
            self.calls[call] += 1
            faults = self.before.get(call)
            fault = faults.pop(0) if faults else None
        if fault:
            raise fault

    def _leave(self, call: str) -> None:
        with self._lock:
            faults = self.after.get(call)
            fault = faults.pop(0) if faults else None
        if fault:
            raise fault

    def add(self, name: str, queue: str = "gpu", **fields: Any) -> str:
        with self._lock:
            job_id = f"job-{len(self.jobs)}"
            self.jobs[job_id] = {
                "jobId": job_id,
                "jobName": name,
                "jobQueue": queue,
                "status": "SUBMITTED",
                "createdAt": int(time.time() * 1000) + len(self.jobs),
                "tags": {},
            } | fields
            self._hidden[job_id] = self.hidden_looks
        return job_id

    def move(self, job_id: str, status: str, **fields: Any) -> None:
        with self._lock:
            ended = {"stoppedAt": int(time.time() * 1000)} if status in ("SUCCEEDED", "FAILED") else {}
            self.jobs[job_id] = self.jobs[job_id] | {"status": status} | ended | fields

    def fail(self, job_id: str, status_reason: str = "", *, exit_code: int | None = None, reason: str = "") -> None:
        container: dict[str, Any] = {"reason": reason} if reason else {}
        container |= {"exitCode": exit_code} if exit_code is not None else {}
        attempts = [{"container": container}]
        self.move(job_id, "FAILED", statusReason=status_reason, container=container, attempts=attempts)

    def submit_job(self, **request: Any) -> dict[str, Any]:
        self._enter("submit_job")
        self.submitted_at.append(time.monotonic())
        job_id = self.add(request["jobName"], request["jobQueue"], tags=request.get("tags", {}), request=request)
        self._leave("submit_job")
        return {"jobId": job_id, "jobName": request["jobName"]}

    def _visible(self, job_id: str) -> bool:
        if self._hidden[job_id] > 0:
            self._hidden[job_id] -= 1
            return False
        return True

    def describe_jobs(self, jobs: list[str]) -> dict[str, Any]:
        assert 0 < len(jobs) <= 100
        self._enter("describe_jobs")
        with self._lock:
            self.described.append(len(jobs))
            return {"jobs": [self.jobs[job_id] for job_id in jobs if job_id in self.jobs and self._visible(job_id)]}

    def describe_job_queues(self, **request: Any) -> dict[str, Any]:
        self._enter("describe_job_queues")
        return {"jobQueues": [{"jobQueueName": name} for name in self.queues]}

    def list_jobs(self, **request: Any) -> dict[str, Any]:
        self._enter("list_jobs")
        with self._lock:
            found = [job for job in self.jobs.values() if job.get("jobQueue") == request["jobQueue"]]
            if "filters" in request:
                (name,) = request["filters"][0]["values"]
                match = name.removesuffix("*").lower()
                found = [
                    job
                    for job in found
                    if (job["jobName"].lower() == match or (name.endswith("*") and match in job["jobName"].lower()))
                    and self._visible(job["jobId"])
                ]
            else:
                found = [job for job in found if job["status"] == request["jobStatus"]]
            start = int(request.get("nextToken", 0))
            page = [{key: value for key, value in job.items() if key != "tags"} for job in found[start:][: self.page]]
            more = {"nextToken": str(start + self.page)} if start + self.page < len(found) else {}
            return {"jobSummaryList": page, **more}

    def terminate_job(self, **request: Any) -> None:
        self._enter("terminate_job")
        self.terminated.append((request["jobId"], request["reason"]))
        if self.jobs[request["jobId"]]["status"] not in ("SUCCEEDED", "FAILED"):
            self.fail(request["jobId"], request["reason"])

    def register_job_definition(self, **request: Any) -> dict[str, Any]:
        self._enter("register_job_definition")
        name = request["jobDefinitionName"]
        revision = 1 + sum(known["jobDefinitionName"] == name for known in self.definitions)
        definition = {**request, "revision": revision, "status": "ACTIVE", "jobDefinitionArn": f"arn:{name}:{revision}"}
        self.definitions.append(definition)
        return definition

    def describe_job_definitions(self, **request: Any) -> dict[str, Any]:
        self._enter("describe_job_definitions")
        name = request.get("jobDefinitionName")
        found = [d for d in self.definitions if d["status"] == "ACTIVE" and name in (None, d["jobDefinitionName"])]
        return {"jobDefinitions": found}

    def deregister_job_definition(self, **request: Any) -> None:
        self._enter("deregister_job_definition")
        for definition in self.definitions:
            if definition["jobDefinitionArn"] == request["jobDefinition"]:
                definition["status"] = "INACTIVE"

    def get_log_events(self, **request: Any) -> dict[str, Any]:
        self._enter("get_log_events")
        stream = request["logStreamName"]
        if stream not in self.streams:
            error = {"Error": {"Code": "ResourceNotFoundException", "Message": "no stream"}}
            raise ClientError(error, "GetLogEvents")
        events = [e for e in self.streams[stream] if e["timestamp"] >= request.get("startTime", 0)]
        start = int(request.get("nextToken", len(self.streams[stream]) - len(events)))
        page = self.streams[stream][start : start + self.page]
        return {"events": page, "nextForwardToken": str(start + len(page))}

    def log(self, stream: str, *messages: str, at: int = 1_000) -> None:
        lines = self.streams.setdefault(stream, [])
        lines += [{"timestamp": at, "message": message} for message in messages]
