"""The deploy runner and the observer, against AWS's API as moto has it."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws

FOLDER = Path(__file__).resolve().parents[2] / "infrastructure"


def _load(folder: str) -> ModuleType:
    """Load a Lambda's handler as Lambda does: by its own folder, not as part of a package."""
    spec = importlib.util.spec_from_file_location(f"{folder}_handler", FOLDER / folder / "handler.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def _aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        yield


class Ecs:
    """ECS, for one task: each look shows its next state."""

    def __init__(self, *states: dict[str, Any], failures: list[dict[str, str]] | None = None) -> None:
        self._states = list(states)
        self._failures = failures or []
        self.stopped: list[str] = []
        self.started: list[dict[str, Any]] = []

    def run_task(self, **request: Any) -> dict[str, Any]:
        self.started.append(request)
        return {"failures": self._failures, "tasks": [] if self._failures else [{"taskArn": "arn:task"}]}

    def describe_tasks(self, **_: Any) -> dict[str, Any]:
        return {"tasks": [self._states.pop(0) if len(self._states) > 1 else self._states[0]]}

    def stop_task(self, *, task: str, **_: Any) -> None:
        self.stopped.append(task)


PROPERTIES = {
    "cluster": "c",
    "taskDefinition": "t:1",
    "subnets": ["s"],
    "securityGroups": ["g"],
    "logGroup": "/isaaclab-flows/x/services",
}


def _deploy(
    monkeypatch: pytest.MonkeyPatch, ecs: Ecs, *, request: str = "Create", seconds: float = 300
) -> dict[str, Any]:
    """Run the deploy runner on one event; return what CloudFormation was told."""
    runner = _load("deploy_task")
    told: list[dict[str, Any]] = []

    class Answered:
        status = 200

        def __enter__(self) -> Answered:
            return self

        def __exit__(self, *_: object) -> None:
            return None

    def answered(sent: Any, **_: Any) -> Answered:
        told.append(json.loads(sent.data))
        return Answered()

    monkeypatch.setattr(runner.urllib.request, "urlopen", answered)
    monkeypatch.setattr(runner, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(runner.boto3, "client", lambda _: ecs)
    left = iter([seconds * 1000, seconds * 1000] + [0.0] * 100)
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: next(left), log_stream_name="s")
    event = {
        "RequestType": request,
        "ResponseURL": "https://example.invalid/answer",
        "StackId": "stack",
        "RequestId": "r",
        "LogicalResourceId": "l",
        "ResourceProperties": PROPERTIES,
    }
    runner.handler(event, context)
    (answer,) = told
    return answer


def test_the_deploy_task_is_run_and_its_success_told(monkeypatch: pytest.MonkeyPatch) -> None:
    ecs = Ecs({"lastStatus": "PENDING"}, {"lastStatus": "STOPPED", "containers": [{"exitCode": 0}]})
    assert _deploy(monkeypatch, ecs)["Status"] == "SUCCESS"
    assert ecs.started[0]["networkConfiguration"]["awsvpcConfiguration"]["assignPublicIp"] == "DISABLED"


@pytest.mark.parametrize(
    ("ecs", "said"),
    [
        (Ecs({"lastStatus": "STOPPED", "containers": [{"exitCode": 1}]}), "ended with 1"),
        (
            Ecs({"lastStatus": "STOPPED", "stoppedReason": "CannotPullContainerError", "containers": [{}]}),
            "CannotPullContainerError",
        ),
        (Ecs({"lastStatus": "PENDING"}, failures=[{"reason": "RESOURCE:FARGATE"}]), "RESOURCE:FARGATE"),
        (Ecs({"lastStatus": "RUNNING"}), "did not end in time"),
    ],
)
def test_a_deploy_task_that_fails_fails_the_stack_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, ecs: Ecs, said: str
) -> None:
    answer = _deploy(monkeypatch, ecs, seconds=60)
    assert answer["Status"] == "FAILED"
    assert said in answer["Reason"]


def test_a_task_that_takes_too_long_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    ecs = Ecs({"lastStatus": "RUNNING"})
    _deploy(monkeypatch, ecs, seconds=60)
    assert ecs.stopped == ["arn:task"]


def test_deleting_the_stack_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ecs = Ecs({"lastStatus": "PENDING"})
    assert _deploy(monkeypatch, ecs, request="Delete")["Status"] == "SUCCESS"
    assert not ecs.started


@pytest.fixture
def observer(_aws: None, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for name, value in {
        "DEPLOYMENT": "d",
        "QUEUES": "q",
        "REQUESTS_BUCKET": "bucket",
        "REQUESTS_PREFIX": "requests/",
        "UNANSWERED_MINUTES": "60",
        "DOLLARS_PER_HOUR": '{"g6.2xlarge": 0.9776}',
        "TAG": "isaaclab-flows:deployment",
        "METRIC_NAMESPACE": "isaaclab-flows",
    }.items():
        monkeypatch.setenv(name, value)
    return _load("observer")


def test_requests_without_an_answer_are_counted_once_they_are_late(observer: ModuleType) -> None:
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="bucket")
    for key in ("open/request", "done/request", "done/answer-001", "else/notes"):
        s3.put_object(Bucket="bucket", Key=f"requests/{key}.json", Body=b"{}")
    now = datetime.now(UTC)
    assert observer.unanswered(s3, now) == 0
    assert observer.unanswered(s3, now + timedelta(hours=2)) == 1
    assert observer.unanswered(s3, now + timedelta(days=4)) == 0


def test_running_machines_of_this_deployment_are_priced(observer: ModuleType) -> None:
    class Ec2:
        asked: list[Any] = []

        def get_paginator(self, _: str) -> Ec2:
            return self

        def paginate(self, *, Filters: list[Any]) -> list[dict[str, Any]]:
            self.asked += Filters
            machines = [{"InstanceType": name} for name in ("g6.2xlarge", "g6.2xlarge", "unpriced")]
            return [{"Reservations": [{"Instances": machines}]}]

    ec2 = Ec2()
    assert observer.dollars_per_hour(ec2) == pytest.approx(2 * 0.9776)
    assert {"Name": "tag:isaaclab-flows:deployment", "Values": ["d"]} in ec2.asked


def test_queues_are_counted_by_what_their_jobs_do(observer: ModuleType) -> None:
    class Batch:
        def get_paginator(self, _: str) -> Batch:
            return self

        def paginate(self, *, jobStatus: str, **_: str) -> list[dict[str, list[int]]]:
            return {"RUNNABLE": [{"jobSummaryList": [1, 2]}, {"jobSummaryList": [3]}]}.get(
                jobStatus, [{"jobSummaryList": [1] if jobStatus == "RUNNING" else []}]
            )

    assert observer.depths(Batch()) == {"Waiting": 3, "Working": 1}
