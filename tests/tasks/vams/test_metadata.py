"""The metadata and previews that VAMS shows."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from isaaclab_flows.schemas.outcome import OutputFile
from isaaclab_flows.schemas.request import VamsLocations
from isaaclab_flows.tasks.vams.limits import best_checkpoint
from isaaclab_flows.tasks.vams.metadata import asset_values, document, write_metadata
from isaaclab_flows.tasks.vams.previews import plan_previews, shrunk, write_previews
from isaaclab_flows.tasks.vams.results import write_results
from tests.tasks.vams.vams_job import JOB_ID, job, outcome


def said(text: str | None) -> dict[str, str]:
    assert text is not None
    return {item["metadataKey"]: item["metadataValue"] for item in json.loads(text)["metadata"]}


@pytest.fixture
def locations(tmp_path: Path) -> VamsLocations:
    folders = {name: f"{tmp_path}/{name}/" for name in ("files", "previews", "metadata")}
    return VamsLocations(**folders)


def test_a_document_has_vams_s_form() -> None:
    text = document({"mean_reward": 312.4, "ok": True, "n": 3, "note": "a\nb", "versions": {"a": "1"}, "none": None})
    assert json.loads(text or "") == {
        "type": "metadata",
        "updateType": "update",
        "metadata": [
            {"metadataKey": "mean_reward", "metadataValue": "312.4", "metadataValueType": "number"},
            {"metadataKey": "ok", "metadataValue": "true", "metadataValueType": "boolean"},
            {"metadataKey": "n", "metadataValue": "3", "metadataValueType": "number"},
            {"metadataKey": "note", "metadataValue": "a\nb", "metadataValueType": "multiline_string"},
            {"metadataKey": "versions", "metadataValue": '{"a": "1"}', "metadataValueType": "json"},
        ],
    }


def test_nothing_to_say_makes_no_document() -> None:
    assert document({"a": None, "b": math.nan, "c": ""}) is None


@given(st.dictionaries(st.text(min_size=1), st.none() | st.floats() | st.integers() | st.text() | st.booleans()))
def test_any_values_make_a_document_within_the_limits_or_none(values: dict[str, object]) -> None:
    text = document(values)  # type: ignore[arg-type]
    if text is None:
        return
    items = json.loads(text)["metadata"]
    assert 1 <= len(items) <= 500
    for item in items:
        assert isinstance(item["metadataValue"], str)
        assert 1 <= len(item["metadataKey"]) <= 256


def test_the_asset_is_told_a_training_s_results() -> None:
    values = said(document(asset_values(job(), outcome(), flow_run_url="https://prefect/run/1")))
    assert values["training_final_reward"] == "4.5"
    assert values["training_best_reward"] == "4.9"
    assert values["training_iterations"] == "300"
    assert values["training_success_rate"] == "1.0"
    assert values["training_gpu_seconds"] == "10.0"
    assert values["training_estimated_cost_usd"] == "0.004"
    assert values["training_task"] == "Isaac-Cartpole-Direct"
    assert values["training_flow_run_url"] == "https://prefect/run/1"
    assert json.loads(values["training_versions"]) == {"isaaclab": "3.0.0"}


def test_the_asset_is_told_an_evaluation_s_results_with_their_interval() -> None:
    values = said(document(asset_values(job("evaluation"), outcome("evaluation"))))
    assert values["evaluation_mean_return"] == "4.25"
    assert (values["evaluation_mean_return_ci_low"], values["evaluation_mean_return_ci_high"]) == ("4.0", "4.5")
    assert "evaluation_std_return" not in values


def test_no_key_can_be_taken_for_a_setting_of_a_later_run() -> None:
    for kind in ("training", "evaluation"):
        assert not any(key.startswith("isaaclab.") for key in asset_values(job(kind), outcome(kind)))


def test_every_published_checkpoint_is_described(tmp_path: Path, locations: VamsLocations) -> None:
    staging = tmp_path / "staging"
    staging.mkdir()
    (staging / "metrics.csv").write_text("iteration,mean_reward\n0,1.0\n100,2.5\n200,\n299,4.5\n")
    paths = ("checkpoints/model_100.pt", "checkpoints/model_200.pt", "checkpoints/model_299.pt", "metrics.csv")
    written = write_metadata(job(staging_uri=str(staging)), outcome(paths=paths), locations)
    assert written == 4
    folder = Path(locations.metadata) / JOB_ID / "checkpoints"
    values = said((folder / "model_200.pt.metadata.json").read_text())
    assert values["iteration"] == "200"
    assert values["mean_reward"] == "2.5"
    assert values["is_last"] == "false"
    assert said((folder / "model_299.pt.metadata.json").read_text())["is_last"] == "true"


def test_metadata_stay_within_the_keys_that_vams_lists(tmp_path: Path, locations: VamsLocations) -> None:
    paths = tuple(f"checkpoints/model_{n}.pt" for n in range(1_500))
    staged = job(staging_uri=str(tmp_path / "none"))
    assert write_metadata(staged, outcome(paths=paths), locations) < 1_000


def test_an_evaluated_checkpoint_of_the_asset_is_described_as_well(tmp_path: Path, locations: VamsLocations) -> None:
    write_metadata(job("evaluation"), outcome("evaluation"), locations, asset_uri="s3://asset-bkt/xAsset/")
    values = said((Path(locations.metadata) / "c" / "model_1.pt.metadata.json").read_text())
    assert values["evaluation_mean_return"] == "4.25"


def test_the_best_checkpoint_is_the_one_nearest_to_the_best_iteration() -> None:
    paths = ("checkpoints/model_100.pt", "checkpoints/model_200.pt", "checkpoints/model_299.pt")
    assert best_checkpoint(outcome(paths=paths)) == "checkpoints/model_200.pt"


def files(*paths: str) -> list[OutputFile]:
    return [OutputFile(path=path, size=1) for path in paths]


def test_a_training_shows_its_learning_curve_at_the_asset_and_at_its_last_checkpoint() -> None:
    published = files("learning-curve.png", "checkpoints/model_99.pt", "checkpoints/model_100.pt")
    planned = plan_previews("training", published, published)
    assert [(p.picture, p.of) for p in planned] == [
        ("learning-curve.png", None),
        ("learning-curve.png", "checkpoints/model_100.pt"),
    ]


def test_an_evaluation_shows_a_frame_at_the_asset_and_at_its_video() -> None:
    still = "videos/model_1.mp4.previewFile.png"
    published = files("videos/model_1.mp4", "returns.png")
    planned = plan_previews("evaluation", published, [*published, *files(still)])
    assert [(p.picture, p.of) for p in planned] == [(still, None), (still, "videos/model_1.mp4")]


def test_nothing_to_show_plans_nothing() -> None:
    assert plan_previews("training", files("metrics.csv"), files("metrics.csv")) == []


def picture(size: int, noise: bool = False) -> bytes:
    image = Image.effect_noise((size, size), 90) if noise else Image.new("RGB", (size, size), "red")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_a_small_picture_is_taken_as_it_is_and_a_large_one_made_smaller() -> None:
    small = picture(20)
    assert shrunk(small) == (small, ".png")
    content, suffix = shrunk(picture(400, noise=True), most=20_000)
    assert suffix == ".jpg"
    assert len(content) <= 20_000


def test_previews_are_written_and_a_broken_picture_is_only_a_warning(tmp_path: Path, locations: VamsLocations) -> None:
    staging = tmp_path / "staging"
    staging.mkdir()
    (staging / "learning-curve.png").write_bytes(picture(20))
    done = outcome(paths=("learning-curve.png", "checkpoints/model_299.pt"))
    assert write_previews(job(staging_uri=str(staging)), done, locations, staged=done.files) == []
    assert (Path(locations.previews) / "training.png").is_file()
    assert (Path(locations.files) / JOB_ID / "checkpoints/model_299.pt.previewFile.png").is_file()
    (staging / "learning-curve.png").write_bytes(b"no picture")
    problems = write_previews(job(staging_uri=str(staging)), done, locations, staged=done.files)
    assert "learning-curve.png" in problems[0]


def test_a_later_step_keeps_what_an_earlier_one_says_of_the_asset(locations: VamsLocations, tmp_path: Path) -> None:
    staging = str(tmp_path / "staging")
    write_metadata(job(staging_uri=staging), outcome(), locations)
    write_metadata(job("evaluation", staging_uri=staging), outcome("evaluation"), locations)
    of_asset = said((tmp_path / "metadata/asset.metadata.json").read_text())
    assert of_asset["training_iterations"] == "300"
    assert of_asset["evaluation_mean_return"] == "4.25"


def test_short_texts_are_shown_where_vams_has_a_place_for_them(locations: VamsLocations, tmp_path: Path) -> None:
    (tmp_path / f"out/{JOB_ID}").mkdir(parents=True)
    (tmp_path / f"out/{JOB_ID}/summary.json").write_text("{}")
    (tmp_path / f"out/{JOB_ID}/training-config.json").write_bytes(b"\xff")
    there = job(output_uri=str(tmp_path / "out"))
    done = outcome(paths=("summary.json", "training-config.json", "checkpoints/model_1.pt"))
    assert write_results(there, done, locations) == []
    shown = locations.model_copy(update={"results": f"{tmp_path}/results/"})
    (problem,) = write_results(there, done, shown)
    assert "training-config.json" in problem
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["summary.json"]
