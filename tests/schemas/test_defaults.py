"""Files that users of VAMS's own Isaac Lab pipeline have in their assets work, and each default taken is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from isaaclab_flows.schemas.config import check_config, complete_config, parse_config, parse_object
from isaaclab_flows.schemas.defaults import Kind
from isaaclab_flows.schemas.errors import ConfigError

FIELD = Path(__file__).with_name("field")
FILES = sorted(FIELD.glob("*.json"))
CARTPOLE = {"task": "Isaac-Cartpole-Direct-v0"}


def kind_of(file: Path) -> Kind:
    return "evaluation" if "-evaluation-" in file.name else "training"


@pytest.mark.parametrize("file", FILES, ids=[file.name for file in FILES])
def test_a_file_of_the_field_works_in_its_workflow_and_on_a_laptop(file: Path) -> None:
    assert len(FILES) == 9
    config = parse_config(file.read_text(), source=str(file), expected=kind_of(file))
    assert config.kind == kind_of(file)
    assert config.name == file.stem
    assert config.description == ""
    if "seed" not in file.name:
        assert parse_config(file.read_text(), source=str(file)) == config


def expected_values(name: str) -> dict[str, Any]:
    return {
        "ant-evaluation-config": {"num_envs": 64, "num_episodes": 20, "steps_per_episode": 900, "record_video": True},
        "ant-training-config": {"num_envs": 2048, "max_iterations": 800, "seed": 42},
        "environment-training-config": {"num_envs": 4096, "max_iterations": 1500, "rl_library": "rsl_rl"},
        "no-steps-evaluation-config": {"num_envs": 64, "steps_per_episode": 1000},
        "null-seed-training-config": {"max_iterations": 500},
        "own-robot-training-config": {"mode": "train", "seed": 7, "max_iterations": 3000},
        "play-evaluation-config": {
            "mode": "play",
            "num_episodes": 10,
            "policy_s3_uri": "s3://assets/x1/policies/mine.pt",
        },
        "resume-training-config": {"resume_checkpoint": "policies/mine.pt", "mode": "train"},
        "wide-training-config": {"num_envs": 8192, "max_iterations": 1500},
    }[name]


@pytest.mark.parametrize("file", FILES, ids=[file.name for file in FILES])
def test_its_values_are_kept_and_its_gaps_filled(file: Path) -> None:
    inner = parse_config(file.read_text(), source=str(file), expected=kind_of(file)).training_config
    wanted = expected_values(file.stem)
    assert {key: getattr(inner, key) for key in wanted} == wanted


def said(inner: dict[str, Any], kind: Kind = "training", **top: Any) -> tuple[Any, tuple[str, ...]]:
    return complete_config({"trainingConfig": inner, **top}, source="s3://b/a/x.json", expected=kind, seed_for="job-1")


def test_every_default_that_was_taken_is_told() -> None:
    config, sentences = said(CARTPOLE)
    assert sentences == (
        "trainingConfig.mode was not given: train",
        "name was not given: x",
        "trainingConfig.numEnvs was not given: 4096",
        "trainingConfig.rlLibrary was not given: rsl_rl",
        "trainingConfig.maxIterations was not given: 1500",
        "computeConfig.numNodes was not given: 1",
    )
    assert (config.name, config.compute_config.num_nodes) == ("x", 1)


@pytest.mark.parametrize(
    ("video", "environments"), [({}, 4), ({"recordVideo": True}, 4), ({"recordVideo": False}, 4096)]
)
def test_an_evaluation_has_fewer_environments_where_it_films(video: dict[str, Any], environments: int) -> None:
    config, _ = said(CARTPOLE | video, "evaluation")
    assert config.training_config.mode == "evaluate"
    assert config.training_config.num_envs == environments
    assert (config.training_config.num_episodes, config.training_config.steps_per_episode) == (10, 1000)


@pytest.mark.parametrize("seed", [None, -1, "-1"])
def test_a_seed_may_be_left_to_be_chosen_and_every_attempt_of_a_job_chooses_the_same(seed: object) -> None:
    (first, sentences), (second, _) = said(CARTPOLE | {"seed": seed}), said(CARTPOLE | {"seed": seed})
    assert first.training_config.seed == second.training_config.seed >= 0
    assert f"trainingConfig.seed was to be chosen: {first.training_config.seed}" in sentences
    other, _ = complete_config({"trainingConfig": CARTPOLE | {"seed": seed}}, source="x", seed_for="job-2")
    assert other.training_config.seed != first.training_config.seed


@pytest.mark.parametrize(("written", "number"), [("64", 64), (64.0, 64), ("64.0", 64), (" 8 ", 8)])
def test_quoted_and_pointed_whole_numbers_are_numbers(written: object, number: int) -> None:
    config, _ = said(CARTPOLE | {"numEnvs": written}, computeConfig={"numNodes": str(number // 8)})
    assert config.training_config.num_envs == number
    assert config.compute_config.num_nodes == number // 8


@pytest.mark.parametrize("written", ["64.5", 64.5, True, "true", "1e400", "9" * 400])
def test_what_is_no_whole_number_stays_an_error_that_names_it(written: object) -> None:
    with pytest.raises(ConfigError, match="numEnvs"):
        said(CARTPOLE | {"numEnvs": written})


@pytest.mark.parametrize("nothing", [None, "", " "])
def test_null_and_empty_text_were_not_given(nothing: object) -> None:
    paths = dict.fromkeys(("checkpointPath", "policyS3Uri", "customEnvironmentPath", "customEnvironmentS3Uri"), nothing)
    config, _ = said(
        CARTPOLE | paths | {"numEnvs": nothing}, "evaluation", customEnvironmentS3Uri=nothing, name=nothing
    )
    assert config.training_config.checkpoint_path is None
    assert config.custom_environment is None
    assert (config.name, config.training_config.num_envs) == ("x", 4)


def test_keys_that_vams_adds_are_taken_and_forgotten_and_other_unknown_keys_stay_errors() -> None:
    config, _ = said(CARTPOLE, inputS3AssetFilePath="s3://a/b", TaskToken="secret", outputType=".pt")
    assert "secret" not in config.model_dump_json()
    with pytest.raises(ConfigError, match="inputS3AssetFile"):
        said(CARTPOLE, inputS3AssetFile="s3://a/b")
    with pytest.raises(ConfigError, match="numEnvz"):
        said(CARTPOLE | {"numEnvz": 1})


def test_a_null_lets_the_value_beneath_through() -> None:
    text = '{"trainingConfig": {"task": "Isaac-Cartpole-Direct", "numEnvs": null}}'
    config = parse_config(text, source="x.json", defaults={"trainingConfig": {"numEnvs": 16}})
    assert config.training_config.num_envs == 16
    assert parse_object(text, source="x.json")["trainingConfig"]["numEnvs"] is None


def test_a_completed_configuration_is_read_again_as_it_is() -> None:
    config, _ = said(CARTPOLE | {"seed": None})
    assert check_config(config.model_dump(mode="json"), source="y.json") == config
