"""`isaaclab-flows compare`, as people and programs read it."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from isaaclab_flows.cli.main import app
from tests.tasks.sweep.test_recorded import evaluation


def test_people_get_a_table_and_a_statement_and_programs_json(tmp_path: Path) -> None:
    a = evaluation(tmp_path / "a", {"/c/model_1.pt": 1.0}, success="1")
    b = evaluation(tmp_path / "b", {"/c/model_2.pt": 0.0}, success="1")
    result = CliRunner().invoke(app, ["compare", str(a), str(b)])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split()[:2] == ["episodes", "mean"]
    assert lines[1].startswith("model_1")
    assert lines[2].endswith("differs")
    assert "differs significantly from 1 of the other" in result.stdout
    assert "may not have been seen" in result.stdout
    result = CliRunner().invoke(app, ["compare", str(a), str(b), "--metric", "successRate", "--json"])
    document = json.loads(result.stdout)
    assert document["tied_with_best"] == ["model_2"]
    assert document["entries"][0]["low"] > 0.8


def test_a_place_without_episodes_is_an_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["compare", "nothing", "--outputs", str(tmp_path)])
    assert result.exit_code == 1
