"""Configurations: what users write today works unchanged, and what is wrong says so in a useful way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isaaclab_flows.schemas.config import asset_root_of, check_config, json_schema, merge, parse_config, schema_file
from isaaclab_flows.schemas.errors import ConfigError

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def training(**changes: Any) -> dict[str, Any]:
    data = json.loads((EXAMPLES / "cartpole/training/cartpole-training-config.json").read_text())
    data["trainingConfig"] |= changes
    return dict(data)


def evaluation(**changes: Any) -> dict[str, Any]:
    data = json.loads((EXAMPLES / "cartpole/evaluation/cartpole-evaluation-config.json").read_text())
    data["trainingConfig"] |= changes
    return dict(data)


@pytest.mark.parametrize(
    "path", sorted(EXAMPLES.rglob("*-training-config.json")) + sorted(EXAMPLES.rglob("*-evaluation-config.json"))
)
def test_every_example_is_valid(path: Path) -> None:
    kind = "training" if "training" in path.name else "evaluation"
    assert parse_config(path.read_text(), source=str(path), expected=kind).kind == kind  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"numEnvz": 64}, ["numEnvz", "64", "Did you mean 'numEnvs'"]),
        ({"checkpointInterval": 5}, ["checkpointInterval", "Its place is outputConfig.checkpointInterval"]),
        ({"hydraOverrides": "env.x=1"}, ["a text where a list is wanted", 'Write ["env.x=1"]']),
        ({"hydraOverrides": ["env.x = 1"]}, ["no spaces: 'env.x=1'"]),
        ({"numEnvs": "many"}, ["numEnvs", "'many'", "valid integer"]),
        ({"numEnvs": "64.5"}, ["numEnvs", "64.5"]),
        ({"numEnvs": True}, ["numEnvs", "True"]),
        ({"numEnvs": 0}, ["numEnvs", "0", "1 or more"]),
        ({"numEnvs": 10**9}, ["numEnvs", "at most 65536"]),
        ({"maxIterations": 1.5}, ["maxIterations", "1.5"]),
        ({"rlLibrary": "rslrl"}, ["rlLibrary", "'rslrl'", "'rsl_rl', 'rl_games' or 'skrl'"]),
        ({"seed": -2}, ["seed", "-2", "0 or more"]),
        ({"mode": "trian"}, ["mode", "'trian'", "'train'", "'evaluate'"]),
        ({"customEnvironmentS3Uri": "https://x/y.zip"}, ["customEnvironmentS3Uri", "https://x/y.zip", "s3://"]),
        ({"hydraOverrides": ["rm -rf /"]}, ["hydraOverrides"]),
    ],
)
def test_a_wrong_value_names_key_value_and_what_is_allowed(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        check_config(training(**changes), source="x-training-config.json")
    for word in [*words, "x-training-config.json"]:
        assert word in caught.value.sentence


@pytest.mark.parametrize("task", [None, "", "  "])
def test_a_missing_key_is_named(task: str | None) -> None:
    with pytest.raises(ConfigError, match=r"trainingConfig\.task"):
        check_config(training(task=task), source="x.json")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"name": "a", "name": "b"}', "'name' is written more than once"),
        ('{"trainingConfig": {"numEnvs": NaN}}', "NaN"),
        ("[" * 100_000, "valid JSON"),
    ],
)
def test_json_that_two_readers_would_read_differently_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_config(text, source="x.json")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{\n "a": 1, // why\n "b": 2}', "Line 2 has a comment"),
        ('{\n# why\n "b": 2}', "Line 2 has a comment"),
        ('{\n "a": 1,\n}', "Line 2 ends with a comma before a closing bracket"),
        ('{"a": [1,\n 2,\n]}', "Line 2 ends with a comma before a closing bracket"),
        ("{'a': 1}", "Line 1 has single quotes"),
        ('{"a": 1\n "b": 2}', "Mend line 2"),
    ],
)
def test_what_people_write_and_json_has_not_is_named_with_its_line(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_config(text, source="x")


def test_a_misspelt_section_is_recognised() -> None:
    data = training()
    data["trainigConfig"] = data.pop("trainingConfig")
    with pytest.raises(ConfigError, match="trainigConfig"):
        check_config(data, source="x.json")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "{'a': 1}", b"\xff\xfe"])
def test_what_is_no_json_object_is_an_error(text: str | bytes) -> None:
    with pytest.raises(ConfigError, match=r"x\.json"):
        parse_config(text, source="x.json")


@pytest.mark.parametrize(("data", "workflow"), [(training(), "evaluation"), (evaluation(), "training")])
def test_a_config_of_the_other_workflow_is_refused(data: dict[str, Any], workflow: Any) -> None:
    with pytest.raises(ConfigError, match="workflow"):
        check_config(data, source="x.json", expected=workflow)


def test_play_means_evaluate_and_policy_path_means_policy_s3_uri() -> None:
    config = check_config(evaluation(mode="play", policyPath="s3://bucket/a/model_1.pt"), source="x.json")
    assert config.kind == "evaluation"
    assert config.training_config.policy_s3_uri == "s3://bucket/a/model_1.pt"


@pytest.mark.parametrize("key", ["numNodes", "gpusPerNode"])
def test_an_evaluation_runs_on_one_gpu(key: str) -> None:
    data = evaluation()
    data["computeConfig"][key] = 2
    with pytest.raises(ConfigError, match=f"{key} must be 1"):
        check_config(data, source="x.json")


@pytest.mark.parametrize("place", ["top", "inner"])
@pytest.mark.parametrize(
    ("key", "value"), [("customEnvironmentPath", "env/mine.zip"), ("customEnvironmentS3Uri", "s3://bucket/mine.whl")]
)
def test_a_custom_environment_is_accepted_at_both_places(place: str, key: str, value: str) -> None:
    data = training()
    (data if place == "top" else data["trainingConfig"])[key] = value
    assert check_config(data, source="x.json").custom_environment == value


def test_input_parameters_are_defaults_beneath_the_file() -> None:
    text = json.dumps(training())
    defaults = {"trainingConfig": {"seed": 7, "numEnvs": 1}, "outputConfig": {"checkpointInterval": 5}}
    config = parse_config(text, source="x.json", defaults=defaults)
    assert config.kind == "training"
    assert (config.training_config.seed, config.training_config.num_envs) == (7, 4096)
    assert config.output_config.checkpoint_interval == 5


def test_a_config_survives_a_round_trip_through_json() -> None:
    config = check_config(training(seed=3), source="x.json")
    assert parse_config(config.model_dump_json(exclude_none=True), source="y.json") == config


@pytest.mark.parametrize(
    ("path", "root"),
    [
        ("asset/training/x.json", "asset"),
        ("bucket-prefix/asset/training/x.json", "bucket-prefix/asset"),
        ("training/x.json", "."),
        ("x.json", "."),
        ("/x.json", "/"),
        ("s3://bucket/asset/training/x.json", "s3://bucket/asset"),
        ("s3://bucket/training/x.json", "s3://bucket"),
        ("s3://bucket/x.json", "s3://bucket"),
    ],
)
def test_the_assets_root_is_the_folder_above_the_configs_own(path: str, root: str) -> None:
    assert asset_root_of(path) == root


def test_the_committed_json_schema_is_current() -> None:
    assert json.loads(schema_file().read_text()) == json_schema(), "write it again: make schema"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["trainingConfig", "name", "computeConfig", "x"]), JSON))
def test_no_json_gives_anything_but_a_config_error(data: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(json.dumps(data), source="x.json")
    assert "x.json" in caught.value.sentence


@given(st.sampled_from(sorted(training()["trainingConfig"])), JSON)
def test_any_value_is_accepted_or_refused_with_its_keys_name(key: str, value: Any) -> None:
    refused: ConfigError | None = None
    try:
        check_config(training(**{key: value}), source="x.json")
    except ConfigError as error:
        refused = error
    assert refused is None or key in refused.sentence


@given(
    st.dictionaries(st.text(max_size=3), st.integers() | st.dictionaries(st.text(max_size=3), st.integers())),
    st.dictionaries(st.text(max_size=3), st.integers() | st.dictionaries(st.text(max_size=3), st.integers())),
)
def test_merging_keeps_everything_above(beneath: dict[str, Any], above: dict[str, Any]) -> None:
    merged = merge(beneath, above)
    assert merge(merged, above) == merged
    assert set(merged) == set(beneath) | set(above)
