"""Checkpoints: numeric order, whose they are, whole or passed over."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isaaclab_flows.tasks.job.checkpoints import (
    flaw_of,
    is_checkpoint,
    iteration_of,
    library_of,
    newest_first,
    newest_intact,
)


def write_checkpoint(path: Path, content: bytes = b"x" * 1000) -> Path:
    """Write a file that is laid out as torch.save lays it out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/data/0", bytes(range(256)) * 8)
    return path


@pytest.mark.parametrize(
    ("name", "number", "library"),
    [
        ("model_1500.pt", 1500, "rsl_rl"),
        ("agent_240.pt", 240, "skrl"),
        ("best_agent.pt", None, "skrl"),
        ("last_cartpole_direct_ep_150_rew_294.3.pth", 150, "rl_games"),
        ("cartpole_direct.pth", None, "rl_games"),
        ("something.pt", None, None),
    ],
)
def test_number_and_library_are_read_off_the_name(name: str, number: int | None, library: str | None) -> None:
    assert iteration_of(f"a/b/{name}") == number
    assert library_of(f"a/b/{name}") == library


def test_exported_policies_are_no_checkpoints() -> None:
    assert not is_checkpoint("run/exported/policy.pt")
    assert not is_checkpoint("policy.pt")
    assert is_checkpoint("run/checkpoints/model_1.pt")


@given(st.lists(st.integers(0, 10**6), unique=True, min_size=1))
def test_the_order_is_numeric(numbers: list[int]) -> None:
    names = [f"model_{n}.pt" for n in numbers]
    assert [iteration_of(n) for n in newest_first(names)] == sorted(numbers, reverse=True)


def test_the_newest_whole_checkpoint_counts_and_the_others_are_named(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "model_999.pt")
    (tmp_path / "model_1000.pt").write_bytes(b"")
    torn = write_checkpoint(tmp_path / "model_1500.pt")
    torn.write_bytes(torn.read_bytes()[:500])
    newest, skipped = newest_intact(tmp_path)
    assert newest == tmp_path / "model_999.pt"
    assert [word in text for text, word in zip(skipped, ["model_1500.pt", "model_1000.pt"], strict=True)] == [
        True,
        True,
    ]


def test_a_flipped_byte_is_noticed(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "model_1.pt")
    data = bytearray(path.read_bytes())
    data[data.index(b"x" * 100) + 50] ^= 1
    path.write_bytes(bytes(data))
    assert "corrupt" in (flaw_of(path) or "")


def test_any_cut_is_noticed(tmp_path: Path) -> None:
    whole = write_checkpoint(tmp_path / "model_1.pt").read_bytes()
    for length in random.Random(0).sample(range(len(whole)), 50):
        (tmp_path / "cut.pt").write_bytes(whole[:length])
        assert flaw_of(tmp_path / "cut.pt")


def test_an_empty_folder_has_none(tmp_path: Path) -> None:
    assert newest_intact(tmp_path / "nowhere") == (None, [])
