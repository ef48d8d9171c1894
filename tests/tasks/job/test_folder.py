"""The job folder: attempts count up, and two of them never work in it at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from isaaclab_flows.tasks.job.folder import JobFolder


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return JobFolder(tmp_path / "job")


def test_attempts_count_up(folder: JobFolder) -> None:
    assert folder.attempts() == []
    assert [folder.new_attempt().number for _ in range(3)] == [1, 2, 3]
    assert [a.number for a in folder.attempts()] == [1, 2, 3]
