"""The flows' bodies, run without Prefect's engine and with a simulator that speaks the contract and is brief."""

from __future__ import annotations

import importlib
import json
import logging
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from isaaclab_flows.flows import orchestrate
from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.outcome import Outcome
from isaaclab_flows.schemas.request import Request
from isaaclab_flows.schemas.settings import Settings, replaced_settings
from isaaclab_flows.tasks.job.folder import JobFolder, folder_of
from tests.system.vams import brief_simulator

CONFIG = {
    "name": "Cart",
    "description": "",
    "computeConfig": {"numNodes": 1},
    "trainingConfig": {
        "task": "Isaac-Cartpole-Direct",
        "numEnvs": 4,
        "rlLibrary": "rsl_rl",
        "mode": "train",
        "maxIterations": 2,
    },
}


@dataclass
class Bodies:
    """What a test needs of the flows."""

    folder: Path
    simulator: Path
    run: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(id=UUID(int=1), name="run", ui_url="", parameters={})
    )

    def request(self, job_id: str = "job-1", **changes: Any) -> Request:
        fields = {"source": "vams", "config": CONFIG, "output_uri": str(self.folder / "out")}
        return Request(job_id=job_id, **(fields | changes))

    def evaluation(self, checkpoint: Path, **changes: Any) -> Request:
        inner = {**CONFIG["trainingConfig"], "mode": "evaluate", "numEpisodes": 1, "stepsPerEpisode": 5}  # type: ignore[dict-item]
        inner |= {"checkpointPath": str(checkpoint), "recordVideo": False}
        del inner["maxIterations"]
        return self.request("job-2", config={**CONFIG, "trainingConfig": inner}, **changes)

    def orchestrate(self, request: Request) -> Outcome:
        return orchestrate.orchestrate(request)

    def job_folder(self, job_id: str = "job-1") -> JobFolder:
        return folder_of(job_id)

    def simulate_with(self, script: str) -> None:
        """Let simulators do something else; `order` is what they were told."""
        head = "import json, pathlib, sys\norder = json.loads(pathlib.Path(sys.argv[3]).read_text())\n"
        self.simulator.write_text(f"#!{sys.executable}\n{head}{script}\n")


@pytest.fixture
def bodies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bodies]:
    made = Bodies(tmp_path, tmp_path / "simulator")
    made.simulator.write_text(f"#!{sys.executable}\n{Path(brief_simulator.__file__).read_text()}")
    shutil.copymode(sys.executable, made.simulator)
    modules = {
        n: importlib.import_module(f"isaaclab_flows.flows.{n}") for n in ("open", "execute", "close", "handle_error")
    }
    for module in modules.values():
        monkeypatch.setattr(module, "get_run_logger", lambda: logging.getLogger("flows"))
    monkeypatch.setattr(orchestrate, "open_job", modules["open"].open_job.fn)
    monkeypatch.setattr(orchestrate, "execution", lambda _: modules["execute"].execute.fn)
    monkeypatch.setattr(orchestrate, "close", modules["close"].close.fn)
    monkeypatch.setattr(modules["handle_error"], "keep_saved", modules["handle_error"].keep_saved.fn)
    monkeypatch.setattr(orchestrate, "runtime", SimpleNamespace(flow_run=made.run))
    changes: dict[str, Any] = {"outputs": str(tmp_path / "out"), "simulator_python": made.simulator, "device": "cpu"}
    assert set(changes) <= set(Settings.model_fields)
    with replaced_settings(**changes):
        yield made


def events(job: Job | str) -> list[dict[str, Any]]:
    """Return what the last attempt's simulator said."""
    attempt = folder_of(job).attempts()[-1]
    return [json.loads(line) for line in attempt.progress_file.read_text().splitlines()]
