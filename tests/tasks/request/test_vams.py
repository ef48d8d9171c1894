"""Settings in VAMS's metadata, and keys whose `+` arrived as a space."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isaaclab_flows.schemas.config import parse_config
from isaaclab_flows.schemas.errors import ConfigError
from isaaclab_flows.schemas.request import Request
from isaaclab_flows.tasks.request.vams import prepare, settings_of, spelled, spellings
from isaaclab_flows.tasks.storage.folder import FolderStorage


def test_prefixed_metadata_become_settings_and_the_rest_is_left_alone() -> None:
    metadata = {
        "VAMS": {
            "assetMetadata": {"isaaclab.trainingConfig.numEnvs": "64", "colour": "red"},
            "fileMetadata": {"isaaclab.trainingConfig.hydraOverrides": '["env.a=1"]'},
            "fileAttributes": {"isaaclab.name": "from the file"},
        }
    }
    assert settings_of(metadata) == {
        "trainingConfig": {"numEnvs": 64, "hydraOverrides": ["env.a=1"]},
        "name": "from the file",
    }


def test_a_file_s_own_settings_lie_above_its_asset_s() -> None:
    metadata = {
        "VAMS": {
            "assetMetadata": {"isaaclab.trainingConfig.seed": "1", "isaaclab.trainingConfig.numEnvs": "8"},
            "fileMetadata": {"isaaclab.trainingConfig.seed": "2"},
            "fileAttributes": {"isaaclab.trainingConfig.seed": "3"},
        }
    }
    assert settings_of(metadata) == {"trainingConfig": {"seed": 3, "numEnvs": 8}}


def test_quotes_make_text_of_a_number() -> None:
    assert settings_of({"VAMS": {"assetMetadata": {"isaaclab.name": '"2024"'}}}) == {"name": "2024"}


@pytest.mark.parametrize("metadata", [{}, {"VAMS": None}, {"VAMS": {}}, {"VAMS": {"assetMetadata": None}}])
def test_empty_and_absent_maps_say_nothing(metadata: dict[str, object]) -> None:
    assert settings_of(metadata) == {}


def request(**changes: object) -> Request:
    return Request.model_validate({"jobId": "j", "source": "vams", "outputUri": "s3://bkt/o", **changes})


CONFIG = """{"name": "n", "description": "", "computeConfig": {"numNodes": 1}, "trainingConfig": {"mode": "train",
"task": "Isaac-Cartpole-Direct-v0", "maxIterations": 5, "rlLibrary": "rsl_rl", %s}}"""


def test_the_file_is_above_the_metadata_and_they_above_the_registered_parameters() -> None:
    prepared = prepare(
        request(
            inputParameters={"trainingConfig": {"seed": 1, "numEnvs": 1}, "outputConfig": {"checkpointInterval": 3}},
            assetMetadata={"VAMS": {"assetMetadata": {"isaaclab.trainingConfig.seed": "2"}}},
        )
    )
    config = parse_config(CONFIG % '"numEnvs": 16', source="c.json", defaults=prepared.input_parameters)
    assert config.kind == "training"
    assert config.training_config.num_envs == 16
    assert config.training_config.seed == 2
    assert config.output_config.checkpoint_interval == 3


def test_a_setting_of_metadata_that_does_not_exist_is_an_error_that_names_it() -> None:
    prepared = prepare(request(assetMetadata={"VAMS": {"assetMetadata": {"isaaclab.trainingConfig.numEnv": "2"}}}))
    with pytest.raises(ConfigError, match=r"trainingConfig\.numEnv"):
        parse_config(CONFIG % '"numEnvs": 16', source="c.json", defaults=prepared.input_parameters)


def test_other_sources_are_left_as_they_are() -> None:
    plain = request(source="cli", assetMetadata={"VAMS": {"assetMetadata": {"isaaclab.name": "x"}}})
    assert prepare(plain) is plain


def test_spellings_begin_with_the_key_as_it_came_and_cover_mixtures() -> None:
    assert spellings("a/b.json") == ["a/b.json"]
    assert spellings("a b c") == ["a b c", "a+b+c", "a b+c", "a+b c"]


@given(st.text("ab+ /", max_size=12))
def test_the_true_key_is_among_the_spellings_of_what_arrives(key: str) -> None:
    arrived = key.replace("+", " ")
    assert key in spellings(arrived) or key.count("+") + key.count(" ") > 8


def test_a_plus_is_restored_where_the_bucket_has_it(tmp_path: Path) -> None:
    for name in ("asset+1/my file+2.json", "asset+1/plain.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    storage = FolderStorage(tmp_path)
    assert spelled("s3://bkt/asset 1/my file 2.json", storage) == "s3://bkt/asset+1/my file+2.json"
    assert spelled("s3://bkt/asset 1/", storage) == "s3://bkt/asset+1/"
    assert spelled("s3://bkt/no such.json", storage) == "s3://bkt/no such.json"
