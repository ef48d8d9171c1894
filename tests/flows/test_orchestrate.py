"""open, execute, close and handle error, from a request to what its asker finds."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.exceptions import TerminationSignal
from prefect.states import Cancelling, Running

from isaaclab_flows.flows import orchestrate, pipeline
from isaaclab_flows.flows.orchestrate import Opened
from isaaclab_flows.schemas.errors import (
    CancelledError,
    ConfigError,
    ErrorRecord,
    FlowsError,
    InfrastructureLostError,
    OutputsMissingError,
    SimulatorError,
)
from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.outcome import Outcome
from isaaclab_flows.schemas.request import Request
from isaaclab_flows.tasks.job.hand_over import known_job, load_outcome
from isaaclab_flows.tasks.request.document import write_request
from tests.flows.conftest import Bodies
from tests.tasks.vams import vams_job

FAIL = """
checkpoint = pathlib.Path(order["runFolder"]) / "checkpoints/model_1.pt"
checkpoint.parent.mkdir(parents=True, exist_ok=True)
import zipfile
with zipfile.ZipFile(checkpoint, "w") as archive:
    archive.writestr("model/data.pkl", b"weights")
error = {"kind": "simulator", "what": "The reward is no number", "remedy": "Mend it."}
pathlib.Path(order["resultFile"]).write_text(json.dumps({"status": "failed", "error": error}))
"""
SAVE_NOTHING = """
pathlib.Path(order["resultFile"]).write_text(json.dumps({"status": "succeeded", "iterations": 2}))
"""


def published(outcome: Outcome) -> set[str]:
    folder = Path(outcome.output_uri)
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_training_and_the_evaluation_of_its_checkpoint(bodies: Bodies) -> None:
    outcome = bodies.orchestrate(bodies.request())
    assert (outcome.status, outcome.attempts, outcome.device) == ("succeeded", 1, "cpu")
    assert outcome.training is not None
    assert (outcome.training.iterations, outcome.training.last_checkpoint) == (2, "model_1.pt")
    assert published(outcome) == {file.path for file in outcome.files}
    assert {"checkpoints/model_1.pt", "metrics.csv", "summary.json", "training-config.json"} <= published(outcome)
    evaluated = bodies.orchestrate(bodies.evaluation(Path(outcome.output_uri) / "checkpoints/model_1.pt", source="ui"))
    (summary,) = evaluated.evaluations
    assert (summary.episodes, summary.mean_return, summary.success_rate) == (4, 2.0, 1.0)
    assert (summary.checkpoint_iteration, summary.mean_length) == (1, 10.0)
    assert {"metrics.csv", "summary.json", "evaluation-config.json"} <= published(evaluated)
    assert (Path(evaluated.output_uri) / "metrics.csv").read_text().splitlines()[1] == "model_1,0,0,0.5,10,time_out,1"


def test_a_finished_job_gives_its_result_and_runs_again_only_when_told(bodies: Bodies) -> None:
    first = bodies.orchestrate(bodies.request())
    again = bodies.orchestrate(bodies.request())
    assert len(bodies.job_folder().attempts()) == 1
    assert again.started_at == first.started_at
    anew = bodies.orchestrate(bodies.request(again=True))
    assert anew.started_at > first.started_at
    assert (anew.attempts, len(bodies.job_folder().attempts())) == (1, 1), "what was before does not count"


def test_what_failed_is_kept_with_its_reason_and_a_repair_goes_on(bodies: Bodies) -> None:
    brief = bodies.simulator.read_text()
    bodies.simulate_with(FAIL)
    request = bodies.request(source="python")
    with pytest.raises(SimulatorError, match="The reward is no number"):
        bodies.orchestrate(request)
    job = known_job(request)
    assert job is not None
    outcome = load_outcome(job)
    assert outcome is not None
    assert (outcome.status, outcome.error and outcome.error.kind) == ("failed", "simulator")
    kept = Path(job.outputs_uri)
    assert (kept / "checkpoints/model_1.pt").is_file(), "published although it failed"
    assert json.loads((kept / "summary.json").read_text())["status"] == "failed"
    bodies.simulator.write_text(brief)
    assert bodies.orchestrate(request).attempts == 2


def test_what_failed_for_vams_is_not_put_where_vams_ingests(bodies: Bodies) -> None:
    bodies.simulate_with(FAIL)
    with pytest.raises(SimulatorError):
        bodies.orchestrate(bodies.request(source="vams"))
    assert not list((bodies.folder / "out/job-1").glob("*"))


def test_a_simulator_that_left_nothing_has_not_succeeded(bodies: Bodies) -> None:
    bodies.simulate_with(SAVE_NOTHING)
    with pytest.raises(OutputsMissingError, match="checkpoints/"):
        bodies.orchestrate(bodies.request())
    outcome = bodies.job_folder().load_outcome()
    assert outcome is not None
    assert (outcome.status, outcome.error and outcome.error.kind) == ("failed", "outputs_missing")


@pytest.mark.parametrize(
    ("cause", "state", "told"),
    [
        (ValueError("odd"), Running(), ValueError),
        (TerminationSignal(signal.SIGTERM), Cancelling(message="By Ann"), CancelledError),
        (TerminationSignal(signal.SIGTERM), Running(), InfrastructureLostError),
        (TerminationSignal(signal.SIGTERM), None, InfrastructureLostError),
    ],
    ids=["an error", "cancelled", "its machine goes away", "nothing is known"],
)
def test_whatever_ends_the_work_is_handled_by_its_true_name(
    bodies: Bodies, monkeypatch: pytest.MonkeyPatch, cause: BaseException, state: Any, told: type[BaseException]
) -> None:
    handled: list[tuple[Any, Job | None, BaseException]] = []
    monkeypatch.setattr(orchestrate, "find_run", lambda _: SimpleNamespace(name="run", state=state))
    monkeypatch.setattr(orchestrate, "handle_failure", lambda *words: handled.append(words))

    def carry_out() -> Outcome:
        raise cause

    job = vams_job.job()
    with pytest.raises(type(cause)):
        orchestrate.orchestrate(bodies.request(), lambda *_: Opened(job, carry_out))
    ((_, known, error),) = handled
    assert known is job
    assert type(error) is told


def test_what_cannot_be_opened_is_handled_without_a_job(bodies: Bodies, monkeypatch: pytest.MonkeyPatch) -> None:
    handled: list[Any] = []
    monkeypatch.setattr(orchestrate, "handle_failure", lambda *words: handled.append(words))
    with pytest.raises(ConfigError, match="numEnvs"):
        bodies.orchestrate(bodies.request(overrides={"trainingConfig": {"numEnvs": 0}}))
    ((_, job, error),) = handled
    assert job is None
    assert isinstance(error, ConfigError)


@pytest.mark.parametrize(("name", "work"), [("x-sweep-config.json", "sweep"), ("x-training-config.json", "job")])
def test_the_pipeline_takes_a_sweep_for_a_sweep(
    bodies: Bodies, monkeypatch: pytest.MonkeyPatch, name: str, work: str
) -> None:
    opened: list[tuple[str, str]] = []

    def opener(which: str) -> Any:
        def open_it(request: Request, page: str) -> Opened:
            opened.append((which, page))
            job = vams_job.job()
            return Opened(job, vams_job.outcome)

        return open_it

    monkeypatch.setattr(pipeline, "one_sweep", opener("sweep"))
    monkeypatch.setattr(pipeline, "one_job", opener("job"))
    bodies.run.ui_url = "http://prefect/run"
    document = str(bodies.folder / "request.json")
    write_request(bodies.request(config=None, config_uri=f"/a/{name}"), document)
    pipeline.pipeline.fn(document)
    assert opened == [(work, "http://prefect/run")]


def test_the_record_of_an_error_is_the_error_again() -> None:
    error = FlowsError("It broke", remedy="Mend it.")
    assert ErrorRecord.of(error).to_error().sentence == error.sentence
