"""Checkpoints by what people call them: the newest, the best, a job's name, an iteration of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isaaclab_flows.schemas.errors import FlowsError, InputMissingError
from isaaclab_flows.schemas.job_view import JobView
from isaaclab_flows.schemas.request import Request
from isaaclab_flows.tasks.request import resolve as module
from isaaclab_flows.tasks.request.references import checkpoint_uri, is_reference
from isaaclab_flows.tasks.request.resolve import resolve

TASK = "Isaac-Cartpole-Direct"
EXAMPLES = Path(__file__).resolve().parents[3] / "examples/cartpole"


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[JobView]:
    monkeypatch.setenv("ISAACLAB_FLOWS_OUTPUTS", str(tmp_path))

    def trained(job_id: str, name: str, *numbers: int, **more: Any) -> JobView:
        folder = tmp_path / job_id / "checkpoints"
        folder.mkdir(parents=True)
        for number in numbers:
            (folder / f"model_{number}.pt").write_bytes(b"weights")
        values = {"kind": "training", "task": TASK, "library": "rsl_rl", "state": "succeeded", "reward": 1.0}
        return JobView.model_validate({"job_id": job_id, "name": name, "where": str(tmp_path / job_id)} | values | more)

    return [
        trained("eval1111", "an evaluation", kind="evaluation"),
        trained("empty111", "failed at once", state="failed", reward=None),
        trained("other111", "another task", 9, task="Isaac-Ant-Direct", reward=99.0),
        trained("skrl1111", "another library", 9, library="skrl", reward=99.0),
        trained("newest11", "my ablation", 0, 999, 1500, reward=3.0, success_rate=0.5),
        trained("sharp111", "my ablation", 0, 300, reward=2.0, success_rate=0.9),
        trained("oldest11", "first", 0, 100, reward=50.0),
    ]


def found(reference: str, jobs: list[JobView]) -> str:
    uri = checkpoint_uri(reference, jobs, task=f"{TASK}-v0", library="rsl_rl", key="trainingConfig.checkpointPath")
    return "/".join(Path(uri).parts[-3:])


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("latest", "newest11/checkpoints/model_1500.pt"),
        ("latest:999", "newest11/checkpoints/model_999.pt"),
        ("best", "sharp111/checkpoints/model_300.pt"),
        ("best:0", "sharp111/checkpoints/model_0.pt"),
        ("my ablation", "newest11/checkpoints/model_1500.pt"),
        ("first:100", "oldest11/checkpoints/model_100.pt"),
        ("shar", "sharp111/checkpoints/model_300.pt"),
        ("oldest11:0", "oldest11/checkpoints/model_0.pt"),
    ],
)
def test_a_reference_is_the_file_that_people_mean(reference: str, expected: str, jobs: list[JobView]) -> None:
    assert found(reference, jobs) == expected


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("latest:7", "It has those of the iterations 1500, 999, 0."),
        ("nothing like it", "'my ablation' (newest11)"),
        ("failed at once", "It has saved none."),
    ],
)
def test_what_is_not_there_is_told_with_what_is(reference: str, words: str, jobs: list[JobView]) -> None:
    with pytest.raises(InputMissingError) as caught:
        found(reference, jobs)
    assert words in caught.value.sentence


def test_nothing_trained_yet_is_told() -> None:
    with pytest.raises(InputMissingError, match="no training of Isaac-Cartpole-Direct with rsl_rl"):
        found("best", [])


@pytest.mark.parametrize("text", ["model_1.pt", "checkpoints/latest", "s3://bucket/best", "a\\b", "best.pth"])
def test_a_path_or_a_uri_is_no_reference(text: str) -> None:
    assert not is_reference(text)


def evaluation(tmp_path: Path, **more: Any) -> Path:
    data = json.loads((EXAMPLES / "evaluation/cartpole-evaluation-config.json").read_text())
    data["trainingConfig"] |= {"checkpointPath": "latest"} | more
    file = tmp_path / "asset/evaluation/x-evaluation-config.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(data))
    return file


def asked(file: Path, source: str) -> Request:
    return Request.model_validate({"job_id": "j", "source": source, "config_uri": str(file), "output_uri": "/out"})


def test_a_configuration_may_name_the_latest_training(
    jobs: list[JobView], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "local_jobs", lambda: jobs)
    job = resolve(asked(evaluation(tmp_path), "cli"))
    assert job.checkpoints[0].uri.endswith("newest11/checkpoints/model_1500.pt")


def test_vams_reaches_nobody_elses_training(
    jobs: list[JobView], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "local_jobs", lambda: jobs)
    with pytest.raises(FlowsError):
        resolve(asked(evaluation(tmp_path), "vams"))


def test_a_training_goes_on_from_another(jobs: list[JobView], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "local_jobs", lambda: jobs)
    file = EXAMPLES / "training/cartpole-training-config.json"
    request = asked(file, "ui").model_copy(
        update={"overrides": {"trainingConfig": {"resumeCheckpoint": "first", "maxIterations": 900}}}
    )
    assert resolve(request).checkpoints[0].uri.endswith("oldest11/checkpoints/model_100.pt")
