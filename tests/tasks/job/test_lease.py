"""The lease of a job folder: one holder at a time, and one that was overtaken notices before it writes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from isaaclab_flows.schemas.errors import InfrastructureLostError, LimitReachedError
from isaaclab_flows.tasks.job import lease as lease_module
from isaaclab_flows.tasks.job.folder import JobFolder
from isaaclab_flows.tasks.job.lease import holder_here, is_live, lease

HOLD = """
import sys, time
from pathlib import Path
from isaaclab_flows.schemas.errors import FlowsError
from isaaclab_flows.tasks.job import lease as module
from isaaclab_flows.tasks.job.folder import JobFolder
module.LEASE_REFRESH_SECONDS = 0.05
with module.lease(JobFolder(Path(sys.argv[1]))) as held:
    print("held", flush=True)
    while True:
        time.sleep(0.02)
        try:
            held.require()
        except FlowsError as error:
            print(error.sentence, flush=True)
            break
"""


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return JobFolder(tmp_path / "job")


def elsewhere(folder: JobFolder, content: str) -> None:
    """Leave the lease file of a holder on another machine."""
    file = folder.lease_folder / "000001.json"
    file.parent.mkdir(parents=True)
    file.write_text(content)


def another_holder(folder: JobFolder) -> subprocess.Popen[str]:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(folder.path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_a_held_folder_is_live_and_a_left_one_is_not(folder: JobFolder) -> None:
    assert not is_live(folder, now=time.time())
    with lease(folder):
        assert is_live(folder, now=time.time())
        assert holder_here(folder) == os.getpid()
    assert not is_live(folder, now=time.time())
    assert holder_here(folder) is None


def test_every_holder_has_a_higher_number_and_few_files_stay(folder: JobFolder) -> None:
    numbers = []
    for _ in range(6):
        with lease(folder, patience=0) as held:
            numbers.append(held.number)
    assert numbers == [1, 2, 3, 4, 5, 6]
    assert len(list(folder.lease_folder.iterdir())) <= 4


def test_a_second_attempt_waits_and_then_says_who_works_there(folder: JobFolder) -> None:
    says_who = pytest.raises(LimitReachedError, match=f"process {os.getpid()}")
    with lease(folder), says_who, lease(folder, patience=0.6):
        pass


def test_of_many_that_find_a_folder_free_at_once_one_holds_it(folder: JobFolder) -> None:
    elsewhere(folder, json.dumps({"released": True}))
    at_work: list[int] = []
    crowds: list[int] = []
    together = threading.Barrier(5)

    def attempt(number: int) -> None:
        together.wait()
        with lease(folder, patience=60):
            at_work.append(number)
            crowds.append(len(at_work))
            time.sleep(0.01)
            at_work.remove(number)

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert crowds == [1] * 5


def test_a_holder_that_was_killed_here_is_gone_at_once(folder: JobFolder) -> None:
    holder = another_holder(folder)
    holder.kill()
    holder.wait()
    with lease(folder, patience=0) as held:
        assert held.number == 2


@pytest.mark.parametrize(
    "content",
    [
        json.dumps({"owner": "x", "host": "other", "machine": "other", "pid": 1, "started": "1"}),
        "",
        '{"owner": "x", "ho',
        "\0" * 200,
        "[1, 2]",
        '{"pid": "no number", "machine": 3}',
    ],
)
def test_a_holder_elsewhere_or_a_corrupt_file_is_gone_when_it_no_longer_changes(
    folder: JobFolder, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setattr(lease_module, "LEASE_EXPIRES_SECONDS", 0.3)
    elsewhere(folder, content)
    with pytest.raises(LimitReachedError), lease(folder, patience=0):
        pass
    with lease(folder, patience=5) as held:
        assert held.number == 2


def test_a_paused_holder_that_was_overtaken_notices_and_leaves_its_successors_lease_alone(
    folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "LEASE_EXPIRES_SECONDS", 0.4)
    holder = another_holder(folder)
    holder.send_signal(signal.SIGSTOP)
    try:
        with lease(folder, patience=20) as held:
            holder.send_signal(signal.SIGCONT)
            assert holder.stdout is not None
            assert "Another attempt has taken this job over" in holder.stdout.readline()
            assert holder.wait(10) == 0
            held.require()
            assert holder_here(folder) == os.getpid()
    finally:
        holder.kill()


def test_a_refresh_that_fails_is_tried_again_and_the_lease_is_lost_after_a_minute(
    folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "LEASE_REFRESH_SECONDS", 0.02)
    now, failing = [0.0], [False]
    real = lease_module.write_whole

    def write(target: Path, content: bytes) -> None:
        if failing[0]:
            raise OSError(116, "Stale file handle")
        real(target, content)

    monkeypatch.setattr(lease_module, "write_whole", write)
    with lease(folder, clock=lambda: now[0]) as held:
        failing[0] = True
        time.sleep(0.1)
        now[0] = 50.0
        held.require()
        failing[0] = False
        time.sleep(0.2)
        now[0] = 100.0
        held.require()  # a refresh in between went well
        failing[0] = True
        time.sleep(0.1)
        now[0] = 200.0
        with pytest.raises(InfrastructureLostError, match="could not be written to for 60 s"):
            held.require()
        assert held.lost
