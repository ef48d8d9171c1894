"""Events by way of moto's EventBridge and SQS, and the small fake of Batch."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from examples import POOL
from fake_batch import FakeBatch
from prefect_aws_batch import events
from prefect_aws_batch.batch_api import BatchApi
from prefect_aws_batch.definitions import POOL_TAG
from prefect_aws_batch.events import EventReader, Fate, JobEvent, fate_of
from prefect_aws_batch.poller import Poller, Watch

pytestmark = pytest.mark.anyio


def message(job_id: str = "job-0", status: str = "RUNNING", pool: str = POOL) -> str:
    detail = {"jobId": job_id, "status": status, "tags": {POOL_TAG: pool}}
    return json.dumps({"source": "aws.batch", "detail-type": "Batch Job State Change", "detail": detail})


@pytest.mark.parametrize(
    ("body", "age", "fate"),
    [
        pytest.param(message(), 0, "look", id="followed here"),
        pytest.param(message(), 1_000, "look", id="late, and followed here"),
        pytest.param(message("job-9"), 1, "pass on", id="another worker of the pool may follow it"),
        pytest.param(message("job-9"), 100, "drop", id="nobody follows it: the sweeps will find it"),
        pytest.param(message("job-9", pool="another"), 1, "drop", id="another pool's"),
        pytest.param("no JSON", 1, "drop", id="no JSON"),
        pytest.param("[]", 1, "drop", id="no mapping"),
        pytest.param(json.dumps({"source": "aws.batch", "detail": {"jobId": 3, "status": []}}), 1, "drop", id="types"),
        pytest.param(json.dumps({"source": "aws.ecs", "detail": {"jobId": "job-0", "status": "X"}}), 1, "drop", id="x"),
    ],
)
async def test_what_becomes_of_a_message(body: str, age: float, fate: Fate) -> None:
    assert fate_of(JobEvent.of(body), age, pool=POOL, watched={"job-0"}) == fate


@pytest.fixture
def sqs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(events, "_WAIT", 0)
    with mock_aws():
        yield boto3.client("sqs", region_name="eu-central-1")


@pytest.fixture
def url(sqs: Any) -> str:
    """A queue that an EventBridge rule sends Batch's events to."""
    url = str(sqs.create_queue(QueueName="events")["QueueUrl"])
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    bus = boto3.client("events", region_name="eu-central-1")
    bus.put_rule(Name="batch", EventPattern=json.dumps({"source": ["aws.batch"]}))
    bus.put_targets(Rule="batch", Targets=[{"Id": "queue", "Arn": arn}])
    return url


def send(job_id: str, status: str) -> None:
    detail = json.dumps(json.loads(message(job_id, status))["detail"])
    entry = {"Source": "aws.batch", "DetailType": "Batch Job State Change", "Detail": detail}
    boto3.client("events", region_name="eu-central-1").put_events(Entries=[entry])


def left_in(sqs: Any, url: str) -> int:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    counts = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(int(count) for count in counts.values())


async def reading(batch: FakeBatch, sqs: Any, url: str, slow_poll: float) -> tuple[Poller, EventReader]:
    api = BatchApi(batch, batch, sqs)
    poller = Poller(api.describe)
    reader = EventReader(api, poller, url, POOL, slow_poll=slow_poll)
    await reader.read()
    reader.is_well = True
    return poller, reader


async def seen(watch: Watch) -> str:
    job = await watch.changed(timeout=3)
    assert job is not None, "nothing was noticed"
    return job.status


async def test_a_job_is_looked_at_when_an_event_comes_and_hardly_ever_else(
    batch: FakeBatch, sqs: Any, url: str
) -> None:
    poller, reader = await reading(batch, sqs, url, slow_poll=300)
    job = batch.add("steps", status="RUNNING")
    watch = poller.watch(job, interval=0.2, told=reader)
    assert await seen(watch) == "RUNNING"
    await asyncio.sleep(1)
    assert batch.calls["describe_jobs"] == 1, "no polling"
    batch.move(job, "SUCCEEDED")
    send(job, "SUCCEEDED")
    await reader.read()
    assert await seen(watch) == "SUCCEEDED"
    assert batch.calls["describe_jobs"] == 2
    assert left_in(sqs, url) == 0
    await poller.close()


async def test_a_lost_event_is_caught_by_the_slow_poll(batch: FakeBatch, sqs: Any, url: str) -> None:
    poller, reader = await reading(batch, sqs, url, slow_poll=1)
    job = batch.add("steps", status="RUNNING")
    watch = poller.watch(job, interval=0.2, told=reader)
    await seen(watch)
    batch.move(job, "SUCCEEDED")
    begin = time.monotonic()
    assert await seen(watch) == "SUCCEEDED"
    assert time.monotonic() - begin > 0.5
    await poller.close()


async def test_an_event_is_no_news_until_batch_says_so(batch: FakeBatch, sqs: Any, url: str) -> None:
    poller, reader = await reading(batch, sqs, url, slow_poll=300)
    job = batch.add("steps", status="RUNNING")
    watch = poller.watch(job, interval=0.2, told=reader)
    await seen(watch)
    send(job, "FAILED")  # be it forged, or ahead of what DescribeJobs tells
    await reader.read()
    await asyncio.sleep(0.6)
    assert watch.latest is not None
    assert watch.latest.status == "RUNNING"
    batch.move(job, "FAILED")
    assert await seen(watch) == "FAILED", "an end that was told of is looked for again and again"
    await poller.close()


async def test_a_queue_that_cannot_be_read_means_polling(
    batch: FakeBatch, sqs: Any, caplog: pytest.LogCaptureFixture
) -> None:
    api = BatchApi(batch, batch, sqs)
    poller = Poller(api.describe)
    reader = EventReader(api, poller, "https://sqs.eu-central-1.amazonaws.com/1/none", POOL, slow_poll=300)
    running = asyncio.create_task(reader.run())
    job = batch.add("steps", status="RUNNING")
    watch = poller.watch(job, interval=0.2, told=reader)
    await seen(watch)
    batch.move(job, "SUCCEEDED")
    assert await seen(watch) == "SUCCEEDED"
    assert "cannot be read; jobs are polled" in caplog.text
    running.cancel()
    await poller.close()


async def test_an_event_of_another_workers_job_stays_in_the_queue(batch: FakeBatch, sqs: Any, url: str) -> None:
    _, reader = await reading(batch, sqs, url, slow_poll=300)
    send("job-of-the-other-worker", "FAILED")
    await reader.read()
    assert left_in(sqs, url) == 1
