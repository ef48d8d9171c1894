"""VAMS's limits hold by construction."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isaaclab_flows.schemas.outcome import OutputFile
from isaaclab_flows.tasks.vams.limits import MOST_KEYS, RESERVED_KEYS, blocked, select, thin


def files(*paths: str) -> list[OutputFile]:
    return [OutputFile(path=path, size=1) for path in paths]


def checkpoints(count: int) -> list[str]:
    return [f"checkpoints/model_{100 * n}.pt" for n in range(count)]


def test_a_usual_result_is_kept_whole() -> None:
    usual = files("metrics.csv", "summary.json", "params/env.yaml", *checkpoints(50))
    selection = select(usual)
    assert selection.kept == tuple(usual)
    assert selection.warning == ""


def test_many_checkpoints_are_thinned_evenly_with_first_last_and_best() -> None:
    many = checkpoints(5_000)
    selection = select(files("metrics.csv", *many), best="checkpoints/model_123400.pt")
    kept = [f.path for f in selection.kept]
    assert len(kept) == MOST_KEYS - RESERVED_KEYS
    assert {"metrics.csv", many[0], many[-1], "checkpoints/model_123400.pt"} <= set(kept)
    positions = [many.index(path) for path in kept if path != "metrics.csv"]
    gaps = [b - a for a, b in itertools.pairwise(positions)]
    assert max(gaps) <= 2 * 5_000 / len(positions) + 1
    assert "auxiliary" in selection.warning


def test_the_last_checkpoint_survives_a_flood_of_other_files() -> None:
    flood = [f"videos/v{n}.mp4" for n in range(3_000)]
    kept = {f.path for f in select(files("metrics.csv", *flood, *checkpoints(200))).kept}
    assert len(kept) == MOST_KEYS - RESERVED_KEYS
    assert {"checkpoints/model_19900.pt", "metrics.csv"} <= kept


@pytest.mark.parametrize(
    "path", ["a/b.jar", "A.EXE", "x.bat", "run/custom.py", "setup.sh", "page.js", "x.previewFile.png", "n.ipynb"]
)
def test_what_vams_blocks_is_never_given_to_it(path: str) -> None:
    assert blocked(path)
    selection = select(files(path, "metrics.csv"))
    assert [f.path for f in selection.kept] == ["metrics.csv"]
    assert path in selection.left_out


@settings(max_examples=50)
@given(
    st.integers(0, 40),
    st.integers(0, 40),
    st.lists(st.sampled_from(["a.exe", "b.py", "c.BAT"]), unique=True),
    st.integers(1, 30),
)
def test_never_more_than_the_limit_never_blocked_and_nothing_goes_unmentioned(
    models: int, videos: int, bad: list[str], most: int
) -> None:
    given_files = files(*checkpoints(models), *(f"videos/{n}.mp4" for n in range(videos)), *bad)
    selection = select(given_files, most=most)
    kept = {f.path for f in selection.kept}
    assert len(kept) <= most
    assert not any(blocked(path) for path in kept)
    assert kept | set(selection.left_out) == {f.path for f in given_files}
    assert not kept & set(selection.left_out)


@given(st.sets(st.integers(0, 10_000), max_size=60), st.integers(0, 60))
def test_thinning_keeps_as_many_as_there_is_room_for_and_the_last(numbers: set[int], room: int) -> None:
    names = [f"checkpoints/model_{n}.pt" for n in numbers]
    kept = thin(names, room)
    assert len(kept) == min(room, len(names))
    if names and room:
        assert f"checkpoints/model_{max(numbers)}.pt" in kept


def test_a_preview_among_the_outputs_is_no_loss_to_warn_of() -> None:
    selection = select(files("videos/a.mp4", "videos/a.mp4.previewFile.png"))
    assert [f.path for f in selection.kept] == ["videos/a.mp4"]
    assert selection.warning == ""
