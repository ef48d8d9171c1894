"""VAMS 2.6's bus is told the Batch job that works, as soon as there is one, and no trouble with it ends a job."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from isaaclab_flows.schemas.request import VamsBus
from isaaclab_flows.tasks.vams import bus as module
from isaaclab_flows.tasks.vams.bus import detail_of, register, registered

BUS = VamsBus(
    arn="arn:aws:events:us-east-1:123456789012:event-bus/vams",
    source="vams.prod.execution.e1.pipeline.p1",
    pipeline_execution_id="p1",
)


@pytest.mark.parametrize("batch_job", ["0f3c-1", "0f3c-1:4", "0f3c-1#0"])
def test_the_whole_job_is_registered_whatever_part_works(batch_job: str) -> None:
    detail = detail_of(BUS, batch_job, log_group="/aws/vendedlogs/Pipelines/isaaclab-jobs")
    assert detail == {
        "pipelineExecutionId": "p1",
        "subExecution": {"resourceType": "batchJob", "jobId": "0f3c-1"},
        "logs": [{"logGroupName": "/aws/vendedlogs/Pipelines/isaaclab-jobs"}],
    }


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    with mock_aws():
        client = boto3.client("events")
        client.create_event_bus(Name="vams")
        yield client


def test_a_job_is_registered_once_it_has_an_id(events: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(module, "register", lambda bus, job: told.append(job) or True)
    ids = iter([None, None, "job-1"])
    with registered(BUS, lambda: next(ids)):
        end = time.monotonic() + 10
        while not told and time.monotonic() < end:
            time.sleep(0.01)
    assert told == ["job-1"]


def test_the_bus_takes_it_and_a_bus_that_does_not_is_only_a_warning(
    events: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert register(BUS, "job-1")

    class Refusing:
        def put_events(self, **_: Any) -> Any:
            return {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "AccessDenied"}]}

    monkeypatch.setattr(module.boto3, "client", lambda *_, **__: Refusing())
    with caplog.at_level(logging.WARNING):
        assert not register(BUS, "job-1")
    assert "AccessDenied" in caplog.text


def test_without_a_bus_nothing_is_asked() -> None:
    with registered(None, lambda: json.loads("never")):
        pass
