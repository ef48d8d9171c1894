"""The publishable tree: what is whole is taken, once, and what makes a success is asked for."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from isaaclab_flows.schemas.errors import OutputsMissingError
from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.outcome import OutputFile
from isaaclab_flows.tasks.job.folder import JobFolder
from isaaclab_flows.tasks.results.tree import inventory, last_checkpoint, refresh, require
from tests.tasks.vams import vams_job


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return JobFolder(tmp_path)


def training(**output: Any) -> Job:
    made = vams_job.job()
    assert made.config.kind == "training"
    config = made.config.model_copy(update={"output_config": made.config.output_config.model_copy(update=output)})
    return made.model_copy(update={"config": config})


def checkpoint(folder: JobFolder, name: str, content: bytes = b"weights") -> Path:
    path = folder.run / "checkpoints" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", content)
    return path


def published(folder: JobFolder) -> set[str]:
    return {file.path for file in inventory(folder.out)}


def test_a_checkpoint_that_was_saved_again_under_its_name_is_taken_again(folder: JobFolder) -> None:
    first = checkpoint(folder, "model_1.pt")
    refresh(training(), folder, settled=False)
    taken = folder.out / "checkpoints/model_1.pt"
    before = taken.read_bytes()
    checkpoint(folder, "model_1.pt", b"other weights of the same name")
    os.utime(first, ns=(1, 10**18))
    refresh(training(), folder, settled=False)
    assert taken.read_bytes() == first.read_bytes() != before


def test_a_checkpoint_that_is_current_is_not_copied_again(folder: JobFolder) -> None:
    checkpoint(folder, "model_1.pt")
    refresh(training(), folder, settled=False)
    inode = (folder.out / "checkpoints/model_1.pt").stat().st_ino
    refresh(training(), folder, settled=True)
    assert (folder.out / "checkpoints/model_1.pt").stat().st_ino == inode


def test_a_torn_checkpoint_is_left_out_and_named_only_at_the_end(folder: JobFolder) -> None:
    checkpoint(folder, "model_1.pt")
    torn = checkpoint(folder, "model_2.pt")
    torn.write_bytes(torn.read_bytes()[:20])
    assert refresh(training(), folder, settled=False) == [], "it may still be being written"
    (said,) = refresh(training(), folder, settled=True)
    assert "model_2.pt" in said
    assert {n for n in published(folder) if n.startswith("checkpoints/")} == {"checkpoints/model_1.pt"}


def test_where_only_the_last_checkpoint_is_wanted_it_comes_at_the_end(folder: JobFolder) -> None:
    for number in (9, 10):
        checkpoint(folder, f"model_{number}.pt")
    job = training(save_checkpoints=False)
    refresh(job, folder, settled=False)
    assert not (folder.out / "checkpoints").exists()
    refresh(job, folder, settled=True)
    assert {n for n in published(folder) if n.startswith("checkpoints/")} == {"checkpoints/model_10.pt"}


def test_logs_and_what_the_library_wrote_are_taken_but_not_what_vams_refuses(folder: JobFolder) -> None:
    attempt = folder.new_attempt()
    attempt.log_file.write_text("log")
    (attempt.folder / "node-1.txt").write_text("log of another machine")
    for name in ("params/agent.yaml", "exported/policy.onnx", "exported/policy.exe", "elsewhere/x.txt"):
        (folder.run / name).parent.mkdir(parents=True, exist_ok=True)
        (folder.run / name).write_text(name)
    refresh(training(), folder, settled=True)
    assert published(folder) == {
        "training-config.json",
        "simulator-001.txt",
        "simulator-001-node-1.txt",
        "params/agent.yaml",
        "exported/policy.onnx",
    }


def files(*names: str, size: int = 1) -> list[OutputFile]:
    return [OutputFile(path=name, size=size) for name in names]


TRAINED = ("metrics.csv", "summary.json", "training-config.json", "checkpoints/model_1.pt")
EVALUATED = ("metrics.csv", "summary.json", "evaluation-config.json", "videos/model_1.mp4")


@pytest.mark.parametrize(("kind", "names"), [("training", TRAINED), ("evaluation", EVALUATED)])
def test_all_that_makes_a_success_is_asked_for(kind: str, names: tuple[str, ...]) -> None:
    job = vams_job.job(kind)
    require(job, files(*names))
    for name in names:
        with pytest.raises(OutputsMissingError, match=name.partition("/")[0]):
            require(job, files(*(other for other in names if other != name)))
        with pytest.raises(OutputsMissingError, match=name.partition("/")[0]):
            require(job, [*files(*(other for other in names if other != name)), *files(name, size=0)])


def test_the_last_checkpoint_is_the_one_of_the_highest_number() -> None:
    names = ("checkpoints/model_9.pt", "checkpoints/model_10.pt", "checkpoints/best_agent.pt", "input/model_99.pt")
    assert last_checkpoint(files(*names)) == "checkpoints/model_10.pt"
    assert last_checkpoint(files("input/model_99.pt")) is None
