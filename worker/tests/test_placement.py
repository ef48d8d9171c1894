from __future__ import annotations

import pytest

from prefect_aws_batch.placement import MISFIT_SECONDS, Placement
from prefect_aws_batch.states import BatchJob

MISFIT = "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - there are no connected instances that meet the requirements"


def job(status: str = "RUNNABLE", reason: str = "", attempts: int = 0) -> BatchJob:
    return BatchJob("j", "n", status, reason, created_at=1_000, attempts=attempts)


def test_a_queue_that_scales_from_nothing_is_given_its_time() -> None:
    placement = Placement(3_600)
    assert placement.look(job(reason=MISFIT), 1_001) is None
    assert placement.look(job(reason=MISFIT), 1_000 + MISFIT_SECONDS) is None
    assert placement.look(job("STARTING"), 1_002 + MISFIT_SECONDS) is None


def test_what_batch_says_for_minutes_is_believed() -> None:
    placement = Placement(3_600)
    placement.look(job(reason=MISFIT), 1_001)
    error = placement.look(job(reason=MISFIT), 1_001 + MISFIT_SECONDS)
    assert error is not None
    assert "no connected instances" in error.what


def test_a_reason_that_went_away_counts_anew() -> None:
    placement = Placement(3_600)
    placement.look(job(reason=MISFIT), 1_001)
    placement.look(job(reason=""), 1_300)
    assert placement.look(job(reason=MISFIT), 1_001 + MISFIT_SECONDS) is None


@pytest.mark.parametrize("status", ["STARTING", "RUNNING"])
def test_a_job_that_pulls_for_long_is_placed(status: str) -> None:
    assert Placement(60).look(job(status), 9_999) is None


def test_the_next_attempts_wait_is_its_own() -> None:
    placement = Placement(60)
    assert placement.look(job(attempts=1), 9_000) is None
    assert placement.look(job(attempts=1), 9_059) is None
    assert placement.look(job(attempts=1), 9_061) is not None
