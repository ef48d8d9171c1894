from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_batch import FakeBatch, throttled
from prefect_aws_batch.batch_api import BatchApi
from prefect_aws_batch.logs import JobLogs, LogLine, LogPosition, batches

pytestmark = pytest.mark.anyio


class Sink:
    """Takes lines, and fails when told to."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.failures = 0

    async def __call__(self, lines: Sequence[LogLine]) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("Prefect does not answer")
        self.lines += [line.message for line in lines]


async def no_sleep(seconds: float) -> None:
    del seconds


def logs_of(api: BatchApi, sink: Sink, position: LogPosition | None = None) -> JobLogs:
    return JobLogs(api.log_events, api.last_log_events, sink, group="/aws/batch/job", position=position, sleep=no_sleep)


async def test_lines_arrive_once_and_in_order_while_the_container_runs(batch: FakeBatch, api: BatchApi) -> None:
    batch.page, sink = 3, Sink()
    logs = logs_of(api, sink)
    await logs.follow("train/1")
    assert await logs.read_new() == 0, "nothing was logged yet"
    batch.log("train/1", *"abcdefg")
    assert await logs.read_new() == 7
    batch.log("train/1", "h", "h")
    assert await logs.read_new() == 2
    assert await logs.read_new() == 0
    assert sink.lines == [*"abcdefg", "h", "h"]


async def test_throttling_gives_no_line_twice_and_leaves_none_out(batch: FakeBatch, api: BatchApi) -> None:
    batch.page, sink = 2, Sink()
    batch.log("s", *"abcdef")
    batch.before["get_log_events"] = [None, throttled("GetLogEvents"), throttled("GetLogEvents"), None]
    logs = logs_of(api, sink)
    await logs.follow("s")
    await logs.read_new()
    assert sink.lines == [*"abcdef"]


async def test_lines_that_prefect_did_not_take_are_delivered_later_and_once(batch: FakeBatch, api: BatchApi) -> None:
    sink, many = Sink(), [f"line {n}" for n in range(450)]
    batch.page = 1_000
    batch.log("s", *many)
    logs = logs_of(api, sink)
    await logs.follow("s")
    sink.failures = 1
    with pytest.raises(OSError, match="does not answer"):
        await logs.read_new()
    await logs.read_new()
    assert sink.lines == many


async def test_a_new_attempts_stream_follows_the_one_before_it(batch: FakeBatch, api: BatchApi) -> None:
    sink = Sink()
    batch.log("attempt-1", "one", "last words")
    batch.log("attempt-2", "two")
    logs = logs_of(api, sink)
    await logs.follow("attempt-1")
    await logs.follow("attempt-2")
    await logs.drain()
    assert sink.lines == ["one", "last words", "two"]
    assert logs.tail == sink.lines


async def test_a_restarted_worker_goes_on_where_the_one_before_it_stopped(batch: FakeBatch, api: BatchApi) -> None:
    sink = Sink()
    batch.log("s", "old", at=1_000)
    batch.log("s", "same", "same", "new", at=2_000)
    logs = logs_of(api, sink, LogPosition(2_000, ("same",)))
    await logs.follow("s")
    await logs.drain()
    assert sink.lines == ["same", "new"], "one of the two equal lines had been delivered"


async def test_what_prefects_engine_sends_itself_is_not_sent_twice_but_stays_in_the_tail(
    batch: FakeBatch, api: BatchApi
) -> None:
    sink, own = Sink(), "22:41:03.123 | INFO    | Flow run 'tan-otter' - hello"
    batch.log("s", own, "22:41:03.124 | INFO    | prefect.runner - hello", "segmentation fault")
    logs = logs_of(api, sink)
    await logs.follow("s")
    await logs.drain()
    assert own not in sink.lines
    assert len(sink.lines) == 2
    assert own in logs.tail


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(max_size=40_000), max_size=20))
async def test_batches_keep_every_line_and_stay_within_what_the_api_takes(texts: list[str]) -> None:
    lines = [LogLine(n, text) for n, text in enumerate(texts)]
    made = batches(lines)
    assert [line.timestamp for batch in made for line in batch] == list(range(len(texts)))
    assert all(sum(len(line.message) for line in batch) <= 510_000 and len(batch) <= 200 for batch in made)
    assert all(
        cut.message.startswith(text[:30_000]) for cut, text in zip((c for b in made for c in b), texts, strict=True)
    )
