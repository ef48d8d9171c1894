"""Batch and CloudWatch Logs for asyncio: calls in threads, paced, and patient with throttling."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
)

from prefect_aws_batch.states import LIVE_STATUSES, BatchJob

if TYPE_CHECKING:
    from prefect_aws.credentials import AwsCredentials

_LOGGER = logging.getLogger("prefect.worker.aws-batch.api")

MOST_DESCRIBED = 100
"""Jobs that one DescribeJobs call takes."""
SUBMITS_PER_SECOND = 50.0
"""Batch's limit on SubmitJob."""
LOG_READS_PER_SECOND = 13.0
"""GetLogEvents of running jobs; with those below, still under CloudWatch's limit of 25 a second."""
LAST_LOG_READS_PER_SECOND = 7.0
"""GetLogEvents of jobs that have ended, which do not queue up behind thousands of running ones."""

_THREADS = 12
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 60.0
_TOLD_FROM = 8.0
"""Waits [s] from here on are worth a warning."""
_THROTTLED = frozenset(
    {"ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded", "SlowDown"}
)
_UNAVAILABLE = frozenset({"ServerException", "ServiceUnavailableException", "InternalFailure", "InternalError"})
_EXPIRED = frozenset({"ExpiredTokenException", "ExpiredToken", "RequestExpired"})
_RENEW_AFTER = 30.0
"""Seconds for which renewed credentials count as new: calls under way when they expired renew them once."""
_CONNECTION = (ConnectionClosedError, ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError)


class Pace:
    """Lets through so many a second, in order of arrival, after a burst of one second's worth at most."""

    def __init__(
        self,
        per_second: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._gap = 1.0 / per_second
        self._next = 0.0
        self._clock = clock
        self._sleep = sleep

    async def wait(self) -> None:
        """Return when it is this caller's turn."""
        now = self._clock()
        turn = max(self._next, now)
        self._next = turn + self._gap
        if turn > now:
            await self._sleep(turn - now)


class BatchApi:
    """What the worker asks of AWS. Throttled calls wait (with jitter) and go again until they get through.

    Args:
        batch: boto3's Batch client; its own retries must be off, so that a SubmitJob is never sent twice unseen.
        logs: boto3's CloudWatch Logs client.
        sqs: boto3's SQS client, for events.
        renew: Makes all clients anew, with fresh credentials; those of an assumed role last an hour.
        sleep: For tests.
    """

    def __init__(
        self,
        batch: Any,
        logs: Any = None,
        sqs: Any = None,
        *,
        renew: Callable[[], Sequence[Any]] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._renew = renew
        self._renewed_at = -_RENEW_AFTER
        self._renewing = threading.Lock()
        self._batch, self._logs, self.sqs = batch, logs, sqs
        self._sleep = sleep
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="batch-api")
        self._submits = Pace(SUBMITS_PER_SECOND, sleep=sleep)
        self._log_reads = Pace(LOG_READS_PER_SECOND, sleep=sleep)
        self._last_log_reads = Pace(LAST_LOG_READS_PER_SECOND, sleep=sleep)

    @classmethod
    def connect(cls, credentials: AwsCredentials) -> BatchApi:
        """Connect with prefect-aws's block, or boto3's own chain where that is empty."""
        parameters = credentials.aws_client_parameters.get_params_override()
        if credentials.region_name:
            parameters["region_name"] = credentials.region_name
        own = Config(
            retries={"total_max_attempts": 1}, connect_timeout=10, read_timeout=30, max_pool_connections=_THREADS
        )
        given = parameters.pop("config", None)
        config = given.merge(own) if given else own

        def clients() -> list[Any]:
            # A block with a role assumes it here, once: its session does not renew itself.
            session = credentials.get_boto3_session()
            return [session.client(name, config=config, **parameters) for name in ("batch", "logs", "sqs")]

        return cls(*clients(), renew=clients)

    @property
    def region(self) -> str:
        """The region of the calls."""
        return str(self._batch.meta.region_name)

    def close(self) -> None:
        """Let the threads go; calls under way end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def describe(self, job_ids: Sequence[str]) -> list[BatchJob]:
        """Describe up to 100 jobs. One that Batch does not know (yet) is missing from the answer."""
        answer = await self.call(self._batch.describe_jobs, jobs=list(job_ids))
        return [BatchJob.of(detail) for detail in answer["jobs"]]

    async def list_live(self, queue: str) -> list[BatchJob]:
        """List a queue's live jobs, in each status; summaries only: no tags, no log streams."""
        found: dict[str, BatchJob] = {}
        for status in LIVE_STATUSES:
            found |= {job.job_id: job for job in await self._list(jobQueue=queue, jobStatus=status)}
        return list(found.values())

    async def find_by_name(self, queue: str, name: str) -> list[BatchJob]:
        """Return a queue's jobs of exactly this name, in any status, newest first."""
        found = await self._list(jobQueue=queue, filters=[{"name": "JOB_NAME", "values": [name]}])
        return sorted((job for job in found if job.name == name), key=lambda job: -job.created_at)

    async def find_by_prefix(self, queue: str, prefix: str) -> list[BatchJob]:
        """Return a queue's jobs whose names begin so, in any status, newest first."""
        found = await self._list(jobQueue=queue, filters=[{"name": "JOB_NAME", "values": [f"{prefix}*"]}])
        return sorted(found, key=lambda job: -job.created_at)

    async def queue_names(self) -> list[str]:
        """Return the names of all job queues of the account and region."""
        return [str(queue["jobQueueName"]) for queue in await self._pages(self._batch.describe_job_queues, "jobQueues")]

    async def list_nodes(self, job_id: str) -> list[BatchJob]:
        """List the nodes of a multi-node job."""
        return await self._list(multiNodeJobId=job_id)

    async def submit(self, request: dict[str, Any]) -> str:
        """Submit one job, at most 50 a second, and return its id. Sent once: see submission.py."""
        await self._submits.wait()
        answer = await self._in_thread(self._batch.submit_job, **request)
        return str(answer["jobId"])

    async def terminate(self, job_id: str, reason: str) -> None:
        """End a job in any status: SIGTERM first, SIGKILL after the machine's stop timeout (30 s by default)."""
        await self.call(self._batch.terminate_job, jobId=job_id, reason=reason)

    async def definitions(self, name: str) -> list[dict[str, Any]]:
        """Return the active revisions of a job definition."""
        answer = await self.call(self._batch.describe_job_definitions, jobDefinitionName=name, status="ACTIVE")
        return list(answer["jobDefinitions"])

    async def all_definitions(self) -> list[dict[str, Any]]:
        """Return every active job definition."""
        return await self._pages(self._batch.describe_job_definitions, "jobDefinitions", status="ACTIVE")

    async def register(self, name: str, definition: dict[str, Any]) -> str:
        """Register a job definition and return its ARN."""
        answer = await self.call(self._batch.register_job_definition, jobDefinitionName=name, **definition)
        return str(answer["jobDefinitionArn"])

    async def deregister(self, arn: str) -> None:
        """Take a revision of a job definition out of use; jobs under way keep it."""
        await self.call(self._batch.deregister_job_definition, jobDefinition=arn)

    async def log_events(self, group: str, stream: str, token: str | None, start: int) -> dict[str, Any]:
        """Read one page of a log stream, oldest first, from a token or else from a time [ms].

        Raises:
            ClientError: ResourceNotFoundException while nothing was logged yet.
        """
        await self._log_reads.wait()
        return await self._log_page(group, stream, token, start)

    async def last_log_events(self, group: str, stream: str, token: str | None, start: int) -> dict[str, Any]:
        """Read one page of the log of a job that has ended; otherwise as :meth:`log_events`."""
        await self._last_log_reads.wait()
        return await self._log_page(group, stream, token, start)

    async def _log_page(self, group: str, stream: str, token: str | None, start: int) -> dict[str, Any]:
        request: dict[str, Any] = {"logGroupName": group, "logStreamName": stream, "startFromHead": True}
        request |= {"nextToken": token} if token else {"startTime": start}
        answer: dict[str, Any] = await self.call(self._logs.get_log_events, **request)
        return answer

    async def _list(self, **request: Any) -> list[BatchJob]:
        pages = await self._pages(self._batch.list_jobs, "jobSummaryList", **request)
        return [BatchJob.of(summary) for summary in pages]

    async def _pages(self, function: Callable[..., Any], key: str, **request: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            answer = await self.call(function, **request)
            found += answer[key]
            if not answer.get("nextToken"):
                return found
            request["nextToken"] = answer["nextToken"]

    async def call(self, function: Callable[..., Any], **request: Any) -> Any:
        """Call AWS, again and again while it throttles, is unavailable or cannot be reached.

        Only for calls that may be repeated. There is no last try: a worker without AWS has nothing better to do, and
        giving up would crash runs whose jobs go on.
        """
        wait = _FIRST_WAIT
        while True:
            try:
                return await self._in_thread(function, **request)
            except (ClientError, BotoCoreError) as error:
                if not (is_throttled(error) or is_unclear(error)):
                    raise
                problem = error
            if wait >= _TOLD_FROM:
                _LOGGER.warning("AWS does not answer, or throttles: %s. Trying again.", problem)
            # Jitter: workers that were throttled together do not come back together.
            await self._sleep(random.uniform(wait / 4, wait))
            wait = min(wait * 2, _LONGEST_WAIT)

    async def _in_thread(self, function: Callable[..., Any], **request: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: self._call(function, request))

    def _call(self, function: Callable[..., Any], request: dict[str, Any]) -> Any:
        try:
            return function(**request)
        except ClientError as error:
            if self._renew is None or error_code(error) not in _EXPIRED:
                raise
            return getattr(self._renewed(function), function.__name__)(**request)

    def _renewed(self, function: Callable[..., Any]) -> Any:
        """Return the client with fresh credentials that a function of the old one belongs to."""
        owner = getattr(function, "__self__", None)
        of = next((name for name in ("_logs", "sqs") if getattr(self, name) is owner), "_batch")
        with self._renewing:
            if time.monotonic() - self._renewed_at > _RENEW_AFTER:
                assert self._renew is not None
                self._batch, self._logs, self.sqs = self._renew()
                self._renewed_at = time.monotonic()
        return getattr(self, of)


def error_code(error: Exception) -> str:
    """Return AWS's code of an error, or an empty string."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def is_throttled(error: Exception) -> bool:
    """Whether AWS refused the call for being one too many; it was not carried out."""
    return error_code(error) in _THROTTLED


def is_unclear(error: Exception) -> bool:
    """Whether the call may or may not have been carried out: no answer, or an answer of failure on AWS's side."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return error_code(error) in _UNAVAILABLE or status >= 500
    return isinstance(error, _CONNECTION)
