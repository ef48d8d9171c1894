import os
import subprocess
import sys
from pathlib import Path

import pytest

from isaaclab_flows.container.simulator import runner
from isaaclab_flows.container.simulator.session import Ranks
from isaaclab_flows.container.simulator.stop import StoppedError
from isaaclab_flows.schemas.errors import ConfigError
from isaaclab_flows.schemas.simulator import SimulatorJob, SimulatorResult
from tests.container.simulator.test_failures import job

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimulatorJob:
    monkeypatch.setattr(runner.StopRequest, "install", lambda self: None)
    monkeypatch.setattr(runner, "set_asset_root", lambda wanted: None)
    return job(progress_file=str(tmp_path / "progress.jsonl"), result_file=str(tmp_path / "result.json"))


def result_of(order: SimulatorJob) -> SimulatorResult:
    return SimulatorResult.model_validate_json(Path(order.result_file).read_bytes())


@pytest.mark.parametrize(
    ("raised", "status", "kind"),
    [
        (ConfigError("No such task"), "failed", "config"),
        (RuntimeError("boom"), "failed", "simulator"),
        (SystemExit(3), "failed", "simulator"),
        (MemoryError(), "failed", "out_of_memory"),
        (StoppedError(), "interrupted", None),
        (KeyboardInterrupt(), "interrupted", None),
    ],
)
def test_whatever_happens_a_result_says_so(
    order: SimulatorJob, monkeypatch: pytest.MonkeyPatch, raised: BaseException, status: str, kind: str | None
) -> None:
    def fail(*_: object) -> None:
        raise raised

    monkeypatch.setattr(runner, "_simulate", fail)
    runner.run(order, asset_root=None)
    result = result_of(order)
    assert result.status == status
    assert (result.error.kind if result.error else None) == kind


@pytest.mark.parametrize(("said", "threads"), [({}, "1"), ({"OMP_NUM_THREADS": "2"}, "2")])
def test_simulations_on_one_machine_do_not_fight_for_its_cores(said: dict[str, str], threads: str) -> None:
    program = (
        "import os, sys; from isaaclab_flows.container.simulator.__main__ import limit_threads;"
        " assert 'torch' not in sys.modules;"
        " limit_threads(os.environ); import torch; print(torch.get_num_threads())"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"} | said
    command = [sys.executable, "-c", program]
    answer = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    assert answer.stdout.strip() == threads


def test_the_first_word_is_the_last(order: SimulatorJob) -> None:
    leaving = runner._Leaving(Path(order.result_file), first=True)
    leaving.with_result(SimulatorResult(status="succeeded", iterations=5))
    leaving.failed(RuntimeError("while closing"), order)
    assert result_of(order).iterations == 5


def test_of_distributed_processes_the_first_writes_the_result(order: SimulatorJob) -> None:
    runner._Leaving(Path(order.result_file), first=False).with_result(SimulatorResult(status="succeeded"))
    assert not Path(order.result_file).exists()


def test_another_process_that_fails_says_why_and_the_first_that_is_ended_for_it_does_not_contradict(
    order: SimulatorJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(runner, "_simulate", fail)
    runner.run(order.model_copy(update={"distributed": True}), asset_root=None)
    assert not Path(order.progress_file).exists()
    runner._Leaving(Path(order.result_file), first=True).failed(StoppedError(), order)
    error = result_of(order).error
    assert error is not None
    assert error.kind == "out_of_memory"


def test_a_process_reads_its_place_from_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8"}.items():
        monkeypatch.setenv(name, value)
    assert Ranks.of(job()) == Ranks()
    assert Ranks.of(job(distributed=True)) == Ranks(rank=5, local_rank=1, world_size=8)
    assert not Ranks.of(job(distributed=True)).first


def test_a_distributed_process_that_torchrun_did_not_start_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="torchrun"):
        Ranks.of(job(distributed=True))
