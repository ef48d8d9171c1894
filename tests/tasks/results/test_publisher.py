"""What is finished is copied while the simulator runs; a fault is a warning, and the last copy tells."""

from __future__ import annotations

import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from isaaclab_flows.schemas.errors import InfrastructureLostError, StorageError
from isaaclab_flows.tasks.job.folder import JobFolder
from isaaclab_flows.tasks.results import publisher as publishing
from isaaclab_flows.tasks.results.publisher import Mirror, Publisher
from isaaclab_flows.tasks.storage.folder import FolderStorage
from tests.tasks.vams import vams_job


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.005)
    return holds()


def ours() -> None:
    """The folder is still held."""


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    made = JobFolder(tmp_path / "job")
    (made.run / "checkpoints").mkdir(parents=True)
    with zipfile.ZipFile(made.run / "checkpoints/model_1.pt", "w") as archive:
        archive.writestr("model_1/data.pkl", b"weights")
    return made


def test_what_is_finished_is_in_staging_before_the_work_ends(folder: JobFolder, tmp_path: Path) -> None:
    job = vams_job.job(staging_uri=str(tmp_path / "staging"))
    warnings: list[str] = []
    with Publisher(job, folder, warn=warnings.append, require=ours) as publisher:
        assert not (tmp_path / "staging").exists(), "nothing until something is finished"
        publisher.wake()
        assert within(20, (tmp_path / "staging/metrics.csv").is_file)
        assert within(20, (tmp_path / "staging/checkpoints/model_1.pt").is_file)
    (folder.out / "summary.json").write_text("{}")
    publisher.finish()
    assert (tmp_path / "staging/summary.json").read_text() == "{}"
    assert warnings == []


def test_a_fault_is_a_warning_and_tried_again_and_the_last_one_is_raised(
    folder: JobFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = threading.Event()

    def refuse(_: Mirror) -> int:
        tried.set()
        raise StorageError("S3 is away", remedy="Wait.")

    monkeypatch.setattr(Mirror, "sync", refuse)
    warnings: list[str] = []
    with Publisher(
        vams_job.job(staging_uri=str(tmp_path / "s")), folder, warn=warnings.append, require=ours
    ) as publisher:
        publisher.wake()
        assert tried.wait(20)
        assert within(20, lambda: len(warnings) == 1)
        tried.clear()
        publisher.wake()
        assert tried.wait(20), "the thread lives on"
    assert all("will be tried again: S3 is away" in sentence for sentence in warnings)
    with pytest.raises(StorageError):
        publisher.finish()


def test_it_looks_by_itself_too(folder: JobFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "EVERY_SECONDS", 0.01)
    with Publisher(vams_job.job(staging_uri=str(tmp_path / "s")), folder, warn=pytest.fail, require=ours):
        assert within(20, (tmp_path / "s/checkpoints/model_1.pt").is_file)


def test_a_mirror_leaves_what_is_being_written_and_a_tree_that_is_its_own_target(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / ".a.pt.1234.partial").write_text("half")
    (tree / "a.txt").write_text("whole")
    assert Mirror(tree, FolderStorage(tree)).sync() == 0
    assert Mirror(tree, FolderStorage(tmp_path / "target")).sync() == 1
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["a.txt"]


def test_whoever_lost_the_job_copies_nothing_more(folder: JobFolder, tmp_path: Path) -> None:
    asked = threading.Event()

    def lost() -> None:
        asked.set()
        raise InfrastructureLostError("Somebody else holds it")

    with Publisher(
        vams_job.job(staging_uri=str(tmp_path / "s")), folder, warn=lambda _: None, require=lost
    ) as publisher:
        publisher.wake()
        assert asked.wait(20)
    assert not (tmp_path / "s").exists()
