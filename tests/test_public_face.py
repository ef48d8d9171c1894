"""`import isaaclab_flows`: light, complete, and saying what is wrong before anything starts."""

from __future__ import annotations

import inspect
import json
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import isaaclab_flows
from isaaclab_flows import api
from isaaclab_flows.flows import here
from isaaclab_flows.schemas import errors
from isaaclab_flows.schemas.errors import ConfigError, FlowsError, InputMissingError
from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.outcome import Outcome, OutputFile
from isaaclab_flows.schemas.request import Request
from isaaclab_flows.schemas.settings import replaced_settings, settings

ROOT = Path(__file__).resolve().parents[1]
CARTPOLE = ROOT / "examples/cartpole/training/cartpole-laptop-training-config.json"


class Runs:
    """Stands in for running: keeps what would run, and how."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.jobs: list[Job] = []
        self.outputs: list[str] = []

    def run_here(self, request: Request, job: Job) -> Outcome:
        self.requests.append(request)
        self.jobs.append(job)
        self.outputs.append(settings().outputs)
        return Outcome(job_id=job.job_id, kind=job.kind, status="succeeded", task=job.task, library=job.library)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Runs:
    made = Runs()
    monkeypatch.setattr(here, "run_here", made.run_here)
    monkeypatch.setattr(here, "prepare_prefect", lambda **_: None)
    monkeypatch.chdir(tmp_path)
    return made


def train(**changes: Any) -> Outcome:
    given = {"task": "Isaac-Cartpole-Direct", "num_envs": 16, "max_iterations": 3, "progress": False}
    return isaaclab_flows.train(**given | changes)


def test_importing_it_imports_nothing_heavy() -> None:
    script = (
        "import sys, isaaclab_flows; dir(isaaclab_flows); from isaaclab_flows import ConfigError, Outcome\n"
        "assert not {'prefect', 'boto3', 'torch', 'matplotlib', 'rich'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_every_name_is_there_and_documented() -> None:
    for name in isaaclab_flows.__all__:
        found = getattr(isaaclab_flows, name)
        assert name == "__version__" or found.__doc__, name
    assert set(isaaclab_flows.__all__) <= set(dir(isaaclab_flows))
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        isaaclab_flows.trian  # noqa: B018


def test_every_error_of_the_tree_can_be_caught() -> None:
    tree = {name for name, found in vars(errors).items() if isinstance(found, type) and issubclass(found, FlowsError)}
    assert tree <= set(isaaclab_flows.__all__)


def test_every_argument_is_explained() -> None:
    for name in ("train", "evaluate", "sweep", "validate"):
        function = getattr(isaaclab_flows, name)
        assert function.__doc__
        for argument in inspect.signature(function).parameters:
            assert f"        {argument}: " in function.__doc__, f"{name}({argument})"


def test_keywords_are_the_whole_configuration(runs: Runs, tmp_path: Path) -> None:
    outcome = train(output=tmp_path / "results", seed=7, checkpoint_interval=1, device="cpu")
    (job,), (request,) = runs.jobs, runs.requests
    assert outcome.status == "succeeded"
    assert (job.task, job.library, job.device, job.source) == ("Isaac-Cartpole-Direct", "rsl_rl", "cpu", "python")
    assert job.config.training_config.seed == 7
    assert request.output_uri == str(tmp_path / "results")
    assert runs.outputs == [str(tmp_path / "results")]
    assert settings().outputs == "outputs", "the place is this call's alone"


def test_keywords_stand_above_a_file(runs: Runs) -> None:
    isaaclab_flows.train(
        CARTPOLE, num_envs=8, overrides={"outputConfig.saveCheckpoints": False}, job_id="mine", progress=False
    )
    (job,) = runs.jobs
    before = json.loads(CARTPOLE.read_text())["trainingConfig"]
    assert job.config.kind == "training"
    assert (job.job_id, job.config.training_config.num_envs) == ("mine", 8)
    assert job.config.training_config.max_iterations == before["maxIterations"]
    assert not job.config.output_config.save_checkpoints


def test_checkpoints_are_relative_to_the_working_folder(runs: Runs, tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"model_{number}.pt").write_text("x")
    isaaclab_flows.evaluate(
        checkpoints=["model_2.pt", tmp_path / "model_1.pt"],
        task="Isaac-Cartpole-Direct",
        num_envs=2,
        num_episodes=1,
        steps_per_episode=10,
        record_video=False,
        progress=False,
    )
    (job,) = runs.jobs
    assert [source.uri for source in job.checkpoints] == [str(tmp_path / f"model_{n}.pt") for n in (2, 1)]


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"num_envs": "many"}, ConfigError, "numEnvs"),
        ({"max_iterations": 0}, ConfigError, "maxIterations"),
        ({"task": "Isaac-Cartpole-Dircet"}, ConfigError, "Isaac-Cartpole-Direct"),
        ({"overrides": {"trainingConfig.numEvs": 1}}, ConfigError, "numEvs"),
        ({"resume_checkpoint": "none.pt"}, InputMissingError, "resumeCheckpoint"),
        ({"asset_root": "nowhere"}, ConfigError, "asset_root"),
        ({"config": "none-training-config.json"}, InputMissingError, "none-training-config.json"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(
    runs: Runs, changes: dict[str, Any], kind: type[FlowsError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        train(**changes)
    assert runs.jobs == []


def test_a_configuration_can_be_checked_alone(runs: Runs) -> None:
    assert isaaclab_flows.validate(CARTPOLE).kind == "training"
    with pytest.raises(ConfigError, match="numEnvs"):
        isaaclab_flows.validate(CARTPOLE, overrides={"trainingConfig.numEnvs": 0})


def test_a_second_job_in_one_process_is_refused(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_two(request: Request, job: Job) -> Outcome:
        return train()

    monkeypatch.setattr(here, "run_here", run_two)
    with pytest.raises(FlowsError, match="Another job is at work"):
        train()
    monkeypatch.setattr(here, "run_here", runs.run_here)
    assert train().status == "succeeded", "and the next one runs"


def test_settings_are_replaced_for_a_while_only() -> None:
    with replaced_settings(outputs="a"), replaced_settings(hang_seconds=1.0):
        assert (settings().outputs, settings().hang_seconds) == ("a", 1.0)
    assert (settings().outputs, settings().hang_seconds) == ("outputs", 900.0)


def outcome_in(folder: Path, *names: str) -> Outcome:
    return Outcome(
        job_id="j",
        kind="training",
        status="succeeded",
        task="t",
        library="rsl_rl",
        output_uri=str(folder),
        files=tuple(OutputFile(path=name, size=1) for name in names),
    )


def test_an_outcome_gives_its_folder_checkpoints_and_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "metrics.csv").write_text("iteration,reward,note\n0,1.5,\n1,2,good\n")
    outcome = outcome_in(tmp_path, "checkpoints/model_10.pt", "checkpoints/model_9.pt", "metrics.csv")
    assert outcome.folder == tmp_path
    assert [path.name for path in outcome.checkpoints] == ["model_9.pt", "model_10.pt"]
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.setattr("isaaclab_flows.schemas.outcome.find_spec", lambda _: None)
    assert outcome.table() == [
        {"iteration": 0, "reward": 1.5, "note": None},
        {"iteration": 1, "reward": 2, "note": "good"},
    ]
    with pytest.raises(InputMissingError, match=r"There are: metrics\.csv"):
        outcome.table("episodes.csv")
    with pytest.raises(InputMissingError, match="in S3"):
        _ = outcome.model_copy(update={"output_uri": "s3://b/j"}).folder


def test_a_table_is_a_data_frame_where_pandas_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "metrics.csv").write_text("a\n1\n")
    stand_in = types.ModuleType("pandas")
    stand_in.read_csv = lambda path: ("frame", path)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pandas", stand_in)
    monkeypatch.setattr("isaaclab_flows.schemas.outcome.find_spec", lambda _: object())
    assert outcome_in(tmp_path).table() == ("frame", tmp_path / "metrics.csv")


def test_links_that_came_as_files_are_explained(tmp_path: Path) -> None:
    package = tmp_path / "isaaclab_flows"
    package.mkdir()
    shutil.copy(isaaclab_flows.__file__, package / "__init__.py")
    for name in ("cli", "schemas", "tasks"):
        (package / name).write_text(f"../{name}")
    answer = subprocess.run(
        [sys.executable, "-c", "import isaaclab_flows"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 1
    assert "core.symlinks=true" in answer.stderr.splitlines()[-1]


def test_the_types_are_for_everybody() -> None:
    assert Path(isaaclab_flows.__file__).with_name("py.typed").is_file()
    assert api.train is isaaclab_flows.train
