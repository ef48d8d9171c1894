"""The example of a custom environment, packed in each format, trained and evaluated by the real simulator."""

from __future__ import annotations

import csv
import importlib.util
import os
import signal
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isaaclab_flows.schemas.config import VideoConfig
from isaaclab_flows.schemas.simulator import EvaluationOrder, SimulatorJob, SimulatorResult, TrainingOrder

pytestmark = [pytest.mark.isaaclab, pytest.mark.timeout(2_400)]

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "custom-environment"
TASK = "Isaac-Cartpole-Upright-Direct"
ENVIRONMENTS, ROUNDS, STEPS, FRAMES = 3, 2, 300, 40


@dataclass(frozen=True)
class Upright:
    """A short training of the example's task."""

    folder: Path
    archives: dict[str, Path]
    checkpoints: tuple[Path, ...]

    @property
    def best(self) -> Path:
        return self.checkpoints[-1]


def simulate(folder: Path, archive: Path, **order: Any) -> SimulatorResult:
    """Run one order in a child of its own and return its result."""
    folder.mkdir(parents=True, exist_ok=True)
    job = SimulatorJob(
        job_id="custom-environment",
        library="rsl_rl",
        device="cpu",
        run_folder=str(folder / "run"),
        progress_file=str(folder / "progress.jsonl"),
        result_file=str(folder / "result.json"),
        custom_environment=str(archive),
        custom_environment_folder=str(folder / "environment"),
        **({"task": TASK, "num_envs": ENVIRONMENTS, "seed": 42} | order),
    )
    path = folder / "order.json"
    path.write_text(job.model_dump_json(by_alias=True))
    with (folder / "simulator.txt").open("w") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "isaaclab_flows.container.simulator", str(path)],
            cwd=ROOT,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            child.wait(900)
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
    return SimulatorResult.model_validate_json((folder / "result.json").read_bytes())


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    spec = importlib.util.spec_from_file_location("pack", EXAMPLE / "pack.py")
    pack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pack)
    zipped, tarred, wheel = pack.pack(tmp_path_factory.mktemp("packed"))
    return {"zip": zipped, "tar.gz": called_tasks(tarred), "whl": wheel}


def called_tasks(archive: Path) -> Path:
    """Return the archive with its package called `tasks`, as folders of ours are."""
    renamed = archive.with_name(f"tasks-{archive.name}")
    with tarfile.open(archive) as old, tarfile.open(renamed, "w:gz") as new:
        for member in old.getmembers():
            content = old.extractfile(member)
            member.name = member.name.replace("src/cartpole_upright/", "src/tasks/")
            new.addfile(member, content)
    return renamed


@pytest.fixture(scope="module")
def upright(tmp_path_factory: pytest.TempPathFactory, archives: dict[str, Path]) -> Upright:
    folder = tmp_path_factory.mktemp("upright")
    order = TrainingOrder(max_iterations=80, checkpoint_interval=40)
    result = simulate(folder, archives["zip"], num_envs=256, training=order)
    assert result.error is None, result.error
    assert result.registered_tasks == (TASK,)
    found = sorted((folder / "run" / "checkpoints").glob("model_*.pt"), key=lambda p: int(p.stem.split("_")[1]))
    return Upright(folder, archives, tuple(found))


@pytest.fixture(scope="module")
def bad_checkpoints(tmp_path_factory: pytest.TempPathFactory, upright: Upright) -> dict[str, Path]:
    import torch

    folder = tmp_path_factory.mktemp("bad")
    torn, other, code = folder / "model_torn.pt", folder / "model_other.pt", folder / "model_code.pt"
    whole = upright.best.read_bytes()
    torn.write_bytes(whole[: len(whole) // 2])
    state = torch.load(upright.best, weights_only=True)
    grown = {
        k: torch.zeros(v.shape[0] * 2, *v.shape[1:]) if v.dim() else v for k, v in state["actor_state_dict"].items()
    }
    torch.save(state | {"actor_state_dict": grown}, other)
    torch.save({"run_me": Path}, code)
    return {"torn": torn, "other": other, "code": code, "missing": folder / "none.pt"}


@pytest.fixture(scope="module")
def filmed(upright: Upright, bad_checkpoints: dict[str, Path]) -> SimulatorResult:
    """The last checkpoint, the first one and four that are no good, from the wheel and with a video."""
    return simulate(
        upright.folder / "filmed",
        upright.archives["whl"],
        evaluation=EvaluationOrder(
            checkpoints=tuple(map(str, (upright.best, *bad_checkpoints.values(), upright.checkpoints[0]))),
            num_episodes=ROUNDS,
            steps_per_episode=STEPS,
            video=VideoConfig(width=256, height=144, max_frames=FRAMES, num_envs=2),
        ),
    )


def rows(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def assert_same_episodes(one: str, other: str) -> None:
    """Both files say the same, up to what rounding adds up to over an episode."""
    for left, right in zip(rows(one), rows(other), strict=True):
        for name in left:
            exact = name in ("round", "environment", "length", "outcome", "success")
            assert (left[name] if exact else float(left[name])) == (
                right[name] if exact else pytest.approx(float(right[name]), abs=1e-4)
            ), name


@pytest.mark.parametrize("suffix", ["tar.gz", "whl"])
def test_the_example_trains_in_every_format(tmp_path, archives, suffix):
    order = TrainingOrder(max_iterations=2, checkpoint_interval=1)
    result = simulate(tmp_path, archives[suffix], num_envs=16, training=order)
    assert (result.status, result.iterations, result.registered_tasks) == ("succeeded", 2, (TASK,))


def test_every_environments_first_episode_of_each_round_is_counted(filmed):
    found = rows(filmed.evaluations[0].episodes_file)
    assert [(int(r["round"]), int(r["environment"])) for r in found] == [
        (n, e) for n in range(1, ROUNDS + 1) for e in range(ENVIRONMENTS)
    ]
    for row in found:
        assert 1 <= int(row["length"]) <= STEPS
        assert row["outcome"] in ("terminated", "timed_out")
        assert row["success"] in ("0", "1")
        terms = [float(row[f"reward/{name}"]) for name in ("upright", "centre", "effort", "fall")]
        assert sum(terms) == pytest.approx(float(row["return"]), abs=1e-3)
    assert len({row["return"] for row in found}) == len(found)


def test_training_shows_in_the_evaluation(filmed):
    best, first = rows(filmed.evaluations[0].episodes_file), rows(filmed.evaluations[-1].episodes_file)
    assert all(row["success"] == "1" for row in best)
    assert np.mean([float(r["return"]) for r in best]) > np.mean([float(r["return"]) for r in first]) + 1


def test_a_bad_checkpoint_is_an_error_of_its_own_and_the_others_are_evaluated(filmed, bad_checkpoints):
    assert filmed.status == "succeeded"
    errors = dict(zip(bad_checkpoints, (e.error for e in filmed.evaluations[1:5]), strict=True))
    assert {error.kind for error in errors.values()} == {"checkpoint"}
    assert "torn" in errors["torn"].what
    assert "another shape" in errors["other"].what
    assert "more than weights" in errors["code"].what
    assert "No such file" in errors["missing"].what
    assert all(len(error.sentence) < 400 and "\n" not in error.sentence for error in errors.values())


def test_the_video_shows_something_that_moves(filmed):
    import imageio.v3 as imageio

    evaluation = filmed.evaluations[0]
    assert evaluation.video_frames == FRAMES
    frames = imageio.imread(evaluation.video_file, plugin="FFMPEG")
    assert frames.shape == (FRAMES, 144, 256, 3)
    assert 60 < frames.mean() < 220
    assert all(frame.std() > 20 for frame in frames)
    assert np.abs(frames[0].astype(int) - frames[-1]).max() > 60
    assert Path(evaluation.preview_file).read_bytes().startswith(b"\x89PNG")


def test_the_same_seed_gives_the_same_numbers_unfilmed_and_in_another_order(upright, filmed):
    order = EvaluationOrder(
        checkpoints=(str(upright.checkpoints[0]), str(upright.best)), num_episodes=ROUNDS, steps_per_episode=STEPS
    )
    again = simulate(upright.folder / "unfilmed", upright.archives["tar.gz"], evaluation=order)
    first, best = (e.episodes_file for e in again.evaluations)
    assert_same_episodes(best, filmed.evaluations[0].episodes_file)
    assert_same_episodes(first, filmed.evaluations[-1].episodes_file)
    assert again.evaluations[0].video_file is None

    # A second attempt finds what the first one finished, and a changed order does not.
    before = {p: p.stat().st_mtime_ns for p in (upright.folder / "unfilmed").rglob("episodes.csv")}
    longer = order.model_copy(update={"checkpoints": (*order.checkpoints, str(upright.best))})
    more = simulate(upright.folder / "unfilmed", upright.archives["tar.gz"], evaluation=longer)
    assert more.evaluations[:2] == again.evaluations
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert_same_episodes(more.evaluations[2].episodes_file, best)
