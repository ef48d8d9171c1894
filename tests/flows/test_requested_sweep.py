"""A sweep that came as a request: run once an execution, its results published and shown to VAMS."""

from __future__ import annotations

import json
import logging
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import isaaclab_flows.flows.requested_sweep as requested
from isaaclab_flows.schemas.errors import ConfigError
from isaaclab_flows.schemas.files import sha256_of
from isaaclab_flows.schemas.request import Request, VamsLocations
from isaaclab_flows.schemas.sweep import BestCheckpoint, SweepSummary
from isaaclab_flows.tasks.request.sweep import is_sweep_request
from isaaclab_flows.tasks.sweep.leaderboard import boards, markdown, table
from isaaclab_flows.tasks.sweep.outputs import SweepResult
from isaaclab_flows.tasks.sweep.plot import draw_over_iterations
from isaaclab_flows.tasks.sweep.store import SweepStore
from isaaclab_flows.tasks.vams.answers import success
from tests.schemas.test_sweep import minimal
from tests.tasks.sweep.test_leaderboard import row

TASK = "Isaac-Cartpole-Direct"


class Sweeps:
    """Stands in for the sweep: two checkpoints of the asset with results, and a torn one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[dict[str, Any]] = []

    def sweep(self, config: Any, **asked: Any) -> SweepResult:
        self.asked.append(asked)
        store = SweepStore(f"{asked['output_uri']}/sweeps/{config.folder}")
        for name in ("parts/a.parquet", "jobs/j/metrics.csv", f"best/{TASK}/model_0-former.pt", "x.sh"):
            store._storage.write(name, b"of others")
        checkpoints = {n: f"{asked['asset_uri']}/runs/abc/checkpoints/model_{n}.pt" for n in (1, 2, 3)}
        for uri in checkpoints.values():
            Path(uri).parent.mkdir(parents=True, exist_ok=True)
            Path(uri).write_text(uri)
        rows = [row(1, 1.0), row(2, 9.0), row(3, 0.0, error="It is torn")]
        (board,) = boards([replace(r, checkpoint=checkpoints[r.iteration or 0]) for r in rows], "meanReturn")
        store.write_leaderboard(markdown([board], name=config.name), table([board]))
        store.write_picture(TASK, draw_over_iterations(board) or b"")
        kept = store.keep_best(board, scratch=self.folder, at=1.0)
        assert kept is not None
        best = BestCheckpoint(task=TASK, checkpoint=checkpoints[2], kept_as=kept, score=9.0, statement=board.statement)
        summary = SweepSummary(
            name=config.name,
            evaluations=3,
            new=3,
            without_result=1,
            results_uri=store.uri,
            best=(best,),
            regressions=("worse",),
            gpu_seconds=30.0,
            estimated_cost=0.5,
        )
        return SweepResult(summary, (board,))


@pytest.fixture
def sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweeps:
    made = Sweeps(tmp_path)
    monkeypatch.setattr(requested, "sweep", made.sweep)
    monkeypatch.setattr(requested, "get_run_logger", lambda: logging.getLogger("sweep"))
    return made


@pytest.fixture
def request_of(tmp_path: Path) -> Request:
    config = tmp_path / "asset/evaluation/x-sweep-config.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps(minimal()))
    return Request(
        job_id="execution-1",
        source="vams",
        config_uri=str(config),
        output_uri=str(tmp_path / "files"),
        auxiliary_uri=str(tmp_path / "aux"),
        vams=VamsLocations(**{name: f"{tmp_path}/{name}/" for name in ("files", "previews", "metadata")}),
    )


def published(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def items(path: Path) -> dict[str, str]:
    return {item["metadataKey"]: item["metadataValue"] for item in json.loads(path.read_text())["metadata"]}


def test_results_are_published_and_the_answer_says_what_came_out(
    sweeps: Sweeps, request_of: Request, tmp_path: Path
) -> None:
    assert is_sweep_request(request_of)
    opened = requested.one_sweep(request_of, "")
    job, outcome = opened.job, opened.carry_out()
    files = published(tmp_path / "files/execution-1")
    (best,) = (name for name in files if name.endswith(".pt"))
    assert best.startswith(f"best/{TASK}/model_2-")
    plot = f"iterations-{TASK}.png"
    wanted = {"leaderboard.md", "leaderboard.csv", plot, best, f"best/{TASK}/why.json"}
    assert files == wanted | {f"{best}.previewFile.png", "leaderboard.csv.previewFile.png"}
    answer = success(job, outcome, attempt=1).output
    assert answer is not None
    assert answer["files"] == len(wanted)
    assert answer["warnings"] == ["1 of 3 evaluations have no result; results.csv says why.", "Regression: worse"]
    assert (answer["gpuSeconds"], answer["estimatedCost"]) == (30.0, 0.5)
    assert answer["sweep"]["best"][0]["score"] == 9.0
    assert outcome.seconds > 0


def test_vams_is_shown_the_asset_the_best_and_every_evaluated_checkpoint(
    sweeps: Sweeps, request_of: Request, tmp_path: Path
) -> None:
    requested.one_sweep(request_of, "http://prefect/run").carry_out()
    metadata = tmp_path / "metadata"
    asset = items(metadata / "asset.metadata.json")
    assert asset["sweep_evaluations_without_result"] == "1"
    assert asset[f"sweep_{TASK}_best_checkpoint"] == "abc/model_2.pt"
    assert float(asset[f"sweep_{TASK}_mean_return"]) == pytest.approx(9.0, abs=1)
    assert asset["sweep_estimated_cost_usd"] == "0.5"
    assert asset["sweep_regressions"] == "worse"
    assert asset["sweep_flow_run_url"] == "http://prefect/run"
    ranks = {
        n: items(metadata / f"runs/abc/checkpoints/model_{n}.pt.metadata.json").get(f"sweep_{TASK}_rank")
        for n in (1, 2, 3)
    }
    assert ranks == {1: "2", 2: "1", 3: None}
    torn = items(metadata / "runs/abc/checkpoints/model_3.pt.metadata.json")
    assert torn[f"sweep_{TASK}_not_ranked"] == "It is torn"
    (best,) = (metadata / "execution-1").rglob("*.pt.metadata.json")
    assert items(best)["iteration"] == "2"
    plot = tmp_path / f"files/execution-1/iterations-{TASK}.png"
    assert sha256_of(tmp_path / "previews/sweep.png") == sha256_of(plot)


def test_a_retry_of_the_execution_is_the_same_sweep_and_another_execution_another(
    sweeps: Sweeps, request_of: Request
) -> None:
    for request in (request_of, request_of, request_of.model_copy(update={"job_id": "execution-2"})):
        requested.one_sweep(request, "").carry_out()
    first, again, other = (asked["sweep_id"] for asked in sweeps.asked)
    assert isinstance(first, uuid.UUID)
    assert first == again != other
    assert {asked["output_uri"] for asked in sweeps.asked} == {request_of.auxiliary_uri}
    assert {asked["auxiliary_uri"] for asked in sweeps.asked} == {request_of.auxiliary_uri}


def test_the_training_workflow_refuses_a_sweep(request_of: Request) -> None:
    with pytest.raises(ConfigError, match="training workflow"):
        requested.one_sweep(request_of.model_copy(update={"kind": "training"}), "")
