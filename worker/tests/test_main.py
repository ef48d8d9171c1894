from __future__ import annotations

import json

import pytest

from fake_batch import FakeBatch
from prefect_aws_batch import main as program
from prefect_aws_batch.batch_api import BatchApi
from prefect_aws_batch.main import main


@pytest.fixture(autouse=True)
def _no_aws(api: BatchApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "_connect", lambda: api)


def test_words_are_explained_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--status-reason", "Task failed to start", "--container-reason", "CannotPullContainerError: not found"]
    assert main(["explain", *words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["state"], told["again"], told["kind"]) == ("Failed", False, "image")
    assert "CannotPullContainerError: not found" in told["sentence"]
    assert "image's name" in told["remedy"]


def test_words_are_explained_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--status-reason", "Host EC2 (instance i-1) terminated."]) == 0
    assert capsys.readouterr().out.startswith("Crashed, tried again. The machine was taken away")


def test_a_jobs_own_end_is_explained(batch: FakeBatch, capsys: pytest.CaptureFixture[str]) -> None:
    job_id = batch.add("steps")
    batch.fail(job_id, "Essential container in task exited", exit_code=137, reason="OutOfMemoryError: killed")
    assert main(["explain", job_id, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "out_of_memory"


def test_a_job_that_goes_on_or_is_not_known_has_no_end(batch: FakeBatch, capsys: pytest.CaptureFixture[str]) -> None:
    job_id = batch.add("steps", status="RUNNABLE", statusReason="CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY")
    assert main(["explain", job_id]) == 1
    assert "has not ended: it is RUNNABLE. CAPACITY" in capsys.readouterr().err
    assert main(["explain", "job-of-last-year"]) == 1
    assert "knows no job" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["explain"], ["explain", "job-1", "--exit-code", "1"], []])
def test_what_cannot_be_meant_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_success_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    main(["explain", "--exit-code", "0", "--json"])
    assert json.loads(capsys.readouterr().out)["state"] == "Completed"
