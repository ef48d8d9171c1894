"""The sweep's folder: checkpoints are found, parts are never lost, the best is kept with its reason."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from isaaclab_flows.schemas.errors import ConfigError, InputMissingError
from isaaclab_flows.tasks.storage import storage_at
from isaaclab_flows.tasks.sweep.leaderboard import boards, markdown, table
from isaaclab_flows.tasks.sweep.plot import draw_over_iterations
from isaaclab_flows.tasks.sweep.store import SweepStore, find_checkpoints
from isaaclab_flows.tasks.sweep.table import from_parquet
from tests.tasks.sweep.test_leaderboard import row


@pytest.fixture
def asset(tmp_path: Path) -> Path:
    for name in ("checkpoints/model_1500.pt", "checkpoints/model_999.pt", "exported/policy.pt", "runs/b/agent_7.pt"):
        path = tmp_path / "asset" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "asset"


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("checkpoints", ["model_999.pt", "model_1500.pt"]),
        ("checkpoints/model_*.pt", ["model_999.pt", "model_1500.pt"]),
        ("checkpoints/model_999.pt", ["model_999.pt"]),
        ("runs/*", ["agent_7.pt"]),
    ],
)
def test_checkpoints_are_found_within_the_asset(asset: Path, pattern: str, found: list[str]) -> None:
    candidates = find_checkpoints([pattern], asset_uri=str(asset), output_uri="/nowhere")
    assert [c.uri.rpartition("/")[2] for c in candidates] == found
    assert all(c.digest.startswith("sha256:") for c in candidates)


def test_a_run_is_found_by_its_job_id_and_each_checkpoint_counts_once(asset: Path, tmp_path: Path) -> None:
    (tmp_path / "out/job-1/checkpoints").mkdir(parents=True)
    (tmp_path / "out/job-1/checkpoints/model_3.pt").write_text("x")
    found = find_checkpoints(
        ["job-1", str(tmp_path / "out/job-1")], asset_uri=str(asset), output_uri=str(tmp_path / "out")
    )
    assert [c.run.rpartition("/")[2] for c in found] == ["job-1"]


def test_what_finds_nothing_or_leads_out_is_said(asset: Path) -> None:
    with pytest.raises(InputMissingError, match="No checkpoint is found by 'nope'"):
        find_checkpoints(["nope"], asset_uri=str(asset), output_uri="/nowhere")
    with pytest.raises(ConfigError, match="leads out"):
        find_checkpoints(["../x"], asset_uri=str(asset), output_uri="/nowhere")


def test_two_sweeps_at_once_lose_nothing(tmp_path: Path) -> None:
    def sweep_of(first: int) -> None:
        store = SweepStore(str(tmp_path))
        for n in range(first, first + 10):
            store.add_part(f"job-{n}", [row(n, 1.0)])
            store.write_table()

    threads = [threading.Thread(target=sweep_of, args=(first,)) for first in (0, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    table_rows = from_parquet(storage_at(str(tmp_path)).read("results.parquet"))
    assert sorted(r.iteration or 0 for r in table_rows) == [*range(10), *range(100, 110)]
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 21


def test_the_best_is_kept_with_the_reason_and_the_next_sweep_reads_it(tmp_path: Path) -> None:
    checkpoint = tmp_path / "runs/abc/checkpoints/model_7.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_text("the best")
    best = replace(row(7, 9.0), checkpoint=str(checkpoint))
    (board,) = boards([best, row(8, 1.0)], "meanReturn")
    store = SweepStore(str(tmp_path / "results"))
    assert store.last_best(board.task) is None
    kept = store.keep_best(board, scratch=tmp_path, at=5.0)
    assert kept is not None
    assert Path(kept).read_text() == "the best"
    last, entry = store.last_best(board.task), board.best
    assert last is not None
    assert entry is not None
    assert (last.kept_as, last.digest, last.metric) == (kept, "d7", "meanReturn")
    assert last.settings == entry.settings
    assert last.label == "model_7.pt"
    assert "differs significantly" in (tmp_path / f"results/best/{board.task}/why.json").read_text()


def test_leaderboard_and_plot_are_written(tmp_path: Path) -> None:
    ranked = boards([row(1, 1.0), row(2, 2.0)], "meanReturn")
    store = SweepStore(str(tmp_path))
    store.write_leaderboard(markdown(ranked, name="x"), table(ranked))
    assert "model_2.pt" in (tmp_path / "leaderboard.csv").read_text().splitlines()[1]
    picture = draw_over_iterations(ranked[0])
    assert picture is not None
    assert picture.startswith(b"\x89PNG")
    assert Path(store.write_picture("Task", picture)).stat().st_size > 5_000
