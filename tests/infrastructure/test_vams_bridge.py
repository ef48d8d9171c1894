"""The Lambda's handler: S3 by moto, Prefect by a stand-in of its two calls, Step Functions by a list."""

from __future__ import annotations

import ast
import json
import logging
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from moto import mock_aws

import handler as bridge_lambda
from bridge.errors import BridgeError, HopelessError
from bridge.prefect_api import PrefectApi, authorization, ui_url
from schemas.request import Request
from tasks.answer_records import Answer
from tests.infrastructure.prefect_stand_in import PrefectStandIn, prefect_stand_in
from tests.infrastructure.vams_event import EXECUTION, TOKEN, vams_event

BUCKET = "requests-bkt"
KEY = f"requests/{EXECUTION}/request.json"
LAMBDA = Path(bridge_lambda.__file__).parent


@dataclass
class StepFunctions:
    """Remembers answers; ``errors`` are raised, one a call."""

    sent: list[tuple[str, str, str]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def _fail(self) -> None:
        if self.errors:
            raise ClientError({"Error": {"Code": self.errors.pop(0), "Message": TOKEN}}, "SendTask")

    def send_task_success(self, *, taskToken: str, output: str) -> None:
        self._fail()
        self.sent.append(("success", taskToken, output))

    def send_task_failure(self, *, taskToken: str, error: str, cause: str) -> None:
        self._fail()
        self.sent.append((error, taskToken, cause))


@dataclass
class Bench:
    """Everything around the Lambda."""

    prefect: PrefectStandIn
    step_functions: StepFunctions
    s3: Any

    def document(self) -> Request:
        body = self.s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read()
        return Request.model_validate_json(body)

    def token(self) -> str:
        callback = self.document().callback
        assert callback is not None
        return callback.task_token.get_secret_value()

    def record_answer(self, attempt: int = 1, **changes: Any) -> None:
        """As the flows do it."""
        fields = {"attempt": attempt, "status": "failed", "error": "isaaclab.config", "cause": "why"}
        body = Answer.model_validate(fields | changes).model_dump_json()
        self.s3.put_object(Bucket=BUCKET, Key=f"requests/{EXECUTION}/answer-{attempt:03}.json", Body=body)


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as environment, mock_aws():
        environment.setenv("AWS_ACCESS_KEY_ID", "testing")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        environment.delenv("AWS_ENDPOINT_URL", raising=False)
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        yield client


@pytest.fixture
def bench(s3: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with prefect_stand_in() as prefect:
        for name, value in {
            "AWS_REGION": "eu-west-1",
            "REQUESTS_BUCKET": BUCKET,
            "REQUESTS_PREFIX": "requests/",
            "PREFECT_SECRET_ARN": "",
            "PREFECT_API_URL": prefect.url,
            "PIPELINE_DEPLOYMENT": "pipeline/isaaclab-pipeline",
        }.items():
            monkeypatch.setenv(name, value)
        step_functions = StepFunctions()
        clients = {"s3": s3, "stepfunctions": step_functions}
        monkeypatch.setattr(bridge_lambda, "_client", clients.__getitem__)
        monkeypatch.setattr(bridge_lambda, "_prefect", lambda: _api(prefect.url))
        yield Bench(prefect, step_functions, s3)
    monkeypatch.undo()
    for entry in s3.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        s3.delete_object(Bucket=BUCKET, Key=entry["Key"])


def _api(url: str) -> PrefectApi:
    return PrefectApi(url, None, pause=lambda _: None)


def test_an_event_starts_one_flow_run_that_is_given_only_the_document_s_uri(bench: Bench) -> None:
    result = bridge_lambda.handler(vams_event())
    (run,) = bench.prefect.runs.values()
    assert run["parameters"] == {"request_uri": f"s3://{BUCKET}/{KEY}"}
    assert TOKEN not in json.dumps(run)
    assert result["jobId"] == EXECUTION
    assert result["flowRunId"] == run["id"]
    assert result["flowRunUrl"].endswith(f"/runs/flow-run/{run['id']}")
    assert result["created"] is True
    callback = bench.document().callback
    assert callback is not None
    assert callback.document_uri == f"s3://{BUCKET}/{KEY}"
    assert callback.region == "eu-west-1"
    assert TOKEN not in json.dumps(result)


def test_only_the_request_document_holds_the_token_and_it_is_not_public(bench: Bench) -> None:
    bridge_lambda.handler(vams_event())
    listed = bench.s3.list_objects_v2(Bucket=BUCKET)["Contents"]
    assert [entry["Key"] for entry in listed] == [KEY]
    grants = bench.s3.get_object_acl(Bucket=BUCKET, Key=KEY)["Grants"]
    assert all("URI" not in grant["Grantee"] for grant in grants)


def test_logs_hold_neither_token_nor_claims(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="vams_bridge"):
        bridge_lambda.handler(vams_event())
        with pytest.raises(HopelessError):
            bridge_lambda.handler(vams_event(inputS3AssetFilePath="nonsense"))
    assert "delivered" in caplog.text
    assert "refused" in caplog.text
    assert TOKEN not in caplog.text
    assert "very-private-claim" not in caplog.text


def test_a_redelivery_finds_the_same_flow_run(bench: Bench) -> None:
    first = bridge_lambda.handler(vams_event())
    second = bridge_lambda.handler(vams_event())
    assert second["flowRunId"] == first["flowRunId"]
    assert second["created"] is False
    assert len(bench.prefect.runs) == 1


def test_a_retry_with_a_new_token_finds_the_same_run_and_its_token_is_the_one_to_answer(bench: Bench) -> None:
    first = bridge_lambda.handler(vams_event())
    second = bridge_lambda.handler(vams_event(token="token-2"))
    assert second["flowRunId"] == first["flowRunId"]
    assert bench.token() == "token-2"


def test_concurrent_deliveries_converge_on_one_run_and_the_newest_token(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    # moto inside this process is not made for threads: each call is atomic, as S3's are, and they still interleave.
    lock, call = threading.Lock(), bench.s3._make_api_call

    def one_at_a_time(*arguments: Any) -> Any:
        with lock:
            return call(*arguments)

    monkeypatch.setattr(bench.s3, "_make_api_call", one_at_a_time)
    events = [vams_event(token=f"token-{n}") for n in range(6)]
    results: list[dict[str, Any]] = []
    arrivals: dict[str, float] = {}

    def deliver(event: dict[str, Any]) -> None:
        result = bridge_lambda.handler(event)
        callback = bench.document().callback
        assert callback is not None
        arrivals[event["body"]["TaskToken"]] = callback.received_at
        results.append(result)

    threads = [threading.Thread(target=deliver, args=(event,)) for event in events]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    assert len({result["flowRunId"] for result in results}) == 1
    assert len(bench.prefect.runs) == 1
    final = bench.document().callback
    assert final is not None
    assert final.received_at == max(arrivals.values())


def test_a_late_older_delivery_does_not_overwrite_a_newer_token(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(time=iter([200.0, 100.0]).__next__)
    monkeypatch.setattr(bridge_lambda, "time", clock)
    bridge_lambda.handler(vams_event(token="newer"))
    bridge_lambda.handler(vams_event(token="older"))
    assert bench.token() == "newer"


def test_a_create_that_succeeded_but_whose_answer_was_lost_does_not_become_two_runs(bench: Bench) -> None:
    bench.prefect.faults = ["lost"]
    result = bridge_lambda.handler(vams_event())
    assert len(bench.prefect.runs) == 1
    assert result["created"] is False


def test_a_locked_database_is_tried_again(bench: Bench) -> None:
    bench.prefect.faults = [503, 503]
    assert bridge_lambda.handler(vams_event())["created"] is True


def test_a_server_that_stays_down_raises_so_that_vams_retries(bench: Bench) -> None:
    bench.prefect.faults = [503] * 3
    with pytest.raises(BridgeError, match="Is the server up") as caught:
        bridge_lambda.handler(vams_event())
    assert not isinstance(caught.value, HopelessError)
    assert bench.step_functions.sent == []


def test_no_server_at_all_raises_so_that_vams_retries(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge_lambda, "_prefect", lambda: _api("http://127.0.0.1:9/api"))
    with pytest.raises(BridgeError, match="Is the server up"):
        bridge_lambda.handler(vams_event())


def test_an_unknown_deployment_is_told_to_vams_and_raised(bench: Bench) -> None:
    bench.prefect.deployment = "pipeline/other"
    with pytest.raises(HopelessError):
        bridge_lambda.handler(vams_event())
    ((error, token, cause),) = bench.step_functions.sent
    assert error == "isaaclab.unknown_deployment"
    assert token == TOKEN
    assert "prefect deploy --all" in cause


@pytest.mark.parametrize("status", [409, 422])
def test_refused_parameters_are_told_to_vams_and_raised(bench: Bench, status: int) -> None:
    bench.prefect.faults = [status]
    with pytest.raises(HopelessError):
        bridge_lambda.handler(vams_event())
    assert bench.step_functions.sent[0][0] == "isaaclab.prefect_refused"


def test_a_malformed_event_with_a_token_is_told_to_vams_and_raised(bench: Bench) -> None:
    with pytest.raises(HopelessError):
        bridge_lambda.handler(vams_event(inputS3AssetFilePath=None))
    assert [(error, token) for error, token, _ in bench.step_functions.sent] == [("isaaclab.malformed_event", TOKEN)]
    assert bench.prefect.runs == {}


def test_a_malformed_event_without_a_token_is_raised(bench: Bench) -> None:
    with pytest.raises(HopelessError):
        bridge_lambda.handler({"body": {}})
    assert bench.step_functions.sent == []


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


def test_credentials_are_cached_and_read_again_when_they_are_refused() -> None:
    secrets = iter([{"api_key": "old"}, {"api_key": "new"}])
    reads = 0

    def read() -> dict[str, str]:
        nonlocal reads
        reads += 1
        return next(secrets)

    with prefect_stand_in() as prefect:
        api = PrefectApi(prefect.url, read, pause=lambda _: None)
        prefect.authorization = "Bearer old"
        api.start(prefect.deployment, parameters={}, key="a", name="n", tags=[])
        assert reads == 1
        prefect.authorization = "Bearer new"
        api.start(prefect.deployment, parameters={}, key="b", name="n", tags=[])
        assert reads == 2


def test_credentials_that_stay_refused_are_hopeless() -> None:
    with prefect_stand_in() as prefect:
        prefect.authorization = "Bearer right"
        api = PrefectApi(prefect.url, lambda: {"api_key": "wrong"}, pause=lambda _: None)
        with pytest.raises(HopelessError, match="PREFECT_SECRET_ARN"):
            api.start(prefect.deployment, parameters={}, key="a", name="n", tags=[])


def test_both_kinds_of_credentials_make_their_header() -> None:
    assert authorization({"api_key": "k"}) == "Bearer k"
    assert authorization({"auth_string": "admin:pass"}) == "Basic YWRtaW46cGFzcw=="
    with pytest.raises(HopelessError):
        authorization({})


@pytest.mark.parametrize(
    ("api", "page"),
    [
        ("http://server:4200/api", "http://server:4200/runs/flow-run/r1"),
        (
            "https://api.prefect.cloud/api/accounts/a/workspaces/w",
            "https://app.prefect.cloud/account/a/workspace/w/runs/flow-run/r1",
        ),
    ],
)
def test_the_link_leads_to_the_ui_of_the_api(api: str, page: str) -> None:
    assert ui_url(api, "r1") == page


def test_the_package_is_a_few_kilobytes_of_the_standard_library_and_boto3() -> None:
    sources = [path for path in LAMBDA.rglob("*.py") if "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in sources) < 40_000
    allowed = {*sys.stdlib_module_names, "boto3", "botocore", "bridge"}
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert {name.partition(".")[0] for name in names} <= allowed, source
