"""Submits a job exactly once, whatever happens to the answer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from prefect_aws_batch.batch_api import BatchApi, error_code, is_throttled, is_unclear
from prefect_aws_batch.errors import ConfigurationError, MachineLostError
from prefect_aws_batch.states import BatchJob

_LOOKS = 5
"""Looks for a job whose submission got no answer, before it counts as not submitted."""
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 30.0
_TRIES = 8


async def submit_once(
    api: BatchApi, request: dict[str, Any], *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> tuple[str, bool]:
    """Return a job's id, and whether it was adopted rather than submitted now.

    The job's name says whose it is and which try, so a live job of that name is this job: from a worker that was
    killed before it could note the id, or from a submission whose answer was lost.

    Raises:
        ConfigurationError: Batch refuses the request; its words are in the sentence.
        MachineLostError: Batch could not be reached in time.
    """
    queue, name = request["jobQueue"], request["jobName"]
    wait = _FIRST_WAIT
    last: Exception | None = None
    if live := await _live(api, queue, name):
        return live.job_id, True
    for _ in range(_TRIES):
        try:
            return await api.submit(request), False
        except (ClientError, BotoCoreError) as error:
            last = error
            if is_unclear(error):
                # Batch shows a new job after a moment only: look again before submitting again.
                if live := await _look_for(api, queue, name, sleep):
                    return live.job_id, True
            elif not is_throttled(error):
                raise _refused(error, request) from error
        await sleep(random.uniform(wait / 2, wait))
        wait = min(wait * 2, _LONGEST_WAIT)
    raise MachineLostError(
        f"Batch took no job in {_TRIES} tries: {last}", where=f"queue {queue}", remedy="Run it again."
    ) from last


async def _look_for(api: BatchApi, queue: str, name: str, sleep: Callable[[float], Awaitable[None]]) -> BatchJob | None:
    for look in range(_LOOKS):
        await sleep(_FIRST_WAIT * 2**look / 2)
        # One that has ended already counts too: it was submitted.
        if found := await api.find_by_name(queue, name):
            return found[0]
    return None


async def _live(api: BatchApi, queue: str, name: str) -> BatchJob | None:
    try:
        return next((job for job in await api.find_by_name(queue, name) if job.is_live), None)
    except (ClientError, BotoCoreError) as error:
        raise _refused(error, {"jobQueue": queue, "jobName": name}) from error


def _refused(error: Exception, request: dict[str, Any]) -> Exception:
    if not isinstance(error, ClientError):
        return ConfigurationError(
            f"AWS cannot be asked: {error}", where="aws_credentials", remedy="Check credentials and region."
        )
    code = error_code(error)
    said = error.response.get("Error", {}).get("Message", "")
    remedies = {
        "AccessDeniedException": "Give the worker's role batch:SubmitJob, DescribeJobs, ListJobs and TerminateJob.",
        "UnrecognizedClientException": "Check the worker's AWS credentials.",
        "ExpiredTokenException": "Renew the worker's AWS credentials.",
    }
    return ConfigurationError(
        f"Batch refuses the job: {said or code}",
        where=f"queue {request['jobQueue']}, job {request['jobName']}",
        remedy=remedies.get(code, "Check the queue, the image or job definition, roles and sizes in the work pool."),
    )
