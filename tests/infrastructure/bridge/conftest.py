"""The Lambda with S3 by moto, Prefect by a stand-in of its two calls, Step Functions by a list."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

import handler as bridge_lambda
from bridge.prefect_api import PrefectApi
from isaaclab_flows.schemas.request import Request
from isaaclab_flows.tasks.vams.records import Answer
from tests.infrastructure.prefect_stand_in import PrefectStandIn, prefect_stand_in
from tests.infrastructure.vams_event import EXECUTION, TOKEN

BUCKET = "requests-bkt"
KEY = f"requests/{EXECUTION}/request.json"
LAMBDA = Path(bridge_lambda.__file__).parent


@dataclass
class StepFunctions:
    """Remembers answers; ``errors`` are raised, one a call."""

    sent: list[tuple[str, str, str]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def _fail(self) -> None:
        if self.errors:
            raise ClientError({"Error": {"Code": self.errors.pop(0), "Message": TOKEN}}, "SendTask")

    def send_task_success(self, *, taskToken: str, output: str) -> None:
        self._fail()
        self.sent.append(("success", taskToken, output))

    def send_task_failure(self, *, taskToken: str, error: str, cause: str) -> None:
        self._fail()
        self.sent.append((error, taskToken, cause))


@dataclass
class Bench:
    """Everything around the Lambda."""

    prefect: PrefectStandIn
    step_functions: StepFunctions
    s3: Any

    def document(self) -> Request:
        body = self.s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read()
        return Request.model_validate_json(body)

    def token(self) -> str:
        callback = self.document().callback
        assert callback is not None
        return callback.task_token.get_secret_value()

    def record_answer(self, attempt: int = 1, **changes: Any) -> None:
        """As the flows do it."""
        fields = {"attempt": attempt, "status": "failed", "error": "isaaclab.config", "cause": "why"}
        body = Answer.model_validate(fields | changes).model_dump_json()
        self.s3.put_object(Bucket=BUCKET, Key=f"requests/{EXECUTION}/answer-{attempt:03}.json", Body=body)


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as environment, mock_aws():
        environment.setenv("AWS_ACCESS_KEY_ID", "testing")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        environment.delenv("AWS_ENDPOINT_URL", raising=False)
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        yield client


@pytest.fixture
def bench(s3: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with prefect_stand_in() as prefect:
        for name, value in {
            "AWS_REGION": "eu-west-1",
            "REQUESTS_BUCKET": BUCKET,
            "REQUESTS_PREFIX": "requests/",
            "PREFECT_SECRET_ARN": "",
            "PREFECT_API_URL": prefect.url,
            "PIPELINE_DEPLOYMENT": "pipeline/isaaclab-pipeline",
        }.items():
            monkeypatch.setenv(name, value)
        step_functions = StepFunctions()
        clients = {"s3": s3, "stepfunctions": step_functions}
        monkeypatch.setattr(bridge_lambda, "_client", clients.__getitem__)
        monkeypatch.setattr(bridge_lambda, "_prefect", lambda: api_of(prefect.url))
        yield Bench(prefect, step_functions, s3)
    monkeypatch.undo()
    for entry in s3.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        s3.delete_object(Bucket=BUCKET, Key=entry["Key"])


def api_of(url: str) -> PrefectApi:
    return PrefectApi(url, None, pause=lambda _: None)
