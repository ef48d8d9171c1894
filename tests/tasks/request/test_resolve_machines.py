"""A job is priced by the machine that it will get, and refused where the deployment has none for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from isaaclab_flows.schemas.errors import ConfigError
from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.placement import Queues, QueueSet
from isaaclab_flows.schemas.request import Request
from isaaclab_flows.schemas.settings import settings
from isaaclab_flows.tasks.request.resolve import resolve

EXAMPLE = Path(__file__).resolve().parents[3] / "examples/cartpole/training/cartpole-training-config.json"
QUEUES = Queues(
    sets=(
        QueueSet(gpus=1, resumable="one", on_demand="one-od"),
        QueueSet(gpus=4, resumable="four", on_demand="four-od"),
    )
)


def _ask(folder: Path, gpus: int) -> Job:
    data = json.loads(EXAMPLE.read_text())
    data["computeConfig"]["gpusPerNode"] = gpus
    config = folder / "training" / "x-training-config.json"
    config.parent.mkdir()
    config.write_text(json.dumps(data))
    settings.cache_clear()
    return resolve(Request(job_id="job-1", source="cli", config_uri=str(config), output_uri="/out"))


@pytest.mark.parametrize(("gpus", "machine"), [(1, "g6.2xlarge"), (2, "g6.12xlarge"), (4, "g6.12xlarge")])
def test_the_price_is_that_of_the_machine_that_the_job_gets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: int, machine: str
) -> None:
    monkeypatch.setenv("ISAACLAB_FLOWS_QUEUES", QUEUES.model_dump_json(by_alias=True))
    price = _ask(tmp_path, gpus).price
    assert price is not None
    assert price.instance_type == machine


def test_a_machine_that_the_deployment_lacks_is_refused_before_any_gpu_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISAACLAB_FLOWS_QUEUES", QUEUES.model_dump_json(by_alias=True))
    with pytest.raises(ConfigError, match=r"gpusPerNode is 8.*up to 4"):
        _ask(tmp_path, 8)
