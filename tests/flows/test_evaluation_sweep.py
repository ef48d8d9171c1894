"""A sweep's flow with its jobs stubbed out: one that ends badly never ends the others."""

from __future__ import annotations

import logging
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.states import Cancelled, Cancelling, Running

import isaaclab_flows.flows.evaluation_sweep as sweeps
import isaaclab_flows.tasks.prefect_runs as prefect_runs
from isaaclab_flows.schemas.errors import CancelledError, OutputsMissingError
from isaaclab_flows.schemas.outcome import EvaluationSummary, Outcome
from isaaclab_flows.schemas.request import Request
from isaaclab_flows.schemas.settings import settings
from isaaclab_flows.schemas.sweep import SweepSummary, check_sweep
from isaaclab_flows.tasks.sweep.store import SweepStore
from tests.schemas.test_sweep import minimal

SWEEP_ID = uuid.UUID(int=7)


class Jobs:
    """Two jobs of one checkpoint each, of which the first is cancelled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        for number in (1, 2):
            checkpoint = folder / f"asset/checkpoints/model_{number}.pt"
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            checkpoint.write_text(str(number))

    def orchestrate(self, request: Request) -> Outcome:
        assert request.config is not None
        (path,) = request.config["trainingConfig"]["checkpointPaths"]
        self.asked.append(path.rpartition("/")[2])
        if path.endswith("model_1.pt"):
            raise CancelledError("The job's run was cancelled", where="execute cartpole")
        return Outcome(
            job_id=request.job_id,
            kind="evaluation",
            status="succeeded",
            task="Isaac-Cartpole-Direct",
            library="rsl_rl",
            evaluations=(EvaluationSummary(checkpoint=path, mean_return=1.0),),
        )

    def sweep(self) -> SweepSummary:
        config = check_sweep(minimal(checkpoints=["checkpoints"], checkpointsPerJob=1), source="x")
        asset, output = str(self.folder / "asset"), str(self.folder / "out")
        return sweeps.sweep(config, asset_uri=asset, output_uri=output, sweep_id=SWEEP_ID).summary


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Jobs:
    made = Jobs(tmp_path)
    monkeypatch.setenv("ISAACLAB_FLOWS_OUTPUTS", str(tmp_path / "out"))
    settings.cache_clear()
    monkeypatch.setattr(sweeps, "get_run_logger", lambda: logging.getLogger("sweep"))
    monkeypatch.setattr(sweeps, "evaluate_group", sweeps.evaluate_group.fn)
    monkeypatch.setattr(sweeps, "flow_run", SimpleNamespace(id=str(SWEEP_ID)))
    monkeypatch.setattr(sweeps, "orchestrate", made.orchestrate)
    return made


def test_cancelling_one_job_leaves_the_sweep_to_the_others(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefect_runs, "find_run", lambda _: SimpleNamespace(state=Running()))
    summary = jobs.sweep()
    assert jobs.asked == ["model_1.pt", "model_2.pt"]
    assert (summary.evaluations, summary.without_result) == (2, 1)
    rows = {row.iteration: row for row in SweepStore(summary.results_uri).rows()}
    assert rows[1].error == "The job's run was cancelled (at execute cartpole)."
    assert rows[2].mean_return == 1.0


@pytest.mark.parametrize("state", [Cancelling(), Cancelled()])
def test_cancelling_the_sweep_starts_no_further_job(jobs: Jobs, monkeypatch: pytest.MonkeyPatch, state: Any) -> None:
    monkeypatch.setattr(prefect_runs, "find_run", lambda _: SimpleNamespace(state=state))
    with pytest.raises(CancelledError):
        jobs.sweep()
    assert jobs.asked == ["model_1.pt"]


def test_a_sweep_without_any_result_fails_with_a_reason_and_keeps_all_of_them(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefect_runs, "find_run", lambda _: SimpleNamespace(state=Running()))
    (jobs.folder / "asset/checkpoints/model_2.pt").unlink()
    with pytest.raises(OutputsMissingError, match="The job's run was cancelled") as caught:
        jobs.sweep()
    assert [row.error_kind for row in SweepStore(caught.value.where).rows()] == ["cancelled"]
