"""Heartbeats and answers against a stand-in of Step Functions, with the requests bucket in moto."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ReadTimeoutError
from moto import mock_aws

from isaaclab_flows.schemas.errors import ConfigError, FlowsError, InfrastructureLostError, SimulatorError, StorageError
from isaaclab_flows.schemas.request import Request
from isaaclab_flows.schemas.settings import settings
from isaaclab_flows.tasks.request.document import read_request
from isaaclab_flows.tasks.storage import s3
from isaaclab_flows.tasks.vams import answers
from isaaclab_flows.tasks.vams import callback as vams
from isaaclab_flows.tasks.vams import records as answer_records
from tests.system.vams.step_functions import Attempt, StepFunctions, step_functions
from tests.tasks.vams.vams_job import JOB_ID, job, outcome

BUCKET = "requests-bkt"
FOLDER = f"requests/{JOB_ID}"
URI = f"s3://{BUCKET}/{FOLDER}/request.json"


@dataclass
class Bench:
    """One execution that waits."""

    aws: StepFunctions
    s3: Any

    def deliver(self, token: str, attempt: int = 1) -> Request:
        """A token arrives, as the bridge records it, and its attempt waits."""
        document = {
            "version": 1,
            "jobId": JOB_ID,
            "source": "vams",
            "outputUri": "s3://asset-bkt/out/files/",
            "callback": {
                "taskToken": token,
                "documentUri": URI,
                "attempt": attempt,
                "receivedAt": 1.0,
                "region": "us-east-1",
                "heartbeatSeconds": 0.05,
            },
        }
        self.s3.put_object(Bucket=BUCKET, Key=f"{FOLDER}/request.json", Body=json.dumps(document))
        self.aws._attempts[token] = Attempt(token, 0.0, 0.0)
        return read_request(URI)

    def answer_of(self, token: str) -> dict[str, Any] | None:
        return self.aws._attempts[token].result

    def names(self) -> list[str]:
        listed = self.s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return [entry["Key"].removeprefix(f"{FOLDER}/") for entry in listed]


@pytest.fixture(scope="module")
def servers() -> Iterator[Bench]:
    with pytest.MonkeyPatch.context() as environment, mock_aws(), step_functions() as stand_in:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            environment.setenv(name, "testing")
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        environment.delenv("AWS_ENDPOINT_URL", raising=False)
        environment.setenv("AWS_ENDPOINT_URL_SFN", stand_in.url)
        s3._client_for.cache_clear()
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        # One client for all tests, because making one costs more than they do; without its own tries, which pause.
        once = Config(retries={"total_max_attempts": 1})
        sfn = boto3.client("stepfunctions", region_name="us-east-1", config=once)
        environment.setattr(vams, "_step_functions", lambda _: sfn)
        yield Bench(stand_in, client)
        s3._client_for.cache_clear()


@pytest.fixture
def bench(servers: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(vams, "RETRY_SECONDS", 0.05)
    yield servers
    servers.aws.calls.clear()
    servers.aws.faults.clear()
    servers.aws._attempts.clear()
    for key in servers.names():
        servers.s3.delete_object(Bucket=BUCKET, Key=f"{FOLDER}/{key}")


def wait_for(event: threading.Event) -> None:
    assert event.wait(10)


def beats(bench: Bench, least: int) -> None:
    """Wait for so many heartbeats."""
    for _ in range(400):
        if len(bench.aws.accepted("SendTaskHeartbeat")) >= least:
            return
        threading.Event().wait(0.025)
    pytest.fail(f"{len(bench.aws.accepted('SendTaskHeartbeat'))} heartbeats came")


def test_success_is_answered_with_a_small_summary(bench: Bench) -> None:
    request = bench.deliver("token-1")
    vams.answer_success(request, job(), outcome(), links={"flowRun": "https://prefect/1"})
    result = bench.answer_of("token-1")
    assert result is not None
    assert result["output"]["jobId"] == JOB_ID
    assert result["output"]["training"]["finalReward"] == 4.5
    assert result["output"]["links"] == {"flowRun": "https://prefect/1"}


def test_failure_is_answered_with_one_sentence_that_says_what_where_and_what_to_do(bench: Bench) -> None:
    request = bench.deliver("token-1")
    error = ConfigError("'numEnvs' is 0", where="trainingConfig.numEnvs", remedy="Allowed: 1 or more.")
    vams.answer_failure(request, error)
    assert bench.answer_of("token-1") == {"error": "isaaclab.config", "cause": error.sentence}


def test_a_second_answer_is_never_a_different_one(bench: Bench) -> None:
    request = bench.deliver("token-1")
    vams.answer_success(request, job(), outcome())
    vams.answer_failure(request, SimulatorError("too late"))
    assert [call.method for call in bench.aws.calls] == ["SendTaskSuccess"]
    recorded = answer_records.recorded_answer(request.callback)  # type: ignore[arg-type]
    assert recorded is not None
    assert recorded.status == "succeeded"


def test_the_intent_is_recorded_before_sending_and_the_result_after(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr(vams, "_send", lambda *_: seen.append(bench.names()) or "accepted")
    vams.answer_failure(bench.deliver("token-1"), SimulatorError("x"))
    assert seen == [["answer-001.json", "request.json"]]
    assert any(key.startswith("answer-001.sent-") for key in bench.names())


def test_an_intent_whose_process_died_before_sending_is_sent_on_restart(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = bench.deliver("token-1")

    def dies(*_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as killed:
        killed.setattr(vams, "_send", dies)
        with pytest.raises(SystemExit):
            vams.answer_success(request, job(), outcome())
    assert bench.answer_of("token-1") is None
    vams.answer_failure(request, InfrastructureLostError("the process died"))
    result = bench.answer_of("token-1")
    assert result is not None
    assert "output" in result


def test_a_process_that_died_after_sending_and_before_recording_is_reconciled(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = bench.deliver("token-1")

    def dies(*_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as killed:
        killed.setattr(vams, "record_sent", dies)
        with pytest.raises(SystemExit):
            vams.answer_success(request, job(), outcome())
    answer = vams.resend(request)
    assert answer is not None
    assert len(bench.aws.accepted()) == 1
    assert any(key.startswith("answer-001.sent-") for key in bench.names())


@pytest.mark.parametrize("fault", ["fails", "succeeds but times out"])
@pytest.mark.parametrize("method", ["SendTaskSuccess", "SendTaskFailure"])
def test_a_faulty_answer_call_ends_with_exactly_one_answer(bench: Bench, method: str, fault: Any) -> None:
    bench.aws.faults[method] = [fault] * 2
    request = bench.deliver("token-1")
    if method == "SendTaskSuccess":
        vams.answer_success(request, job(), outcome())
    else:
        vams.answer_failure(request, SimulatorError("x"))
    assert len(bench.aws.accepted()) == 1
    assert bench.answer_of("token-1") is not None


@pytest.mark.parametrize("arrives", [False, True], ids=["fails", "succeeds but times out"])
def test_a_faulty_write_of_the_intent_ends_with_exactly_one_answer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, arrives: bool
) -> None:
    client = s3.s3_client()
    put = client.put_object

    def faulty(**parameters: Any) -> None:
        if arrives:
            put(**parameters)
        raise ReadTimeoutError(endpoint_url="https://s3")

    request = bench.deliver("token-1")
    with monkeypatch.context() as broken:
        broken.setattr(client, "put_object", faulty)
        with pytest.raises(StorageError):
            vams.answer_success(request, job(), outcome())
    assert bench.aws.accepted() == []
    vams.answer_success(request, job(), outcome())  # what handle-error or a restart comes to
    assert len(bench.aws.accepted()) == 1


def test_the_newest_token_is_the_one_answered(bench: Bench) -> None:
    request = bench.deliver("token-1")
    bench.deliver("token-2")
    vams.answer_success(request, job(), outcome())
    assert bench.answer_of("token-1") is None
    assert bench.answer_of("token-2") is not None


def test_a_token_that_arrives_while_the_answer_is_sent_is_answered_too(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = bench.deliver("token-1")
    record = vams.record_sent

    def arrives_meanwhile(callback: Any, result: Any) -> None:
        record(callback, result)
        if callback.task_token.get_secret_value() == "token-1":
            bench.deliver("token-2")

    monkeypatch.setattr(vams, "record_sent", arrives_meanwhile)
    vams.answer_success(request, job(), outcome())
    assert bench.answer_of("token-2") == bench.answer_of("token-1")


def test_an_attempt_that_a_newer_one_replaced_stays_silent(bench: Bench) -> None:
    old = bench.deliver("token-1")
    bench.deliver("token-2", attempt=2)
    assert vams.answer_failure(old, InfrastructureLostError("lost")) is None
    assert bench.aws.calls == []
    assert bench.names() == ["request.json"]


def test_a_request_of_somebody_else_answers_nobody(bench: Bench) -> None:
    plain = Request(job_id="j", source="cli", output_uri="out")
    assert vams.answer_success(plain, job(), outcome()) is None
    assert vams.answer_failure(plain, FlowsError("x")) is None
    assert vams.resend(plain) is None
    with vams.start_heartbeats(plain) as heartbeats:
        assert heartbeats is None
    assert bench.aws.calls == []


def test_heartbeats_go_out_until_the_block_ends(bench: Bench) -> None:
    with vams.start_heartbeats(bench.deliver("token-1")):
        beats(bench, 3)
    count = len(bench.aws.calls)
    threading.Event().wait(0.15)
    assert len(bench.aws.calls) == count


@pytest.mark.parametrize("fault", ["fails", "succeeds but times out"])
def test_heartbeats_go_on_after_faults(bench: Bench, fault: Any) -> None:
    bench.aws.faults["SendTaskHeartbeat"] = [fault] * 2
    with vams.start_heartbeats(bench.deliver("token-1")) as heartbeats:
        beats(bench, 2)
        assert heartbeats is not None
        assert not heartbeats.unawaited.is_set()


def test_heartbeats_move_to_the_newest_token(bench: Bench) -> None:
    with vams.start_heartbeats(bench.deliver("token-1")):
        beats(bench, 1)
        bench.aws._attempts["token-1"].result = {"error": "States.HeartbeatTimeout", "cause": ""}
        bench.deliver("token-2")
        beats(bench, len(bench.aws.accepted("SendTaskHeartbeat")) + 2)
    assert bench.aws.calls[-1].token == "token-2"


def test_an_expired_token_is_noticed_logged_without_it_recorded_and_ends_the_job(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ISAACLAB_FLOWS_END_UNAWAITED_AFTER_SECONDS", "0.2")
    settings.cache_clear()
    ended = threading.Event()
    request = bench.deliver("a-secret-token")
    bench.aws._attempts.clear()
    with caplog.at_level(logging.DEBUG, logger="isaaclab_flows"), vams.start_heartbeats(request, ended.set) as beating:
        wait_for(ended)
        assert beating is not None
        assert beating.unawaited.is_set()
    assert "no longer waits" in caplog.text
    assert "a-secret-token" not in caplog.text
    assert "answer-001.unawaited.json" in bench.names()


def test_a_job_that_nobody_waits_for_may_be_let_go_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISAACLAB_FLOWS_END_UNAWAITED_AFTER_SECONDS", "0")
    settings.cache_clear()
    request = bench.deliver("token-1")
    bench.aws._attempts.clear()
    with vams.start_heartbeats(request) as heartbeats:
        threading.Event().wait(0.3)
        assert heartbeats is not None
        assert not heartbeats.unawaited.is_set()


def test_no_object_but_the_request_document_holds_the_token(bench: Bench) -> None:
    request = bench.deliver("a-secret-token")
    vams.answer_failure(request, SimulatorError("quoting a-secret-token", details="a-secret-token"))
    for key in bench.names():
        body = bench.s3.get_object(Bucket=BUCKET, Key=f"{FOLDER}/{key}")["Body"].read().decode()
        assert ("a-secret-token" in body) == (key == "request.json"), key


def test_a_long_log_keeps_the_sentence_and_its_last_lines() -> None:
    details = "\n".join(f"line {n}" for n in range(20_000))
    answer = answers.failure(SimulatorError("It broke", remedy="Mend it.", details=details), attempt=1, secret="")
    assert len(answer.cause) <= answers.MOST_CAUSE
    assert answer.cause.startswith("It broke. Mend it.")
    assert answer.cause.endswith("line 19999")


@pytest.mark.parametrize(
    ("error", "retryable"),
    [(InfrastructureLostError("x"), True), (ConfigError("x"), False), (SimulatorError("x"), False), (OSError(), False)],
)
def test_only_what_another_attempt_may_mend_is_retryable(error: BaseException, retryable: bool) -> None:
    assert answers.failure(error, attempt=1, secret="").retryable is retryable


def test_a_success_stays_within_step_functions_limit_however_much_there_is_to_say() -> None:
    evaluations = outcome("evaluation").evaluations * 3_000
    huge = outcome("evaluation", evaluations=evaluations, warnings=("w" * 1_000,) * 500)
    answer = answers.success(job("evaluation"), huge, attempt=1)
    assert len(json.dumps(answer.output)) <= answers.MOST_OUTPUT
    assert answer.output is not None
    assert answer.output["evaluationsInAll"] == 3_000


def test_a_request_dumped_in_any_way_shows_no_token(bench: Bench) -> None:
    request = bench.deliver("a-secret-token")
    for text in (repr(request), str(request), request.model_dump_json(), json.dumps(request.model_dump(mode="json"))):
        assert "a-secret-token" not in text
    assert request.without_callback().callback is None
