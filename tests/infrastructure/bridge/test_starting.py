"""From VAMS's event to one flow run, whatever is delivered twice, late or to a server that is down."""

from __future__ import annotations

import json
import logging
import threading
from types import SimpleNamespace
from typing import Any

import pytest

import handler as bridge_lambda
from bridge.errors import BridgeError, HopelessError
from tests.infrastructure.bridge.conftest import BUCKET, KEY, Bench, api_of
from tests.infrastructure.vams_event import EXECUTION, TOKEN, vams_event


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
    monkeypatch.setattr(bridge_lambda, "_prefect", lambda: api_of("http://127.0.0.1:9/api"))
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
