"""What an outcome or a simulator's folder says of files leads nowhere but below the job's own outputs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from isaaclab_flows.schemas.config import check_config
from isaaclab_flows.schemas.errors import FlowsError
from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.outcome import OutputFile
from isaaclab_flows.tasks.job.folder import JobFolder
from isaaclab_flows.tasks.job.hand_over import job_uri, known_job, load_outcome, save_outcome, take_over
from isaaclab_flows.tasks.results.publish import publish
from isaaclab_flows.tasks.results.tree import inventory, refresh
from tests.tasks.show.test_artifacts import outcome

EXAMPLE = Path(__file__).resolve().parents[3] / "examples/cartpole/training/cartpole-training-config.json"


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(
        job_id="j",
        kind="training",
        source="cli",
        config=check_config(json.loads(EXAMPLE.read_text()), source=str(EXAMPLE)),
        task="Isaac-Cartpole-Direct",
        library="rsl_rl",
        output_uri=str(tmp_path / "outputs"),
        staging_uri=str(tmp_path / "staging"),
        device="cpu",
    )


@pytest.mark.parametrize(
    "path", ["../x", "a/../../x", "/etc/passwd", "a//b", "./a", "", "a\\..\\b", "C:/x", "a/..", "x\0y", "a" * 2_000]
)
def test_an_outputs_path_that_leads_out_is_no_output(path: str) -> None:
    with pytest.raises(ValidationError):
        OutputFile(path=path, size=1)


@pytest.mark.parametrize("path", ["checkpoints/model_1.pt", "a..b/..c", "metrics.csv", "videos/a b.mp4"])
def test_a_plain_path_is_one(path: str) -> None:
    assert OutputFile(path=path, size=1).path == path


def test_an_outcome_that_names_a_file_elsewhere_counts_as_none(job: Job) -> None:
    save_outcome(job, outcome())
    file = Path(job_uri(job)).with_name("outcome.json")
    data = json.loads(file.read_text())
    data["files"] = [{"path": "../../secret", "size": 6}]
    file.write_text(json.dumps(data))
    assert load_outcome(job) is None


def test_a_link_in_staging_is_not_published(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "staging").mkdir()
    (tmp_path / "staging" / "x.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(FlowsError):
        publish(
            str(tmp_path / "staging"),
            str(tmp_path / "out"),
            [OutputFile(path="x.txt", size=6)],
            scratch=tmp_path,
        )
    assert not (tmp_path / "out" / "x.txt").exists()


def test_links_that_a_simulator_planted_are_neither_followed_nor_written_through(job: Job, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "key.txt").write_text("secret")
    folder = JobFolder(tmp_path / "job")
    (folder.run / "params").mkdir(parents=True)
    (folder.run / "params" / "env.yaml").write_text("plain")
    (folder.run / "params" / "key.txt").symlink_to(elsewhere / "key.txt")
    os.mkfifo(folder.run / "params" / "pipe")
    (folder.run / "exported").symlink_to(elsewhere)
    (folder.run / "checkpoints").symlink_to(elsewhere)
    folder.out.mkdir()
    (folder.out / "params").symlink_to(elsewhere)
    attempt = folder.new_attempt()
    attempt.log_file.symlink_to(elsewhere / "key.txt")
    refresh(job, folder, settled=True)
    assert [file.path for file in inventory(folder.out)] == ["params/env.yaml", "training-config.json"]
    assert sorted(path.name for path in elsewhere.iterdir()) == ["key.txt"]


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b'{"jobId": "j", "ki', b"[]", b'{"foreign": true}'])
def test_a_torn_zero_or_foreign_file_of_ours_is_none_and_a_newer_one_is_read(job: Job, content: bytes) -> None:
    save_outcome(job, outcome())
    file = Path(job_uri(job)).with_name("outcome.json")
    newer: dict[str, Any] = json.loads(file.read_text()) | {"ofTheNextVersion": {"a": 1}}
    newer["error"] = {"kind": "of_the_next_version", "what": "It broke", "where": "", "also": 1}
    file.write_text(json.dumps(newer))
    read = load_outcome(job)
    assert read is not None
    assert read.error is not None
    assert read.error.sentence == "It broke."
    for path in (file, file.with_name("job.json")):
        path.write_bytes(content)
    assert load_outcome(job) is None
    with pytest.raises(FlowsError, match="cannot be read"):
        take_over(job_uri(job))
    folder = JobFolder(file.parent)
    folder.outcome_file.write_bytes(content)
    assert folder.load_outcome() is None


def test_a_request_whose_job_is_torn_was_never_opened(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    from isaaclab_flows.schemas.request import Request

    monkeypatch.setattr("isaaclab_flows.tasks.job.hand_over.staging_uri", lambda _: job.staging_uri)
    request = Request(job_id="j", source="cli", output_uri="/x")
    assert known_job(request) is None
    Path(job_uri(job)).parent.mkdir(parents=True)
    Path(job_uri(job)).write_bytes(b"\0" * 10)
    assert known_job(request) is None
