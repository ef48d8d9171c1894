"""handle error finishes for a run that could not, and leaves one alone that needs nothing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from prefect.states import Cancelled, Completed, Crashed, Failed, Running, State

import isaaclab_flows.flows.handle_error as handling
from isaaclab_flows.schemas.errors import CancelledError, ErrorRecord, FlowsError, InfrastructureLostError
from isaaclab_flows.schemas.request import Request
from isaaclab_flows.tasks.job.folder import folder_of
from isaaclab_flows.tasks.job.hand_over import hand_over, load_outcome, save_outcome
from isaaclab_flows.tasks.request.document import write_request
from isaaclab_flows.tasks.request.resolve import resolve
from isaaclab_flows.tasks.results.tree import inventory
from tests.flows.conftest import Bodies
from tests.tasks.vams import vams_job


class Prefect:
    """Stands in for the server: one run, and what is asked of it."""

    def __init__(self, state: State | None, parameters: dict[str, Any]) -> None:
        self.run = SimpleNamespace(id=UUID(int=9), name="lost", state=state, parameters=parameters, tags=["attempt:3"])
        self.called_dead: list[str] = []
        self.ended = 0

    def end_live_children(self, *_: Any, **__: Any) -> list[str]:
        self.ended += 1
        return ["execute cartpole"]


def handle(
    monkeypatch: pytest.MonkeyPatch, state: State | None, request: Request | None, folder: Path, **how: Any
) -> tuple[Prefect, list[BaseException]]:
    document = str(folder / "request.json")
    if request is not None:
        write_request(request, document)
    server = Prefect(state, {"request_uri": document} if request else {"task": "x"})
    answered: list[BaseException] = []
    monkeypatch.setattr(handling, "find_run", lambda _: server.run)
    monkeypatch.setattr(handling, "call_dead", lambda _, message: server.called_dead.append(message))
    monkeypatch.setattr(handling, "end_live_children", server.end_live_children)
    monkeypatch.setattr(handling, "answer_failure", lambda _, error: answered.append(error))
    handling.handle_error.fn("run", **how)
    return server, answered


@pytest.mark.parametrize(
    ("state", "how", "told", "dead"),
    [
        (Completed(), {}, None, False),
        (Running(), {"only_if_ended": True}, None, False),
        (Running(), {}, InfrastructureLostError, True),
        (Crashed(message="gone"), {"only_if_ended": True}, InfrastructureLostError, False),
        (Failed(message="It broke"), {}, FlowsError, False),
        (Cancelled(message="By Ann"), {}, CancelledError, False),
        (None, {}, InfrastructureLostError, False),
    ],
)
def test_each_end_of_a_run_is_told_by_its_name(
    bodies: Bodies, monkeypatch: pytest.MonkeyPatch, state: Any, how: dict[str, Any], told: Any, dead: bool
) -> None:
    server, answered = handle(monkeypatch, state, bodies.request(), bodies.folder, **how)
    assert [type(error) for error in answered] == ([told] if told else [])
    assert bool(server.called_dead) is dead
    assert server.ended == (1 if told else 0)


def test_a_form_has_no_request_and_its_children_are_ended_all_the_same(
    bodies: Bodies, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, answered = handle(monkeypatch, Crashed(), None, bodies.folder)
    assert (server.ended, answered) == (1, [])


def test_the_jobs_own_error_counts_more_than_the_runs_state(bodies: Bodies, monkeypatch: pytest.MonkeyPatch) -> None:
    request = bodies.request()
    job = resolve(request)
    hand_over(job)
    record = ErrorRecord(kind="out_of_memory", what="The GPU is full")
    save_outcome(job, vams_job.outcome(status="failed", error=record))
    _, (error,) = handle(monkeypatch, Failed(message="State message"), request, bodies.folder)
    assert (type(error).__name__, str(getattr(error, "what", ""))) == ("OutOfMemoryError", "The GPU is full")


@pytest.mark.parametrize(("kind", "status"), [("cancelled", "cancelled"), ("simulator", "failed")])
def test_what_was_saved_is_published_and_a_copy_that_fails_is_said(
    bodies: Bodies, kind: str, status: str, caplog: pytest.LogCaptureFixture
) -> None:
    job = resolve(bodies.request(source="python"))
    out = folder_of(job).out
    out.mkdir(parents=True)
    (out / "metrics.csv").write_text("iteration\n")
    hand_over(job)
    save_outcome(job, vams_job.outcome(status="failed").model_copy(update={"files": inventory(out)}))
    found = handling.keep_saved(job, ErrorRecord(kind=kind, what="It broke"))
    assert (found.status, found.output_uri) == (status, job.outputs_uri)
    assert (Path(job.outputs_uri) / "metrics.csv").is_file()
    (out / "metrics.csv").unlink()
    handling.keep_saved(job, ErrorRecord(kind=kind, what="It broke"))
    assert "What was saved stays in" in caplog.text
    assert load_outcome(job) is not None


def test_trouble_with_what_was_saved_does_not_keep_the_answer_back(
    bodies: Bodies, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered: list[BaseException] = []

    def broken(*_: Any) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(handling, "keep_saved", broken)
    monkeypatch.setattr(handling, "answer_failure", lambda _, error: answered.append(error))
    cause = FlowsError("It broke")
    handling.handle_failure(bodies.request(), vams_job.job(), cause)
    assert answered == [cause]
