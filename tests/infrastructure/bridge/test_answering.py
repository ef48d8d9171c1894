"""What the Lambda does with a token: answers it, hands it on, or says why it cannot."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

import handler as bridge_lambda
from bridge.errors import BridgeError
from tests.infrastructure.bridge.conftest import KEY, Bench
from tests.infrastructure.vams_event import EXECUTION, TOKEN, vams_event


def test_a_finished_failure_is_given_to_a_new_token_at_once_and_starts_nothing(bench: Bench) -> None:
    bridge_lambda.handler(vams_event())
    bench.record_answer()
    result = bridge_lambda.handler(vams_event(token="token-2"))
    assert bench.step_functions.sent == [("isaaclab.config", "token-2", "why")]
    assert result["answered"] is True
    assert len(bench.prefect.runs) == 1


def test_a_finished_success_is_given_to_a_new_token_at_once(bench: Bench) -> None:
    bridge_lambda.handler(vams_event())
    bench.record_answer(status="succeeded", output={"jobId": EXECUTION})
    bridge_lambda.handler(vams_event(token="token-2"))
    assert bench.step_functions.sent == [("success", "token-2", json.dumps({"jobId": EXECUTION}))]


def test_a_lost_machine_s_failure_makes_a_new_attempt_that_resumes_under_the_same_job_id(bench: Bench) -> None:
    bridge_lambda.handler(vams_event())
    bench.record_answer(error="isaaclab.infrastructure_lost", retryable=True)
    result = bridge_lambda.handler(vams_event(token="token-2"))
    assert result["attempt"] == 2
    assert result["created"] is True
    assert sorted(bench.prefect.runs) == [f"vams-{EXECUTION}-1", f"vams-{EXECUTION}-2"]
    assert bench.document().job_id == EXECUTION
    again = bridge_lambda.handler(vams_event(token="token-2"))
    assert again["attempt"] == 2
    assert again["created"] is False


def test_a_run_that_died_unheard_gets_a_new_attempt(bench: Bench) -> None:
    bridge_lambda.handler(vams_event())
    (run,) = bench.prefect.runs.values()
    run["state"]["type"] = "CRASHED"
    result = bridge_lambda.handler(vams_event(token="token-2"))
    assert result["attempt"] == 2
    callback = bench.document().callback
    assert callback is not None
    assert callback.attempt == 2


def test_an_answer_decided_while_the_new_token_arrived_reaches_the_new_token(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pipeline decides with the old token between the document's writing and the flow run's finding."""
    start = bridge_lambda._start

    def answer_meanwhile(*arguments: Any) -> Any:
        bench.record_answer()
        return start(*arguments)

    bridge_lambda.handler(vams_event())
    monkeypatch.setattr(bridge_lambda, "_start", answer_meanwhile)
    bridge_lambda.handler(vams_event(token="token-2"))
    assert bench.step_functions.sent == [("isaaclab.config", "token-2", "why")]


@pytest.mark.parametrize("code", ["TaskTimedOut", "InvalidToken", "TaskDoesNotExist"])
def test_a_token_that_nobody_waits_for_is_no_error(bench: Bench, code: str) -> None:
    bridge_lambda.handler(vams_event())
    bench.record_answer()
    bench.step_functions.errors = [code]
    assert bridge_lambda.handler(vams_event(token="token-2"))["answered"] is False


def test_an_answer_that_could_not_be_sent_raises_without_quoting_the_token(bench: Bench) -> None:
    bench.record_answer()
    bench.step_functions.errors = ["ThrottlingException"]
    with pytest.raises(BridgeError, match="ThrottlingException") as caught:
        bridge_lambda.handler(vams_event())
    assert TOKEN not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("arrives", [False, True], ids=["fails", "succeeds but times out"])
def test_a_document_that_cannot_be_written_raises_and_the_retry_converges(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, arrives: bool
) -> None:
    put = bench.s3.put_object

    def broken(**parameters: Any) -> None:
        if arrives:
            put(**parameters)
        raise ReadTimeoutError(endpoint_url="https://s3")

    monkeypatch.setattr(bench.s3, "put_object", broken)
    with pytest.raises(BridgeError, match="cannot be written") as caught:
        bridge_lambda.handler(vams_event())
    assert TOKEN not in str(caught.value)
    monkeypatch.setattr(bench.s3, "put_object", put)
    bridge_lambda.handler(vams_event(token="token-2"))
    assert len(bench.prefect.runs) == 1
    assert bench.token() == "token-2"


def test_a_missing_object_may_be_denied_instead_where_listing_is_bound_to_a_prefix(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = bench.s3.get_object

    def denying(**parameters: Any) -> Any:
        try:
            return get(**parameters)
        except ClientError:
            raise ClientError({"Error": {"Code": "AccessDenied"}}, "GetObject") from None

    monkeypatch.setattr(bench.s3, "get_object", denying)
    assert bridge_lambda.handler(vams_event())["created"] is True
    bench.record_answer()
    monkeypatch.setattr(bench.s3, "list_objects_v2", lambda **_: {"Contents": [{"Key": KEY}]})
    monkeypatch.setattr(bench.s3, "get_object", _denied)
    with pytest.raises(BridgeError, match="AccessDenied"):
        bridge_lambda.handler(vams_event())


def _denied(**_: Any) -> None:
    raise ClientError({"Error": {"Code": "AccessDenied"}}, "GetObject")
