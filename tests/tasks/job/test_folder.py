"""The job folder: attempts count up, and two of them never work in it at once."""

from __future__ import annotations

import contextvars
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from isaaclab_flows.schemas.errors import LimitReachedError
from isaaclab_flows.tasks.job import lease as lease_module
from isaaclab_flows.tasks.job.folder import JobFolder
from isaaclab_flows.tasks.job.lease import is_live, lease


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return JobFolder(tmp_path / "job")


def test_attempts_count_up(folder: JobFolder) -> None:
    assert folder.attempts() == []
    assert [folder.new_attempt().number for _ in range(3)] == [1, 2, 3]
    assert [a.number for a in folder.attempts()] == [1, 2, 3]


def test_a_held_folder_is_live_and_a_left_one_is_not(folder: JobFolder) -> None:
    with lease(folder):
        assert is_live(folder, now=time.time())
    assert not is_live(folder, now=time.time())


def test_a_second_attempt_waits_and_then_says_who_works_there(
    folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "LEASE_REFRESH_SECONDS", 0.05)
    monkeypatch.setattr(lease_module, "LEASE_EXPIRES_SECONDS", 60.0)
    with lease(folder), pytest.raises(LimitReachedError, match=f"process {os.getpid()}"):
        contextvars.Context().run(hold, folder, 0.6)


def hold(folder: JobFolder, patience: float) -> None:
    with lease(folder, patience=patience):
        pass


def test_a_holder_may_take_its_own_folder_again_and_keeps_it_until_the_first_lease_ends(folder: JobFolder) -> None:
    with lease(folder):
        hold(folder, 0)
        assert is_live(folder, now=time.time())
    assert not is_live(folder, now=time.time())


def test_a_holder_that_was_killed_here_is_gone_at_once(folder: JobFolder) -> None:
    script = (
        "import os, sys; from pathlib import Path; from isaaclab_flows.tasks.job.folder import JobFolder\n"
        "from isaaclab_flows.tasks.job.lease import lease\n"
        "with lease(JobFolder(Path(sys.argv[1]))): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, str(folder.path)], check=False)
    assert folder.lease_file.exists()
    with lease(folder, patience=0):
        pass


def test_a_holder_elsewhere_is_gone_when_its_lease_no_longer_changes(
    folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "LEASE_EXPIRES_SECONDS", 0.3)
    folder.path.mkdir(parents=True)
    folder.lease_file.write_text(json.dumps({"owner": "x", "host": "other", "machine": "other", "pid": 1}))
    with lease(folder, patience=5):
        pass
