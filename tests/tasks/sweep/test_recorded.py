"""What was evaluated before is found by what people call it, and compared as a leaderboard does."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from isaaclab_flows.schemas.errors import ConfigError, InputMissingError
from isaaclab_flows.tasks.sweep.recorded import compare, find

STARTS = np.random.default_rng(0).normal(0, 3, 40)


def evaluation(
    folder: Path, checkpoints: dict[str, float], *, seed: int = 1, task: str = "Isaac-Ant-Direct", success: str = ""
) -> Path:
    folder.mkdir(parents=True)
    with (folder / "metrics.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["checkpoint", "round", "environment", "return", "length", "outcome", "success"])
        for place, (uri, level) in enumerate(checkpoints.items()):
            luck = np.random.default_rng(place + seed).normal(0, 0.1, len(STARTS))
            for environment, value in enumerate(STARTS + level + luck):
                table.writerow([Path(uri).stem, 1, environment, value, 9, "timed_out", success])
    about = {"task": task, "seed": seed, "evaluations": [{"checkpoint": uri} for uri in checkpoints], "versions": {}}
    (folder / "summary.json").write_text(json.dumps(about))
    return folder


def test_the_document_has_entries_differences_the_best_and_its_ties(tmp_path: Path) -> None:
    a = evaluation(tmp_path / "a", {"/c/model_1.pt": 1.0, "/c/model_2.pt": 1.01})
    b = evaluation(tmp_path / "b", {"/d/model_3.pt": 0.0})
    document = compare([str(a), str(b / "metrics.csv")], outputs=str(tmp_path)).document()
    names = [entry["name"] for entry in document["entries"]]
    assert set(names[:2]) == {"model_1", "model_2"}
    assert names[2] == "model_3"
    assert document["best"] == names[0]
    assert document["tied_with_best"] == [names[1]]
    told = {d["b"]: d for d in document["differences"]}
    assert told["model_3"]["significant"] is True
    assert told["model_3"]["low"] < 1.0 < told["model_3"]["high"]
    assert told["model_3"]["high"] - told["model_3"]["low"] < 0.3
    first = document["entries"][0]
    assert (first["episodes"], first["success"]) == (40, None)
    assert first["low"] < first["mean"] < first["high"]
    assert document["paired"] is True
    json.dumps(document, allow_nan=False)


def test_other_seeds_began_elsewhere_and_are_not_paired(tmp_path: Path) -> None:
    for seed in (1, 2):
        evaluation(tmp_path / f"e{seed}", {f"/c/model_{seed}.pt": 1.0}, seed=seed)
    document = compare([str(tmp_path / "e1"), str(tmp_path / "e2")], outputs=str(tmp_path)).document()
    assert document["paired"] is False
    assert "as independent" in document["statement"]


@pytest.mark.parametrize("place", ["my-walk", "my walk", "my-walk-0123abcd", "0123abcd-0000-4000-8000-000000000000"])
def test_an_evaluation_is_found_by_its_name_its_folder_and_its_jobs_id(tmp_path: Path, place: str) -> None:
    evaluation(tmp_path / "my-walk-0123abcd", {"/c/model_1.pt": 1.0})
    assert [recorded.name for recorded in find(place, outputs=str(tmp_path))] == ["model_1"]


def test_a_training_means_the_evaluations_of_its_checkpoints(tmp_path: Path) -> None:
    training = tmp_path / "walk-training-0a"
    (training / "checkpoints").mkdir(parents=True)
    (training / "metrics.csv").write_text("iteration,reward\n1,2\n")
    own = f"{training}/checkpoints/model_7.pt"
    evaluation(tmp_path / "some-evaluation", {own: 1.0, "/elsewhere/model_8.pt": 0.0})
    (recorded,) = find("walk-training", outputs=str(tmp_path))
    assert recorded.checkpoint == own


def test_what_is_not_there_or_not_comparable_is_an_error_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match="No recorded evaluation is found by 'nothing'"):
        find("nothing", outputs=str(tmp_path))
    a = evaluation(tmp_path / "a", {"/c/model_1.pt": 1.0})
    b = evaluation(tmp_path / "b", {"/c/model_2.pt": 1.0}, task="Isaac-Humanoid-Direct")
    with pytest.raises(ConfigError, match="different tasks"):
        compare([str(a), str(b)], outputs=str(tmp_path))
    with pytest.raises(ConfigError, match="successRate is not known"):
        compare([str(a)], outputs=str(tmp_path), metric="successRate")


def test_a_name_that_comes_twice_gets_its_folders(tmp_path: Path) -> None:
    places = [str(evaluation(tmp_path / name, {f"/{name}/model_1.pt": 1.0})) for name in ("a", "b")]
    found = compare(places, outputs=str(tmp_path), metric="meanReturn")
    assert set(found.recorded) == {"a/model_1", "b/model_1"}
