from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prefect_aws_batch.causes import CANCEL_REASON, CHILD_NODE_REASON, PLACEMENT_REASON
from prefect_aws_batch.diagnosis import diagnose, misfit, not_placed
from prefect_aws_batch.errors import (
    BatchError,
    CannotBePlacedError,
    ConfigurationError,
    ContainerError,
    EndedOnRequestError,
    ImageError,
    MachineLostError,
    OutOfMemoryError,
    StartError,
    TimeLimitError,
)
from prefect_aws_batch.states import BatchJob

EXITED = "Essential container in task exited"
FAILED = "Task failed to start"
FIELD = json.loads((Path(__file__).parent / "data" / "batch-reasons.json").read_text())


def failed(status_reason: str = EXITED, exit_code: int | None = None, reason: str = "") -> BatchJob:
    return BatchJob("j-1", "train-1", "FAILED", status_reason, exit_code, reason, has_started=exit_code is not None)


# Batch's words, exit code, ECS's words → error, state, tried again.
ENDINGS: list[tuple[str, int | None, str, type[BatchError], str, bool]] = [
    ("Host EC2 (instance i-0abc) terminated.", None, "", MachineLostError, "crashed", True),
    ("Host EC2 (instance i-0abc) terminated.", 143, "", MachineLostError, "crashed", True),
    (EXITED, 143, "", MachineLostError, "crashed", True),
    (EXITED, 137, "", MachineLostError, "crashed", True),
    ("", None, "", MachineLostError, "crashed", True),
    (EXITED, 75, "", MachineLostError, "crashed", True),
    (
        EXITED,
        137,
        "OutOfMemoryError: Container killed due to memory usage",
        OutOfMemoryError,
        "failed",
        False,
    ),
    (
        "Task failed to start",
        None,
        "CannotPullContainerError: pull image manifest has been retried: not found",
        ImageError,
        "failed",
        False,
    ),
    (
        "Task failed to start",
        None,
        "CannotPullContainerError: Error response from daemon: net/http: TLS handshake timeout",
        MachineLostError,
        "crashed",
        True,
    ),
    (
        "Task failed to start",
        None,
        "ResourceInitializationError: unable to pull secrets or registry auth: AccessDeniedException",
        ConfigurationError,
        "failed",
        False,
    ),
    (
        "Task failed to start",
        None,
        "ResourceInitializationError: failed to invoke EFS utils commands to set up EFS volumes",
        ConfigurationError,
        "failed",
        False,
    ),
    (
        "Task failed to start",
        None,
        "DockerTimeoutError: Could not transition to created; timed out after waiting 4m0s",
        MachineLostError,
        "crashed",
        True,
    ),
    (
        "Task failed to start",
        None,
        "CannotStartContainerError: exec: no such file: executable file not found in $PATH",
        ConfigurationError,
        "failed",
        False,
    ),
    (
        "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - The job resource requirement (vCPU/memory/GPU) is higher than "
        "that can be met by the CE(s) attached to the job queue.",
        None,
        "",
        CannotBePlacedError,
        "crashed",
        False,
    ),
    (
        "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY - The job queue cannot place the job",
        None,
        "",
        CannotBePlacedError,
        "crashed",
        False,
    ),
    (f"{PLACEMENT_REASON}: no machine", None, "", CannotBePlacedError, "crashed", False),
    ("Job attempt duration exceeded timeout", 137, "", TimeLimitError, "failed", False),
    (f"{CANCEL_REASON}: its run is cancelled", 143, "", EndedOnRequestError, "cancelled", False),
    ("somebody pressed the button", 137, "", EndedOnRequestError, "cancelled", False),
    (f"{CHILD_NODE_REASON} (1): Host EC2 (instance i-1) terminated", 143, "", MachineLostError, "crashed", True),
    (f"{CHILD_NODE_REASON} (1): exit code 1", 143, "", ContainerError, "failed", False),
    (EXITED, 1, "", ContainerError, "failed", False),
    (EXITED, 127, "", ConfigurationError, "failed", False),
    (EXITED, 139, "", ContainerError, "failed", False),
    ("OutOfMemoryError: Container killed due to memory usage", 137, "", OutOfMemoryError, "failed", False),
    ("make room for the demo", None, "", StartError, "crashed", False),
    ("Timeout waiting for network interface provisioning to complete.", None, "", MachineLostError, "crashed", True),
    (FAILED, None, "CannotPullContainerError: 429 Too Many Requests", MachineLostError, "crashed", True),
    (FAILED, None, "CannotPullContainerError: unexpected status: 503", MachineLostError, "crashed", True),
    (f"{FAILED}: CannotPullContainerError: manifest unknown", None, "", ImageError, "failed", False),
    (
        FAILED,
        None,
        "ResourceInitializationError: unable to pull secrets: context deadline exceeded",
        MachineLostError,
        "crashed",
        True,
    ),
    (FAILED, None, "SomethingNewError: nobody has seen this", StartError, "crashed", False),
    ("Invalid results, stopping the study", 143, "", EndedOnRequestError, "cancelled", False),
    ("OOM in my other job, I need the machine", 137, "", EndedOnRequestError, "cancelled", False),
]


@pytest.mark.parametrize(("status_reason", "exit_code", "reason", "error", "state", "again"), ENDINGS)
def test_each_way_to_end_has_its_error_its_state_and_a_remedy(
    status_reason: str, exit_code: int | None, reason: str, error: type[BatchError], state: str, again: bool
) -> None:
    ending = diagnose(failed(status_reason, exit_code, reason))
    assert type(ending.error) is error
    assert ending.error.remedy
    assert ending.error.where == "Batch job j-1"
    assert (ending.state, ending.try_again) == (state, again)


@pytest.mark.parametrize("words", [reason or status for status, _, reason, *_ in ENDINGS if len(reason or status) > 50])
def test_batchs_own_words_are_told(words: str) -> None:
    error = diagnose(failed(words)).error
    assert error is not None
    assert words.rstrip(".") in error.sentence


@pytest.mark.parametrize("case", FIELD, ids=lambda case: case.get("containerReason") or case["statusReason"])
def test_what_batch_said_in_the_field_means_what_it_meant(case: dict[str, Any]) -> None:
    reason, container = case["statusReason"], case.get("containerReason", "")
    started = case.get("started", False)
    ending = diagnose(BatchJob("j", "n", "FAILED", reason, case.get("exitCode"), container, has_started=started))
    expected = case["expect"]
    assert ending.error is not None
    assert (ending.state.capitalize(), ending.try_again) == (expected["state"], expected["again"])
    assert expected.get("names", "") in ending.error.sentence
    assert reason.rstrip(".") in ending.error.sentence
    assert container in ending.error.sentence


@pytest.mark.parametrize("code", [None, 1, 137, 143])
def test_the_containers_own_reason_is_never_dropped(code: int | None) -> None:
    error = diagnose(failed("an operator's words", code, "SomethingNewError: in the container")).error
    assert error is not None
    assert "an operator's words" in error.sentence
    assert "SomethingNewError: in the container" in error.sentence


@pytest.mark.parametrize("code", [0, 1, 143])
def test_a_container_may_answer_a_persons_request_with_any_code(code: int) -> None:
    detail = {"jobId": "j", "status": "FAILED", "statusReason": "make room", "isTerminated": True, "startedAt": 1}
    assert diagnose(BatchJob.of(detail | {"container": {"exitCode": code}})).state == "cancelled"


def test_which_exit_codes_are_tried_again_is_a_setting() -> None:
    assert diagnose(failed(EXITED, 75), retry_exit_codes=()).state == "failed"
    assert diagnose(failed(EXITED, 17), retry_exit_codes=(17,)).try_again


def test_success_has_no_error() -> None:
    ending = diagnose(BatchJob("j", "n", "SUCCEEDED", EXITED, 0))
    assert (ending.state, ending.error, ending.try_again) == ("completed", None, False)


@pytest.mark.parametrize(
    ("reason", "hopeless"),
    [
        ("MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - more than the CE(s) have", True),
        ("MISCONFIGURATION:SERVICE_ROLE_PERMISSIONS", False),
        ("CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY", False),
        ("", False),
    ],
)
def test_only_a_misfit_is_hopeless_before_its_time(reason: str, hopeless: bool) -> None:
    assert (misfit(BatchJob("j", "n", "RUNNABLE", reason)) is not None) == hopeless


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY", "No machine"),
        ("MISCONFIGURATION:SERVICE_ROLE_PERMISSIONS", "set up"),
        ("", "No machine"),
    ],
)
def test_waiting_too_long_is_told_with_batchs_reason(reason: str, word: str) -> None:
    error = not_placed(BatchJob("j", "n", "RUNNABLE", reason), 3_700)
    assert word in error.what
    assert reason in error.what
    assert "3700 s" in error.what


def test_the_last_attempts_words_count_where_the_job_has_none() -> None:
    detail: dict[str, Any] = {
        "jobId": "j",
        "status": "FAILED",
        "attempts": [
            {"container": {"exitCode": 1}},
            {"container": {"exitCode": 137, "reason": "OutOfMemoryError: x", "logStreamName": "s"}},
        ],
    }
    job = BatchJob.of(detail)
    assert (job.exit_code, job.container_reason, job.log_stream, job.attempts) == (137, "OutOfMemoryError: x", "s", 2)
