"""Inputs are what lies at their place now, by content; a job that begins anew does so once an order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from isaaclab_flows.schemas.job import CheckpointSource, Job
from isaaclab_flows.tasks.job.folder import JobFolder
from isaaclab_flows.tasks.simulator.order import fetch_inputs
from isaaclab_flows.tasks.storage import s3
from tests.tasks.show.test_artifacts import job as a_job


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with mock_aws():
        s3._client_for.cache_clear()
        client = boto3.client("s3")
        client.create_bucket(Bucket="robots", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        yield client
    s3._client_for.cache_clear()


@pytest.fixture
def job() -> Job:
    source = CheckpointSource(uri="s3://robots/model_1.pt", found_by="resumeCheckpoint", size=3)
    return a_job(checkpoints=(source,), custom_environment_uri="s3://robots/mine.zip")


def test_what_was_uploaded_again_is_fetched_again_and_the_same_is_not(
    bucket, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = JobFolder(tmp_path / "job")

    def fetch() -> tuple[bytes, bytes]:
        inputs = fetch_inputs(job, folder)
        assert inputs.custom_environment is not None
        return inputs.checkpoints[0].read_bytes(), inputs.custom_environment.read_bytes()

    for checkpoint, archive in ((b"abc", b"one"), (b"abd", b"two")):  # of equal size
        bucket.put_object(Bucket="robots", Key="model_1.pt", Body=checkpoint)
        bucket.put_object(Bucket="robots", Key="mine.zip", Body=archive)
        assert fetch() == (checkpoint, archive)
    monkeypatch.setattr(s3.S3Storage, "download", lambda *_: pytest.fail("nothing has changed"))
    assert fetch() == (b"abd", b"two")
    for key in ("model_1.pt", "mine.zip"):
        bucket.delete_object(Bucket="robots", Key=key)
    assert fetch() == (b"abd", b"two"), "an attempt after the inputs are gone goes on with what was ordered"


def test_a_job_begins_anew_once_an_order(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path / "job")
    checkpoint = folder.run / "checkpoints" / "model_44.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    assert not folder.was_begun_anew("run-1")
    folder.begin_anew("run-1")
    assert not checkpoint.exists()
    assert folder.was_begun_anew("run-1")
    assert not folder.was_begun_anew("run-2")
