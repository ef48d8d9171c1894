import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isaaclab_flows.tasks.job import clean_up
from isaaclab_flows.tasks.job.clean_up import SECONDS_PER_DAY, StoredJob, choose, delete, forget_calls, survey

NOW = 1_800_000_000.0


def stored(name: str, *, days: float, size: int = 10, live: bool = False, finished: bool = True) -> StoredJob:
    return StoredJob(Path("/jobs") / name, size, NOW - days * SECONDS_PER_DAY, live, finished)


def chosen_names(*jobs: StoredJob, older_than_days: float = 30, quota: int | None = None) -> list[str]:
    return [job.path.name for job in choose(jobs, now=NOW, older_than_days=older_than_days, quota_bytes=quota)]


def test_jobs_past_the_age_go_oldest_first():
    assert chosen_names(stored("a", days=31), stored("b", days=29), stored("c", days=90)) == ["c", "a"]


def test_the_quota_takes_the_oldest_and_no_more_than_it_needs():
    assert chosen_names(stored("a", days=3), stored("b", days=2), stored("c", days=1), quota=20) == ["a"]


def test_the_quota_spares_a_job_that_may_be_waiting_for_its_next_attempt():
    assert chosen_names(stored("waiting", days=3, finished=False), stored("b", days=2), quota=10) == ["b"]
    assert chosen_names(stored("forgotten", days=20, finished=False), quota=0) == ["forgotten"]


def test_a_live_job_stays_however_old_and_large():
    assert chosen_names(stored("a", days=400, size=10**12, live=True), quota=0) == []


@given(
    st.lists(
        st.builds(
            StoredJob,
            path=st.uuids().map(lambda u: Path("/jobs") / str(u)),
            size=st.integers(0, 10**9),
            touched=st.floats(NOW - 10**8, NOW),
            live=st.booleans(),
            finished=st.booleans(),
        ),
        max_size=20,
    ),
    st.floats(1, 1000),
    st.none() | st.integers(0, 10**10),
)
def test_whatever_lies_there_no_live_job_goes_and_the_quota_holds_or_only_spared_jobs_remain(jobs, days, quota):
    chosen = choose(jobs, now=NOW, older_than_days=days, quota_bytes=quota)
    left = [job for job in jobs if job not in chosen]
    assert not any(job.live for job in chosen)
    assert all(job.live for job in left if NOW - job.touched > days * SECONDS_PER_DAY)
    if quota is not None and sum(job.size for job in left) > quota:
        assert all(job.live or not job.finished for job in left)


def hold_elsewhere(folder: Path) -> None:
    (folder / "lease").mkdir()
    (folder / "lease" / "000001.json").write_text(json.dumps({"time": time.time(), "host": "elsewhere", "pid": 1}))


@pytest.fixture
def jobs(tmp_path):
    """Makes job folders with a file of some size, touched some days ago."""

    def make(name: str, *, days: float, live: bool = False) -> Path:
        folder = tmp_path / name
        (folder / "run").mkdir(parents=True)
        (folder / "run" / "model_0.pt").write_bytes(b"x" * 8192)
        if live:
            hold_elsewhere(folder)
        then = time.time() - days * SECONDS_PER_DAY
        for path in (folder / "run" / "model_0.pt", folder / "run", folder):
            os.utime(path, (then, then))
        return folder

    return make


def test_the_survey_measures_jobs_and_passes_over_what_is_none(jobs, tmp_path):
    jobs("old", days=40)
    jobs("busy", days=40, live=True)
    (tmp_path / ".nodes").mkdir()
    (tmp_path / "note.txt").touch()
    found = {job.path.name: job for job in survey(tmp_path, now=time.time())}
    assert set(found) == {"old", "busy"}
    assert found["old"].size >= 8192
    assert time.time() - found["old"].touched == pytest.approx(40 * SECONDS_PER_DAY, abs=60)
    assert found["busy"].live
    assert not found["old"].live


def test_a_job_that_becomes_live_at_the_last_moment_is_put_back(jobs, tmp_path):
    folder = jobs("a", days=40)
    (job,) = survey(tmp_path, now=time.time())
    hold_elsewhere(folder)
    assert not delete(job, now=time.time())
    assert (folder / "run" / "model_0.pt").is_file()


def test_a_deleted_job_leaves_nothing_behind(jobs, tmp_path):
    jobs("a", days=40)
    (job,) = survey(tmp_path, now=time.time())
    assert delete(job, now=time.time())
    assert not delete(job, now=time.time())
    assert list(survey(tmp_path, now=time.time())) == []
    assert list((tmp_path / ".trash").iterdir()) == []


def test_old_calls_to_nodes_and_left_over_trash_go(tmp_path):
    (tmp_path / ".nodes").mkdir()
    for name, days in {"old.json": 40, "new.json": 1}.items():
        file = tmp_path / ".nodes" / name
        file.touch()
        os.utime(file, (time.time() - days * SECONDS_PER_DAY,) * 2)
    (tmp_path / ".trash" / "half").mkdir(parents=True)
    forget_calls(tmp_path, older_than_days=30, now=time.time())
    assert [p.name for p in (tmp_path / ".nodes").iterdir()] == ["new.json"]
    assert list((tmp_path / ".trash").iterdir()) == []


def test_a_jobs_folder_that_was_never_made_is_empty(tmp_path):
    assert list(survey(tmp_path / "none", now=NOW)) == []
    forget_calls(tmp_path / "none", older_than_days=1, now=NOW)


@pytest.mark.parametrize(
    ("size", "said"), [(3 * 2**30, "3.0 GiB"), (1536, "1.5 KiB"), (7, "7 bytes"), (2**20 - 2**9, "1,023.5 KiB")]
)
def test_sizes_are_said_in_the_units_of_the_quota(size: int, said: str) -> None:
    assert clean_up.human(size) == said
