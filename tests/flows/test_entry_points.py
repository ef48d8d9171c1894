"""The flows that `prefect.yaml` names are there, also under the names that deployments made before hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from prefect.flows import load_flow_from_entrypoint

from isaaclab_flows.cli.deploying import prefect_file

ROOT = Path(__file__).resolve().parents[2]
ENTRY_POINTS = [entry["entrypoint"] for entry in yaml.safe_load(prefect_file().read_text())["deployments"]]


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_a_deployment_made_before_the_move_runs_the_same_flow_from_a_checkout_or_an_image(entry_point: str) -> None:
    former = entry_point.removeprefix("isaaclab_flows.")
    assert former != entry_point
    now, before = load_flow_from_entrypoint(entry_point), load_flow_from_entrypoint(former)
    assert before.name == now.name
    assert Path(before.fn.__code__.co_filename).resolve() == Path(now.fn.__code__.co_filename).resolve()


def test_the_images_former_entry_point_goes_on_and_says_the_new_one() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "container.entry_point", "true"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert "isaaclab_flows.container.start.entry_point" in answer.stderr
