"""Nobody reaches beyond his asset: what a request from VAMS names is refused before it is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isaaclab_flows.schemas.errors import ConfigError, FlowsError, InputMissingError
from isaaclab_flows.schemas.request import Request
from isaaclab_flows.schemas.settings import settings
from isaaclab_flows.tasks.request.reach import Reach
from isaaclab_flows.tasks.request.resolve import resolve
from isaaclab_flows.tasks.request.vams import prepare
from isaaclab_flows.tasks.sweep.store import find_checkpoints
from tests.tasks.job.test_checkpoints import write_checkpoint

ASSET = "s3://assets/x1/"
OUTSIDE = [
    "s3://assets/x2/model_1.pt",
    "s3://assets/x1-other/model_1.pt",
    "s3://assets/x1/../x2/model_1.pt",
    "s3://assets/x1/./model_1.pt",
    "s3://other/x1/model_1.pt",
    "s3://requests/requests/",
    "../x2/model_1.pt",
    "checkpoints/../../x2/model_1.pt",
    "file:///etc/passwd",
    "https://host/model_1.pt",
    "",
    "/",
]


def reach(**changes: Any) -> Reach:
    return Reach(**{"asset": ASSET, "bounded": True, **changes})


@pytest.mark.parametrize("path", OUTSIDE)
def test_what_is_outside_the_asset_is_refused_and_names_the_key(path: str) -> None:
    with pytest.raises(ConfigError, match="checkpointPath"):
        reach().places(path, "checkpointPath")


@pytest.mark.parametrize(
    ("path", "below"),
    [
        ("checkpoints/model_1.pt", "checkpoints/model_1.pt"),
        ("/checkpoints/model_1.pt", "checkpoints/model_1.pt"),
        ("/proc/self/environ", "proc/self/environ"),
        ("/mnt/efs/jobs/x/model_1.pt", "mnt/efs/jobs/x/model_1.pt"),
        ("~/model_1.pt", "~/model_1.pt"),
        ("s3://assets/x1/model_1.pt", "model_1.pt"),
    ],
)
def test_every_other_path_is_one_of_the_asset(path: str, below: str) -> None:
    assert [(root.rstrip("/"), name) for root, name in reach().places(path, "k")] == [("s3://assets/x1", below)]


def test_shared_prefixes_and_earlier_outputs_may_be_read_too() -> None:
    wide = reach(shared=("s3://library/policies",), earlier="s3://assets/out/E/files/")
    assert wide.places("s3://library/policies/a.pt", "k") == [("s3://library/policies", "a.pt")]
    assert wide.places("s3://assets/out/E/files/E/a.pt", "k") == [("s3://assets/out/E/files", "E/a.pt")]
    assert [root for root, _ in wide.places("a.pt", "k")] == [ASSET, "s3://assets/out/E/files/"]
    with pytest.raises(ConfigError, match="s3://library/policies"):
        wide.places("s3://library/policies-2/a.pt", "k")


def test_a_whole_bucket_is_nobodys_asset() -> None:
    request = Request(job_id="j", source="vams", output_uri="s3://assets/o")
    assert Reach.of(request, "s3://assets/").asset is None
    with pytest.raises(ConfigError, match="no asset"):
        Reach.of(request, "s3://assets/").places("x1/model_1.pt", "k")


@pytest.mark.parametrize(
    "value", ["/etc/passwd", "'/mnt/efs/a.usd'", "s3://other/a.usd", "[a,/b]", "../x", "file:///x"]
)
def test_an_override_from_vams_names_no_file_elsewhere(value: str) -> None:
    with pytest.raises(ConfigError, match="hydraOverrides"):
        reach().require_own_overrides([f"env.robot.usd_path={value}"])
    reach(bounded=False).require_own_overrides([f"env.robot.usd_path={value}"])
    reach().require_own_overrides(["env.episode_length_s=10", "agent.lr=1e-3", "env.sim.dt=1/120", "~agent.x"])


@pytest.fixture
def assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two assets side by side, as VAMS has them in one bucket."""
    monkeypatch.setenv("ISAACLAB_FLOWS_OUTPUTS", str(tmp_path / "outputs"))
    for asset in ("mine", "theirs"):
        write_checkpoint(tmp_path / asset / f"checkpoints/model_{len(asset)}.pt")
        (tmp_path / asset / "env.zip").write_bytes(b"zip")
    return tmp_path


def config(kind: str, **inner: Any) -> dict[str, Any]:
    return {"trainingConfig": {"task": "Isaac-Cartpole-Direct", "mode": kind, "rlLibrary": "rsl_rl", **inner}}


def ask(assets: Path, data: dict[str, Any], **more: Any) -> Any:
    path = assets / "mine/training/x.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(data))
    fields = {"config_uri": str(path), "asset_uri": str(assets / "mine"), **more}
    return resolve(prepare(Request(job_id="j", source="vams", output_uri="/out", **fields)))


@pytest.mark.parametrize("key", ["resumeCheckpoint", "customEnvironmentPath", "checkpointPath"])
@pytest.mark.parametrize("path", ["../theirs/checkpoints/model_6.pt", "{root}/theirs/checkpoints/model_6.pt"])
def test_a_file_of_another_asset_is_never_opened_and_never_named(assets: Path, key: str, path: str) -> None:
    kind = "evaluate" if key == "checkpointPath" else "train"
    with pytest.raises((ConfigError, InputMissingError)) as caught:
        ask(assets, config(kind, **{key: path.format(root=assets)}))
    assert key in caught.value.sentence
    assert "model_6.pt" not in caught.value.remedy


@pytest.mark.parametrize("layer", ["file", "parameters", "metadata"])
def test_it_does_not_matter_where_it_was_written(assets: Path, layer: str) -> None:
    away = {"customEnvironmentS3Uri": "s3://other/env.zip"}
    more: dict[str, Any] = {
        "file": {},
        "parameters": {"input_parameters": {"trainingConfig": away}},
        "metadata": {
            "asset_metadata": {
                "VAMS": {"assetMetadata": {"isaaclab.trainingConfig.customEnvironmentS3Uri": "s3://other/env.zip"}}
            }
        },
    }[layer]
    with pytest.raises(ConfigError, match="outside the asset"):
        ask(assets, config("train", **(away if layer == "file" else {})), **more)


def test_a_link_does_not_lead_out(assets: Path) -> None:
    (assets / "mine/link").symlink_to(assets / "theirs")
    with pytest.raises(FlowsError, match="outside the asset"):
        ask(assets, config("train", resumeCheckpoint="link/checkpoints/model_6.pt"))


def test_what_is_missing_lists_names_of_the_own_asset_only(assets: Path) -> None:
    with pytest.raises(InputMissingError) as caught:
        ask(assets, config("train", resumeCheckpoint="nope.pt"))
    assert "checkpoints/model_4.pt" in caught.value.remedy
    assert "model_6" not in caught.value.remedy


def test_custom_environments_can_be_switched_off_for_vams(assets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = config("train", customEnvironmentPath="/env.zip")
    assert ask(assets, data).custom_environment_uri == str(assets / "mine/env.zip")
    monkeypatch.setenv("ISAACLAB_FLOWS_VAMS_CUSTOM_ENVIRONMENTS", "false")
    settings.cache_clear()
    with pytest.raises(ConfigError, match="takes none from VAMS"):
        ask(assets, data)


@pytest.mark.parametrize("pattern", ["../theirs", "{root}/theirs/*.pt", "{root}/*", "link/*.pt", "s3://other/*"])
def test_no_pattern_of_a_sweep_leads_out(assets: Path, pattern: str) -> None:
    (assets / "mine/link").symlink_to(assets / "theirs")
    bounded = Reach(str(assets / "mine"), bounded=True)
    with pytest.raises((ConfigError, InputMissingError)):
        find_checkpoints([pattern.format(root=assets)], asset_uri=bounded.asset, output_uri="/nowhere", reach=bounded)


@pytest.mark.parametrize("pattern", ["*", "checkpoints", "/checkpoints/*.pt", "checkpoints/model_4.pt"])
def test_patterns_within_the_asset_find_its_checkpoints(assets: Path, pattern: str) -> None:
    bounded = Reach(str(assets / "mine"), bounded=True)
    found = find_checkpoints([pattern], asset_uri=bounded.asset, output_uri="/nowhere", reach=bounded)
    assert [candidate.uri for candidate in found] == [str(assets / "mine/checkpoints/model_4.pt")]
