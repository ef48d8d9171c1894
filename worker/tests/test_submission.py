from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from examples import RUN_ID
from fake_batch import FakeBatch, refused, throttled, timed_out
from prefect_aws_batch.batch_api import BatchApi, Pace
from prefect_aws_batch.configuration import BatchJobConfiguration
from prefect_aws_batch.definitions import job_definition, submission
from prefect_aws_batch.errors import ConfigurationError, MachineLostError
from prefect_aws_batch.registrar import Registrar
from prefect_aws_batch.submission import submit_once

pytestmark = pytest.mark.anyio


@pytest.fixture
def request_(configure: Callable[..., BatchJobConfiguration]) -> dict[str, Any]:
    return submission(configure(), name="train-1", definition="arn", flow_run_id=RUN_ID)


async def no_sleep(seconds: float) -> None:
    del seconds


async def test_a_job_is_submitted_once(batch: FakeBatch, api: BatchApi, request_: dict[str, Any]) -> None:
    assert await submit_once(api, request_) == ("job-0", False)
    assert len(batch.jobs) == 1


async def test_a_live_job_of_that_name_is_adopted(batch: FakeBatch, api: BatchApi, request_: dict[str, Any]) -> None:
    there = batch.add("train-1", status="RUNNABLE")
    assert await submit_once(api, request_) == (there, True)
    assert len(batch.jobs) == 1


async def test_an_ended_job_or_a_longer_name_is_not_adopted(
    batch: FakeBatch, api: BatchApi, request_: dict[str, Any]
) -> None:
    batch.add("train-1", status="FAILED")
    batch.add("train-10", status="RUNNING")
    assert await submit_once(api, request_) == ("job-2", False)


@pytest.mark.parametrize("hidden_looks", [0, 2])
async def test_a_submission_whose_answer_was_lost_does_not_become_two_jobs(
    batch: FakeBatch, api: BatchApi, request_: dict[str, Any], hidden_looks: int
) -> None:
    batch.hidden_looks = hidden_looks
    batch.after["submit_job"] = [timed_out()]
    assert await submit_once(api, request_, sleep=no_sleep) == ("job-0", True)
    assert len(batch.jobs) == 1


async def test_a_submission_that_never_arrived_goes_out_again(
    batch: FakeBatch, api: BatchApi, request_: dict[str, Any]
) -> None:
    lost = EndpointConnectionError(endpoint_url="https://batch")
    batch.before["submit_job"] = [lost, throttled("SubmitJob"), None]
    assert await submit_once(api, request_, sleep=no_sleep) == ("job-0", False)


async def test_what_batch_refuses_is_told_with_its_words_and_not_tried_again(
    batch: FakeBatch, api: BatchApi, request_: dict[str, Any]
) -> None:
    batch.before["submit_job"] = [refused("JobQueue gpu not found")]
    with pytest.raises(ConfigurationError, match="JobQueue gpu not found") as caught:
        await submit_once(api, request_, sleep=no_sleep)
    assert caught.value.remedy
    assert batch.calls["submit_job"] == 1


async def test_a_batch_that_cannot_be_reached_ends_the_submission(
    batch: FakeBatch, api: BatchApi, request_: dict[str, Any]
) -> None:
    batch.before["submit_job"] = [timed_out() for _ in range(50)]
    with pytest.raises(MachineLostError, match="no job in 8 tries"):
        await submit_once(api, request_, sleep=no_sleep)
    assert not batch.jobs


async def test_submissions_keep_to_their_pace() -> None:
    pace = Pace(200.0)
    start = time.monotonic()
    await asyncio.gather(*(pace.wait() for _ in range(41)))
    assert time.monotonic() - start >= 0.2


async def test_a_definition_is_registered_once_for_runs_that_start_together_and_for_the_next_worker(
    batch: FakeBatch, api: BatchApi, configure: Callable[..., BatchJobConfiguration]
) -> None:
    registrar = Registrar(api)
    arns = await asyncio.gather(*(registrar.definition_for(configure()) for _ in range(20)))
    assert set(arns) == {await Registrar(api).definition_for(configure())}
    assert batch.calls["register_job_definition"] == 1
    assert batch.calls["describe_job_definitions"] == 2


async def test_the_operators_own_definition_is_used_as_it_is(
    batch: FakeBatch, api: BatchApi, configure: Callable[..., BatchJobConfiguration]
) -> None:
    assert await Registrar(api).definition_for(configure(job_definition="theirs:7")) == "theirs:7"
    assert not batch.calls


async def test_clean_up_takes_old_definitions_and_only_ours(
    batch: FakeBatch, api: BatchApi, configure: Callable[..., BatchJobConfiguration]
) -> None:
    registrar, other = Registrar(api), Registrar(api)
    for memory in (1_000, 2_000, 3_000):
        await other.definition_for(configure(memory=memory))
    in_use = await registrar.definition_for(configure(memory=1_000))
    name = batch.definitions[1]["jobDefinitionName"]
    batch.register_job_definition(jobDefinitionName=name, **job_definition(configure(memory=2_000)))
    batch.register_job_definition(jobDefinitionName="prefect-of-somebody-else")
    gone = await registrar.clean_up("prefect", keep=1)
    active = {d["jobDefinitionArn"] for d in batch.definitions if d["status"] == "ACTIVE"}
    assert in_use in active
    assert "arn:prefect-of-somebody-else:1" in active
    assert f"arn:{name}:1" in gone, "a superseded revision"
    assert len(active) == 3


async def test_expired_credentials_are_renewed(batch: FakeBatch) -> None:
    error = {"Error": {"Code": "ExpiredTokenException", "Message": "expired"}}
    old = FakeBatch()
    old.before["describe_jobs"] = [ClientError(error, "DescribeJobs")]
    renewed: list[int] = []

    def renew() -> tuple[FakeBatch, FakeBatch, FakeBatch]:
        renewed.append(1)
        return batch, batch, batch

    job_id = batch.add("steps")
    api = BatchApi(old, old, renew=renew)
    assert [job.job_id for job in await api.describe([job_id])] == [job_id]
    await api.describe([job_id])
    assert (len(renewed), old.calls["describe_jobs"], batch.calls["describe_jobs"]) == (1, 1, 2)
