"""The Lambda that VAMS calls: request document first, then the pipeline's flow run, then a short word back.

VAMS ignores what this returns and waits for the token's answer. So an error is never returned: it is raised, which
fails the attempt at once and lets VAMS retry; where retrying cannot help, the token is answered with the reason first.

Environment: PREFECT_API_URL, PREFECT_SECRET_ARN (may be empty: no credentials), REQUESTS_BUCKET, REQUESTS_PREFIX,
PIPELINE_DEPLOYMENT (``flow/name``).
"""

from __future__ import annotations

import json
import logging
import os
import time
from functools import lru_cache
from typing import Any

import boto3
from botocore.config import Config

from bridge import answers
from bridge.delivery import Delivery, token_of
from bridge.documents import Documents, RecordedDelivery
from bridge.errors import HopelessError
from bridge.event import read_event
from bridge.prefect_api import FlowRun, PrefectApi

_CLIENT_CONFIG = Config(connect_timeout=5, read_timeout=8, retries={"mode": "standard", "total_max_attempts": 4})
_log = logging.getLogger("vams_bridge")
_log.setLevel(logging.INFO)


def handler(event: object, _context: object = None) -> dict[str, Any]:
    """Start the pipeline for one VAMS execution, exactly once however often it is delivered.

    Returns:
        The job id, the flow run's id and link, and whether this delivery created it.

    Raises:
        BridgeError: Nothing was started; VAMS's retry acts.
    """
    received_at = time.time()
    try:
        return _deliver(read_event(event), received_at)
    except HopelessError as error:
        _say("refused", error=error.name, cause=error.cause)
        if token := token_of(event):
            answers.refuse(_client("stepfunctions"), token, error)
        raise


def _deliver(delivery: Delivery, received_at: float) -> dict[str, Any]:
    documents = Documents(_client("s3"), os.environ["REQUESTS_BUCKET"], os.environ.get("REQUESTS_PREFIX", "requests/"))
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    recorded = documents.record(delivery, received_at=received_at, region=region)
    if recorded.answer is None:
        run = _start(delivery, recorded, documents)
        # A run that ended while its attempt is unanswered died unheard: the next attempt goes on from its job folder.
        if run.ended and documents.answer(delivery.job_id, recorded.attempt) is None:
            recorded = documents.record(delivery, received_at=received_at, region=region, at_least=recorded.attempt + 1)
            run = _start(delivery, recorded, documents)
        # Read again: the answer may have been decided between the document's writing and now, with the older token.
        answer = documents.answer(delivery.job_id, recorded.attempt)
    else:
        run, answer = None, recorded.answer
    answered = None
    if answer is not None and recorded.newest:
        answered = answers.give(_client("stepfunctions"), delivery.token, answer)
    result = {
        "jobId": delivery.job_id,
        "attempt": recorded.attempt,
        "flowRunId": run.id if run else None,
        "flowRunUrl": run.url if run else None,
        "created": bool(run and run.created),
        "answered": answered,
    }
    _say("delivered", **result)
    return result


def _start(delivery: Delivery, recorded: RecordedDelivery, documents: Documents) -> FlowRun:
    return _prefect().start(
        os.environ.get("PIPELINE_DEPLOYMENT") or "pipeline/isaaclab-pipeline",
        parameters={"request_uri": documents.uri(delivery.job_id)},
        key=f"vams-{delivery.job_id}-{recorded.attempt}",
        name=f"vams-{delivery.job_id[:8]}-{recorded.attempt}",
        tags=["vams", f"job:{delivery.job_id}", f"attempt:{recorded.attempt}"],
    )


@lru_cache(maxsize=3)
def _client(service: str) -> Any:
    """Return boto3's client of a service, made when first needed and kept while this Lambda is warm."""
    return boto3.client(service, config=_CLIENT_CONFIG)  # type: ignore[call-overload]


@lru_cache(maxsize=1)
def _prefect() -> PrefectApi:
    """Return Prefect's API, whose credentials are kept while this Lambda is warm."""
    arn = os.environ.get("PREFECT_SECRET_ARN")
    return PrefectApi(os.environ["PREFECT_API_URL"], (lambda: _secret(arn)) if arn else None)


def _secret(arn: str) -> dict[str, str]:
    answer = _client("secretsmanager").get_secret_value(SecretId=arn)
    try:
        secret = json.loads(answer["SecretString"])
    except (KeyError, ValueError):
        secret = None
    if not isinstance(secret, dict):
        raise HopelessError(
            "isaaclab.bridge_setup", 'The secret PREFECT_SECRET_ARN is no JSON object like {"api_key": "…"}.'
        )
    return secret


def _say(what: str, **facts: object) -> None:
    """Log one JSON line; nothing that is passed here holds a token."""
    _log.info(json.dumps({"message": what, **facts}))
