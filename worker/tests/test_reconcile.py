from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from examples import POOL, RUN_ID
from prefect_aws_batch.definitions import POOL_TAG, RUN_ID_TAG
from prefect_aws_batch.presence import Mark
from prefect_aws_batch.reconcile import Action, Adopt, End, LetGo, Lost, RunView, decide
from prefect_aws_batch.states import BatchJob

ME = Mark("me", "me (1)")


def job(job_id: str = "j-1", status: str = "RUNNING", run: UUID = RUN_ID, pool: str = POOL, at: float = 0) -> BatchJob:
    tags = {RUN_ID_TAG: str(run), POOL_TAG: pool}
    return BatchJob(job_id, "train", status, created_at=at, tags=tags)


def view(state: Any, age: float = 1_000, *, started: bool = True, **fields: Any) -> RunView:
    return RunView(RUN_ID, state, started, age, **({"worker": "me", "job_id": "j-1"} | fields))


def decided(run: RunView, *jobs: BatchJob, followed: bool = False, online: tuple[str, ...] = ()) -> list[Action]:
    following = {RUN_ID} if followed else set()
    return decide([run], jobs, pool=POOL, followed=following, mine=ME, online=online)


@pytest.mark.parametrize(
    ("run", "jobs", "actions"),
    [
        pytest.param(view("running"), [job()], [Adopt(RUN_ID, "j-1")], id="live job of mine: adopt"),
        pytest.param(
            view("pending", started=False, job_id=None),
            [job(status="RUNNABLE")],
            [Adopt(RUN_ID, "j-1")],
            id="killed before the job's id was noted: adopt by tags",
        ),
        pytest.param(view("running", worker="gone"), [job()], [Adopt(RUN_ID, "j-1")], id="its worker is gone: adopt"),
        pytest.param(view("running", worker="other"), [job()], [], id="another worker's: leave"),
        pytest.param(view("running"), [], [Lost(RUN_ID)], id="running, no live job: lost"),
        pytest.param(view("pending", started=False), [], [Lost(RUN_ID)], id="pending for long, no live job: lost"),
        pytest.param(
            view("pending", 5, started=False, job_id=None), [], [], id="pending for a moment: perhaps in submission"
        ),
        pytest.param(view("running"), [job(pool="another")], [Lost(RUN_ID)], id="another pool's job is not ours"),
        pytest.param(
            view("running"), [job("old", at=1), job("new", at=2)], [Adopt(RUN_ID, "new")], id="two jobs: the newest"
        ),
        pytest.param(
            view("cancelling", 1, started=False),
            [job(status="RUNNABLE")],
            [End(RUN_ID, "j-1", "its run is cancelled"), Adopt(RUN_ID, "j-1")],
            id="cancelled while it waits for a machine: end at once",
        ),
        pytest.param(
            view("cancelling", 1, cancel_grace=90),
            [job()],
            [Adopt(RUN_ID, "j-1")],
            id="cancelled while it runs: it may end itself first",
        ),
        pytest.param(
            view("cancelling", 91, cancel_grace=90),
            [job()],
            [End(RUN_ID, "j-1", "its run is cancelled"), Adopt(RUN_ID, "j-1")],
            id="cancelled, and its grace is over",
        ),
        pytest.param(
            view("final", 1, started=False, was_cancelled=True),
            [job(status="RUNNABLE")],
            [End(RUN_ID, "j-1", "its run has ended")],
            id="cancelled while no worker was there: end",
        ),
        pytest.param(view("final", 1), [job()], [], id="just ended: its container may still be going"),
        pytest.param(view("final"), [job()], [End(RUN_ID, "j-1", "its run has ended")], id="ended long ago: end"),
        pytest.param(view("given back", 5), [job()], [], id="just suspended: its container may still be going"),
        pytest.param(
            view("given back"), [job()], [End(RUN_ID, "j-1", "its run gave it back")], id="suspended long ago: end"
        ),
        pytest.param(view("waiting"), [job()], [Adopt(RUN_ID, "j-1")], id="paused, or waits for its retry: keep"),
        pytest.param(view("waiting"), [], [Lost(RUN_ID)], id="paused, and its container is gone: say so"),
    ],
)
def test_the_sweep_decides(run: RunView, jobs: list[BatchJob], actions: list[Action]) -> None:
    assert decided(run, *jobs, online=("other",)) == actions


def test_what_this_worker_follows_is_only_ever_ended() -> None:
    assert decided(view("running"), job(), followed=True) == []
    assert decided(view("running"), followed=True) == []
    cancelled = decided(view("cancelling", 91, cancel_grace=90), followed=True)
    assert cancelled == [End(RUN_ID, "j-1", "its run is cancelled")], "by the id that Prefect noted"


def test_a_worker_started_again_under_its_name_takes_over_at_once() -> None:
    assert decided(view("running"), job(), online=("me",)) == [Adopt(RUN_ID, "j-1")]


@pytest.mark.parametrize(
    ("run", "actions"),
    [
        pytest.param(view("running", process="me (2)"), [], id="a living twin's: leave"),
        pytest.param(view("running", process="me (3)"), [Adopt(RUN_ID, "j-1")], id="a dead twin's: adopt"),
        pytest.param(view("running", process="me (1)"), [Adopt(RUN_ID, "j-1")], id="mine, let go too early: adopt"),
        pytest.param(
            view("running", worker="gone", process="gone (1)"), [Adopt(RUN_ID, "j-1")], id="name and process gone"
        ),
    ],
)
def test_two_workers_of_one_name_are_two(run: RunView, actions: list[Action]) -> None:
    assert decided(run, job(), online=("me", "me (1)", "me (2)")) == actions


def test_a_run_that_another_process_took_over_is_let_go() -> None:
    taken = view("running", process="me (2)")
    assert decided(taken, job(), followed=True, online=("me", "me (1)", "me (2)")) == [LetGo(RUN_ID)]
    assert decided(view("running", process="me (1)"), job(), followed=True, online=("me",)) == []


def test_jobs_with_strange_tags_are_left_alone() -> None:
    strange = BatchJob("j", "n", "RUNNING", tags={POOL_TAG: POOL, RUN_ID_TAG: "no uuid"})
    assert decide([], [strange, job(run=uuid4())], pool=POOL, followed=(), mine=ME, online=()) == []
