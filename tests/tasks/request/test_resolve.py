"""From a request to a job: what people would expect is found, and what is wrong is said before anything starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isaaclab_flows.schemas.errors import CheckpointError, ConfigError, FlowsError, InputMissingError
from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.request import Request
from isaaclab_flows.tasks.request.resolve import resolve
from tests.tasks.job.test_checkpoints import write_checkpoint

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


@pytest.fixture
def asset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An asset as the documentation lays it out."""
    monkeypatch.setenv("ISAACLAB_FLOWS_OUTPUTS", str(tmp_path / "outputs"))
    root = tmp_path / "asset"
    put(root / "training/x-training-config.json", training())
    put(root / "evaluation/x-evaluation-config.json", evaluation(checkpointPath="checkpoints/model_499.pt"))
    for number in (0, 100, 499):
        write_checkpoint(root / f"checkpoints/model_{number}.pt")
    return root


def put(path: Path, data: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))
    return path


def training(**changes: Any) -> dict[str, Any]:
    data = json.loads((EXAMPLES / "cartpole/training/cartpole-training-config.json").read_text())
    data["trainingConfig"] |= changes
    return dict(data)


def evaluation(**changes: Any) -> dict[str, Any]:
    data = json.loads((EXAMPLES / "cartpole/evaluation/cartpole-legacy-evaluation-config.json").read_text())
    data["trainingConfig"] |= changes
    return dict(data)


def ask(path: Path | str, **more: Any) -> Job:
    return resolve(Request(job_id="job-1", source="cli", config_uri=str(path), output_uri="/out", **more))


def test_a_training_becomes_a_job_with_the_installed_tasks_name(asset: Path) -> None:
    job = ask(asset / "training/x-training-config.json")
    assert (job.kind, job.task, job.library) == ("training", "Isaac-Cartpole-Direct", "rsl_rl")
    assert job.title == "Isaac-Cartpole-Direct · rsl_rl · job-1"


def test_a_relative_checkpoint_resolves_against_the_folder_above_the_configs_own(asset: Path) -> None:
    job = ask(asset / "evaluation/x-evaluation-config.json")
    assert [c.uri for c in job.checkpoints] == [str(asset / "checkpoints/model_499.pt")]
    assert job.checkpoints[0].found_by == "checkpointPath"


def test_a_config_at_the_root_resolves_against_the_root(asset: Path) -> None:
    path = put(asset / "x-evaluation-config.json", evaluation(checkpointPath="checkpoints/model_100.pt"))
    assert ask(path, asset_uri=str(asset)).checkpoints[0].uri == str(asset / "checkpoints/model_100.pt")


def test_without_a_path_the_highest_number_counts_not_the_alphabet(asset: Path) -> None:
    write_checkpoint(asset / "evaluation/model_999.pt")
    write_checkpoint(asset / "evaluation/model_1500.pt")
    (asset / "evaluation/model_2000.pt").write_bytes(b"")
    path = put(asset / "evaluation/x-evaluation-config.json", evaluation())
    assert ask(path).checkpoints[0].uri.endswith("evaluation/model_1500.pt")


def test_without_one_beside_the_config_the_asset_is_searched(asset: Path) -> None:
    path = put(asset / "evaluation/x-evaluation-config.json", evaluation())
    source = ask(path).checkpoints[0]
    assert source.uri.endswith("checkpoints/model_499.pt")
    assert source.found_by == "discovery"


def test_a_checkpoint_as_the_input_is_the_one_that_is_evaluated(asset: Path) -> None:
    source = ask(asset / "checkpoints/model_100.pt").checkpoints[0]
    assert source.uri.endswith("checkpoints/model_100.pt")
    assert source.found_by == "input"


def test_a_whole_asset_uses_its_one_config_of_the_kind(asset: Path) -> None:
    assert ask(f"{asset}/", kind="training").kind == "training"
    assert ask(f"{asset}/", kind="evaluation").kind == "evaluation"


def test_a_whole_asset_with_several_configs_says_which(asset: Path) -> None:
    put(asset / "training/y-training-config.json", training())
    with pytest.raises(ConfigError, match=r"x-training-config\.json, training/y-training-config\.json"):
        ask(f"{asset}/", kind="training")


def test_overrides_win_over_the_file_and_the_file_over_parameters(asset: Path) -> None:
    job = ask(
        asset / "training/x-training-config.json",
        input_parameters={"trainingConfig": {"numEnvs": 1, "seed": 5}},
        overrides={"trainingConfig": {"maxIterations": 3}},
    )
    inner = job.config.training_config
    assert (inner.num_envs, inner.seed) == (4096, 5)
    assert job.config.kind == "training"
    assert job.config.training_config.max_iterations == 3


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"task": "Isaac-Cartpol-Direct"}, ConfigError, "Isaac-Cartpole-Direct"),
        ({"resumeCheckpoint": "checkpoints/model_5.pt"}, InputMissingError, "model_499.pt"),
        ({"resumeCheckpoint": "../../secret.pt"}, ConfigError, "without '..'"),
        ({"customEnvironmentPath": "env/none.zip"}, InputMissingError, "customEnvironmentPath"),
    ],
)
def test_what_cannot_be_had_is_said_before_anything_starts(
    asset: Path, change: dict[str, Any], error: type[FlowsError], words: str
) -> None:
    path = put(asset / "training/z-training-config.json", training(**change))
    with pytest.raises(error) as caught:
        ask(path)
    assert words in caught.value.sentence


def test_several_nodes_need_a_cluster(asset: Path) -> None:
    data = training()
    data["computeConfig"]["numNodes"] = 4
    with pytest.raises(ConfigError, match="runs on one machine"):
        ask(put(asset / "training/z-training-config.json", data))


def test_an_empty_checkpoint_is_refused(asset: Path) -> None:
    (asset / "checkpoints/model_499.pt").write_bytes(b"")
    with pytest.raises(InputMissingError, match="empty"):
        ask(asset / "evaluation/x-evaluation-config.json")


@pytest.mark.parametrize(
    ("trained", "words"),
    [({"task": "Isaac-Ant-Direct-v0"}, "Isaac-Ant-Direct-v0"), ({"rlLibrary": "skrl"}, "skrl")],
)
def test_a_checkpoint_of_another_training_is_refused(asset: Path, trained: dict[str, Any], words: str) -> None:
    put(asset / "training-config.json", training(**trained))
    with pytest.raises(CheckpointError, match=words):
        ask(asset / "evaluation/x-evaluation-config.json")


def test_a_checkpoint_whose_name_is_another_librarys_is_refused(asset: Path) -> None:
    write_checkpoint(asset / "checkpoints/agent_10.pt")
    path = put(asset / "evaluation/y-evaluation-config.json", evaluation(checkpointPath="checkpoints/agent_10.pt"))
    with pytest.raises(CheckpointError, match="skrl"):
        ask(path)


def test_many_environments_with_video_are_warned_of(asset: Path) -> None:
    path = put(asset / "evaluation/y-evaluation-config.json", evaluation(numEnvs=512))
    assert "512" in ask(path).warnings[0]
