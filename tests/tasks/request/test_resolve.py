"""From a request to a job: what people would expect is found, and what is wrong is said before anything starts."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
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


@pytest.mark.parametrize("name", ["model.pt", "policy.pt", "best_agent.pt"])
def test_a_single_file_without_a_number_beside_the_config_is_taken(asset: Path, name: str) -> None:
    write_checkpoint(asset / "evaluation" / name)
    library = "skrl" if name == "best_agent.pt" else "rsl_rl"
    path = put(asset / "evaluation/x-evaluation-config.json", evaluation(rlLibrary=library))
    assert ask(path).checkpoints[0].uri.endswith(f"evaluation/{name}")


def test_of_several_runs_the_newest_counts_before_the_highest_number(asset: Path) -> None:
    for run, number, time in (("2026-01", 1500, 1_000), ("2026-02", 100, 2_000), ("2026-02", 200, 2_000)):
        write_checkpoint(asset / f"evaluation/{run}/model_{number}.pt")
        os.utime(asset / f"evaluation/{run}/model_{number}.pt", (time, time))
    path = put(asset / "evaluation/x-evaluation-config.json", evaluation())
    assert ask(path).checkpoints[0].uri.endswith("evaluation/2026-02/model_200.pt")


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


@pytest.mark.parametrize("name", ["model_7.pt", "policy.onnx"])
@pytest.mark.parametrize(
    ("write", "of", "key"),
    [(training, "training", "resumeCheckpoint"), (evaluation, "evaluation", "checkpointPath")],
)
def test_an_exported_policy_is_told_from_its_checkpoint_by_content(
    asset: Path, name: str, write: Callable[..., dict[str, Any]], of: str, key: str
) -> None:
    with zipfile.ZipFile(asset / name, "w") as archive:  # as torch.jit.save writes it
        for member in ("policy/data.pkl", "policy/code/__torch__.py", "policy/constants.pkl"):
            archive.writestr(member, b"\x80\x02.")
    path = put(asset / f"{of}/y-{of}-config.json", write(**{key: name}))
    with pytest.raises(CheckpointError, match=r"exported policy.*checkpoints/…"):
        ask(path)


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


def test_the_newest_run_folder_counts_before_the_highest_number_and_that_is_said(asset: Path) -> None:
    for age, (run, number) in enumerate([("new", 5), ("old", 900)]):
        path = asset / f"{run}/checkpoints/model_{number}.pt"
        write_checkpoint(path)
        write_checkpoint(path.with_name("model_0.pt"))
        for file in path.parent.iterdir():
            os.utime(file, (2e9 - age, 2e9 - age))
    path = put(asset / "evaluation/y-evaluation-config.json", evaluation())
    job = ask(path, asset_uri=str(asset))
    assert job.checkpoints[0].uri.endswith("new/checkpoints/model_5.pt")
    (told,) = (sentence for sentence in job.defaults if "No checkpoint" in sentence)
    assert "new/checkpoints/model_5.pt, the highest of 2 in its folder, the newest of 3 folders" in told


@pytest.mark.parametrize("run_on", ["", "robot.usd", "checkpoints/model_100.pt"])
@pytest.mark.parametrize("kind", ["training", "evaluation"])
def test_parameters_alone_are_enough(asset: Path, run_on: str, kind: str) -> None:
    for config in asset.rglob("*.json"):
        config.unlink()
    (asset / "robot.usd").write_bytes(b"usd")
    parameters = {"trainingConfig": {"task": "Isaac-Cartpole-Direct-v0", "numEnvs": "8"}}
    uri = f"{asset}/{run_on}"
    job = resolve(
        Request(
            job_id="job-1",
            source="cli",
            config_uri=uri,
            asset_uri=str(asset),
            output_uri="/out",
            kind=kind,  # type: ignore[arg-type]
            input_parameters=parameters,
        )
    )
    assert (job.kind, job.config.training_config.num_envs) == (kind, 8)
    chosen = {"": "model_499.pt", "robot.usd": "model_499.pt"}.get(run_on, "model_100.pt")
    if kind == "evaluation":
        assert job.checkpoints[0].uri.endswith(chosen)
    else:
        assert [source.uri.rpartition("/")[2] for source in job.checkpoints] == (
            ["model_100.pt"] if ".pt" in run_on else []
        )
    assert "trainingConfig.rlLibrary was not given: rsl_rl" in job.defaults


def test_an_evaluation_without_a_configuration_takes_task_and_library_from_the_training(asset: Path) -> None:
    for config in asset.rglob("*.json"):
        config.unlink()
    put(asset / "training-config.json", training())
    job = ask(f"{asset}/", kind="evaluation", asset_uri=str(asset))
    assert (job.task, job.library) == ("Isaac-Cartpole-Direct", "rsl_rl")
    assert "trainingConfig.task was not given: Isaac-Cartpole-Direct-v0, as it was trained" in job.defaults


def test_an_asset_with_neither_configuration_nor_parameters_says_what_to_add(asset: Path) -> None:
    for config in asset.rglob("*.json"):
        config.unlink()
    with pytest.raises(InputMissingError, match=r"Add a \*-training-config\.json"):
        ask(f"{asset}/", kind="training")


def test_what_a_later_step_evaluates_is_what_the_earlier_one_has_made(asset: Path, tmp_path: Path) -> None:
    made = tmp_path / "files"
    write_checkpoint(made / "exec-1/checkpoints/model_7.pt")
    put(made / "exec-1/training-config.json", training())
    job = resolve(
        Request(
            job_id="exec-1-evaluation",
            source="vams",
            kind="evaluation",
            config_uri=f"{asset}/",
            asset_uri=f"{asset}/",
            earlier_outputs_uri=f"{made}/",
            output_uri="/out",
        )
    )
    assert job.checkpoints[0].uri == str(made / "exec-1/checkpoints/model_7.pt")
    assert any("of this workflow's earlier step" in sentence for sentence in job.defaults)


def test_a_value_that_is_laid_over_the_file_s_is_told(asset: Path) -> None:
    job = ask(
        asset / "training/x-training-config.json", overrides={"trainingConfig": {"maxIterations": 3, "seed": None}}
    )
    assert any(s.startswith("trainingConfig.maxIterations is 3 as this run was given it") for s in job.defaults)
