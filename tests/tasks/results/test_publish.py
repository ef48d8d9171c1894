"""Publishing takes what was checked, whole, or says what is wrong before it takes anything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from isaaclab_flows.schemas.errors import OutputsMissingError
from isaaclab_flows.schemas.outcome import OutputFile
from isaaclab_flows.tasks.results.publish import point_latest, publish
from isaaclab_flows.tasks.results.tree import inventory
from tests.tasks.vams import vams_job


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    folder = tmp_path / "staging"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints/model_1.pt").write_bytes(b"weights")
    (folder / "metrics.csv").write_bytes(b"iteration\n")
    return folder


def test_what_is_listed_arrives_and_nothing_else(staging: Path, tmp_path: Path) -> None:
    files = inventory(staging)
    (staging / "unchecked.txt").write_text("x")
    publish(str(staging), str(tmp_path / "out"), files, scratch=tmp_path / "scratch")
    assert inventory(tmp_path / "out") == files


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (lambda folder: (folder / "metrics.csv").unlink(), "metrics.csv"),
        (lambda folder: (folder / "checkpoints/model_1.pt").write_bytes(b"wei"), "checkpoints/model_1.pt"),
        (lambda folder: (folder / "checkpoints/model_1.pt").write_bytes(b"weights+"), "checkpoints/model_1.pt"),
    ],
    ids=["missing", "cut short", "grown"],
)
def test_nothing_is_published_where_something_is_missing_or_cut_short(
    staging: Path, tmp_path: Path, spoil: Callable[[Path], object], name: str
) -> None:
    files = inventory(staging)
    spoil(staging)
    with pytest.raises(OutputsMissingError, match=f"1 outputs are missing or cut short: {name}"):
        publish(str(staging), str(tmp_path / "out"), files, scratch=tmp_path / "scratch")
    assert not (tmp_path / "out").exists()


def test_the_first_five_that_are_missing_are_named(staging: Path, tmp_path: Path) -> None:
    files = [OutputFile(path=f"{n}.txt", size=1) for n in range(7)]
    with pytest.raises(OutputsMissingError, match=r"^7 outputs.*: 0\.txt, 1\.txt, 2\.txt, 3\.txt, 4\.txt \(at"):
        publish(str(staging), str(tmp_path / "out"), files, scratch=tmp_path)


def test_latest_leads_to_the_last_outputs_and_replaces_nobodys_folder(tmp_path: Path) -> None:
    base = vams_job.job().model_copy(update={"source": "cli", "output_uri": str(tmp_path / "outputs")})
    for job_id in ("aaaa1111-0", "bbbb2222-0"):
        job = base.model_copy(update={"job_id": job_id})
        Path(job.outputs_uri).mkdir(parents=True)
        point_latest(job)
        assert (tmp_path / "outputs/latest").resolve() == Path(job.outputs_uri)
    assert len(list((tmp_path / "outputs").iterdir())) == 3
    own = base.model_copy(update={"output_uri": str(tmp_path / "own")})
    (tmp_path / "own/latest").mkdir(parents=True)
    point_latest(own)
    assert not (tmp_path / "own/latest").is_symlink()
