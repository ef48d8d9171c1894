"""A checkpoint that is known to be of another task or library is refused; one of unknown origin passes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isaaclab_flows.schemas.errors import CheckpointError
from isaaclab_flows.schemas.job import CheckpointSource
from isaaclab_flows.tasks.request.provenance import refuse_foreign
from isaaclab_flows.tasks.request.reach import Reach

TASK = "Isaac-Cartpole-Direct"


def source(folder: Path, name: str, beside: Any = None, *, below: str = "checkpoints") -> CheckpointSource:
    path = folder / "job" / below / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    if beside is not None:
        text = beside if isinstance(beside, str) else json.dumps(beside)
        (folder / "job/training-config.json").write_text(text)
    return CheckpointSource(uri=str(path), found_by="checkpointPath")


@pytest.mark.parametrize(
    ("name", "beside", "words"),
    [
        ("agent_100.pt", None, "name is one of skrl"),
        ("nn.pth", None, "name is one of rl_games"),
        ("mine.pt", {"trainingConfig": {"rlLibrary": "skrl"}}, "trained with skrl"),
        ("model_1.pt", {"trainingConfig": {"task": "Isaac-Ant-Direct"}}, "trained on the task 'Isaac-Ant-Direct'"),
        ("model_1.pt", {"trainingConfig": {"task": "My-Own-Task"}}, "trained on the task 'My-Own-Task'"),
    ],
)
def test_what_is_known_to_be_foreign_is_refused(tmp_path: Path, name: str, beside: Any, words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        refuse_foreign(source(tmp_path, name, beside), TASK, "rsl_rl", Reach())


@pytest.mark.parametrize(
    ("name", "beside"),
    [
        ("model_1.pt", None),
        ("mine.pt", None),
        ("mine.pt", {"trainingConfig": {"rlLibrary": "rsl_rl", "task": TASK}}),
        ("mine.pt", {"trainingConfig": {"task": f"{TASK}-v0"}}),
        ("mine.pt", {"trainingConfig": "no object"}),
        ("mine.pt", [1]),
        ("mine.pt", "{torn"),
    ],
)
def test_what_is_its_own_or_unknown_passes(tmp_path: Path, name: str, beside: Any) -> None:
    refuse_foreign(source(tmp_path, name, beside), TASK, "rsl_rl", Reach())


def test_a_configuration_counts_only_beside_a_trainings_checkpoints(tmp_path: Path) -> None:
    foreign = {"trainingConfig": {"task": "Isaac-Ant-Direct"}}
    refuse_foreign(source(tmp_path, "model_1.pt", foreign, below="downloads"), TASK, "rsl_rl", Reach())
