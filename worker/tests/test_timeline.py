from __future__ import annotations

from typing import Any

import pytest
from prefect.client.schemas.objects import FlowRun

from examples import RUN_ID
from prefect_aws_batch import timeline
from prefect_aws_batch.states import BatchJob
from prefect_aws_batch.timeline import HEARTBEAT_SECONDS, STARTS_WITHIN, Interim, Timeline


def job(status: str) -> BatchJob:
    return BatchJob("j", "steps-1", status, "Host EC2 (instance i-1) terminated.")


def beats(status: str, *, ran_before: bool, seconds: int, interim: Interim | None = None) -> int:
    interim = interim or Interim()
    return sum(interim.is_due(job(status), ran_before=ran_before, now=float(now)) for now in range(seconds))


def test_a_requeued_job_keeps_its_run_alive_for_as_long_as_it_waits() -> None:
    assert beats("RUNNABLE", ran_before=True, seconds=600) == 600 / HEARTBEAT_SECONDS
    assert beats("STARTING", ran_before=True, seconds=600) == 600 / HEARTBEAT_SECONDS


def test_a_container_at_work_speaks_for_itself() -> None:
    assert beats("RUNNING", ran_before=True, seconds=9_000) == STARTS_WITHIN / HEARTBEAT_SECONDS


@pytest.mark.parametrize("status", ["RUNNABLE", "STARTING", "RUNNING"])
def test_nobody_expects_a_heartbeat_before_the_first_attempt(status: str) -> None:
    assert beats(status, ran_before=False, seconds=600) == 0


@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED"])
def test_a_job_that_has_ended_is_not_alive(status: str) -> None:
    assert beats(status, ran_before=True, seconds=600) == 0


def test_the_runs_timeline_shows_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(timeline, "emit_event", lambda **event: sent.append(event))
    run = Timeline(FlowRun(id=RUN_ID, flow_id=RUN_ID, name="brave-owl"))
    run.changed(job("RUNNABLE"))
    run.looked_at(job("RUNNABLE"), ran_before=True)
    changed, heartbeat = sent
    assert changed["event"] == "aws-batch.job.runnable"
    assert changed["related"][0]["prefect.resource.id"] == f"prefect.flow-run.{RUN_ID}"
    assert "Host EC2" in changed["resource"]["aws-batch.status-reason"]
    assert heartbeat["event"] == "prefect.flow-run.heartbeat"
    assert heartbeat["resource"]["prefect.resource.id"] == f"prefect.flow-run.{RUN_ID}"
