import logging

import pytest

from isaaclab_flows.flows import clean_up as module
from isaaclab_flows.flows.clean_up import clean_up
from isaaclab_flows.schemas.errors import ConfigError


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    """A jobs folder with three finished jobs of today; the flow's logger is Python's own, so no server is needed."""
    monkeypatch.setenv("ISAACLAB_FLOWS_JOBS_FOLDER", str(tmp_path))
    monkeypatch.setattr(module, "get_run_logger", lambda: logging.getLogger("clean-up"))
    for name in "abc":
        (tmp_path / name).mkdir()
        (tmp_path / name / "outcome.json").write_bytes(b"x" * 4096)
    return tmp_path


def test_a_quota_of_nothing_deletes_what_is_finished(jobs):
    assert sorted(clean_up.fn(quota_gib=0)) == ["a", "b", "c"]
    assert not [path for path in jobs.iterdir() if not path.name.startswith(".")]


def test_a_dry_run_deletes_nothing(jobs):
    assert sorted(clean_up.fn(quota_gib=0, dry_run=True)) == ["a", "b", "c"]
    assert len(list(jobs.iterdir())) == 3


def test_jobs_of_today_stay_without_a_quota(jobs):
    assert clean_up.fn() == []


@pytest.mark.parametrize("wrong", [{"older_than_days": 0}, {"quota_gib": -1}])
def test_an_age_or_a_quota_that_makes_no_sense_is_refused(jobs, wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        clean_up.fn(**wrong)


def test_a_quota_that_cannot_hold_is_said(jobs, caplog):
    (jobs / "a" / "outcome.json").rename(jobs / "a" / "model_0.pt")
    clean_up.fn(quota_gib=0)
    assert "over the quota" in caplog.text
