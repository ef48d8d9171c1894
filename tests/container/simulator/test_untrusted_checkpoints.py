import os
from pathlib import Path

import numpy as np
import pytest

from isaaclab_flows.container.simulator.checkpoints import load_untrusted
from isaaclab_flows.container.simulator.events import save_whole
from isaaclab_flows.schemas.errors import CheckpointError

torch = pytest.importorskip("torch", reason="the simulator's side: run `make setup`")


class Payload:
    """What a malicious checkpoint would hold."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.mark),)


def test_tensors_plain_values_and_numpys_numbers_are_read(tmp_path: Path) -> None:
    state = {
        "model": {"w": torch.ones(2)},
        "epoch": 3,
        "reward": np.float32(1.5),
        "best": np.float64(2.5),
        "none": None,
    }
    torch.save(state, tmp_path / "last_ant_ep_3.pth")
    read = load_untrusted(tmp_path / "last_ant_ep_3.pth", device="cpu")
    assert read["model"]["w"].tolist() == [1, 1]
    assert (read["epoch"], float(read["reward"]), float(read["best"])) == (3, 1.5, 2.5)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    torch.save({"model": Payload(tmp_path / "mark")}, tmp_path / "model_1.pt")
    with pytest.raises(CheckpointError, match="not opened"):
        load_untrusted(tmp_path / "model_1.pt", device="cpu")
    assert not (tmp_path / "mark").exists()


def test_torn_empty_and_missing_files_are_told_apart_from_whole_ones(tmp_path: Path) -> None:
    torch.save({"model": torch.zeros(1000)}, tmp_path / "model_1.pt")
    whole = (tmp_path / "model_1.pt").read_bytes()
    for torn in (b"", whole[: len(whole) // 2], b"no checkpoint at all"):
        (tmp_path / "torn.pt").write_bytes(torn)
        with pytest.raises(CheckpointError, match="torn"):
            load_untrusted(tmp_path / "torn.pt", device="cpu")
    with pytest.raises(CheckpointError, match="does not exist"):
        load_untrusted(tmp_path / "gone.pt", device="cpu")


def test_a_file_that_holds_something_else_is_no_checkpoint(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="holds a list"):
        load_untrusted(tmp_path / "list.pt", device="cpu")


def test_a_checkpoint_is_saved_whole_under_its_name_alone(tmp_path: Path) -> None:
    save_whole(tmp_path / "checkpoints" / "model_3.pt", {"iter": 3})
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["model_3.pt"]
    assert load_untrusted(tmp_path / "checkpoints" / "model_3.pt", device="cpu") == {"iter": 3}


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    save_whole(tmp_path / "model_3.pt", {"iter": 3})
    with pytest.raises(Exception, match="pickle"):
        save_whole(tmp_path / "model_3.pt", {"iter": lambda: None})
    assert load_untrusted(tmp_path / "model_3.pt", device="cpu") == {"iter": 3}
    assert [path.name for path in tmp_path.iterdir()] == ["model_3.pt"]
