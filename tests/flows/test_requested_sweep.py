"""A sweep that came as a request: run once an execution, its results published without parts and jobs."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

import flows.requested_sweep as requested
from schemas.errors import ConfigError
from schemas.request import Request
from schemas.sweep import SweepSummary
from tasks.answers import success
from tasks.sweep_request import is_sweep_request
from tests.schemas.test_sweep import minimal


@pytest.fixture
def request_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Request:
    config = tmp_path / "asset/evaluation/x-sweep-config.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps(minimal()))

    def sweep(config: Any, *, asset_uri: str, output_uri: str, sweep_id: uuid.UUID, device: str | None) -> SweepSummary:
        assert asset_uri == str(tmp_path / "asset")
        results = Path(output_uri) / "sweeps" / config.folder
        for name in ("results.csv", "leaderboard.md", "best/T/m.pt", "parts/a.parquet", "jobs/j/metrics.csv", "x.sh"):
            path = results / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(str(sweep_id))
        return SweepSummary(
            name=config.name, evaluations=3, new=3, without_result=1, results_uri=str(results), regressions=("worse",)
        )

    monkeypatch.setattr(requested, "sweep", sweep)
    return Request(
        job_id="execution-1",
        source="vams",
        config_uri=str(config),
        output_uri=str(tmp_path / "out"),
        auxiliary_uri=str(tmp_path / "aux"),
    )


def test_results_are_published_and_the_answer_says_what_is_missing(request_of: Request, tmp_path: Path) -> None:
    assert is_sweep_request(request_of)
    job, outcome = requested.sweep_requested(request_of)
    published = tmp_path / "out/execution-1"
    assert sorted(f.relative_to(published).as_posix() for f in published.rglob("*") if f.is_file()) == [
        "best/T/m.pt",
        "leaderboard.md",
        "results.csv",
    ]
    answer = success(job, outcome, attempt=1).output
    assert answer["files"] == 3
    assert answer["warnings"] == ["1 of 3 evaluations have no result; results.csv says why.", "Regression: worse"]


def test_a_retry_of_the_execution_is_the_same_sweep(request_of: Request, tmp_path: Path) -> None:
    requested.sweep_requested(request_of)
    first = (tmp_path / "out/execution-1/results.csv").read_text()
    requested.sweep_requested(request_of)
    assert (tmp_path / "out/execution-1/results.csv").read_text() == first


def test_the_training_workflow_refuses_a_sweep(request_of: Request) -> None:
    with pytest.raises(ConfigError, match="training workflow"):
        requested.sweep_requested(request_of.model_copy(update={"kind": "training"}))
