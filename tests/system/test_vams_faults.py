"""The matrix of faults: whatever fails or dies wherever, VAMS gets exactly one answer and the job runs once at a time.

`pytest tests/system/test_vams_faults.py -s` prints it as a table.
"""

from __future__ import annotations

import json
import multiprocessing
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import botocore.client
import pytest
from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError

import handler as bridge_lambda
from tests.infrastructure.prefect_stand_in import PrefectStandIn, prefect_stand_in
from tests.infrastructure.vams_event import vams_event
from tests.system.vams.contract_2_6 import Run26
from tests.system.vams.step_functions import Execution, StepFunctions, step_functions
from tests.system.vams.stubbed_run import Plan, run_handler, run_pipeline, write_name

BUCKETS = ("asset-bkt", "aux-bkt", "requests-bkt", "run-bkt")
CONTRACTS = ("2.5", "2.6")
BOTH = ("fails", "succeeds but times out")
WRITES = (
    "job.json",
    "staged model_9.pt",
    "outcome.json",
    "published model_9.pt",
    "published summary.json",
    "preview",
    "metadata",
    "answer-001.json",
    "SendTaskSuccess",
    "sent",
)
CONFIG = {
    "name": "Cartpole",
    "description": "",
    "trainingConfig": {"mode": "train", "task": "Isaac-Cartpole-Direct", "numEnvs": 4, "maxIterations": 10}
    | {"rlLibrary": "rsl_rl"},
    "computeConfig": {"numNodes": 1},
}
TABLE: list[tuple[str, ...]] = []


@dataclass(frozen=True)
class Case:
    """One row.

    Attributes:
        what: In words.
        first: What goes wrong in the first pipeline process.
        handler: What goes wrong in the error handler.
        calls: Faults of Step Functions, by method.
        prefect: Faults of creating the flow run.
        bridge: Faults of the Lambda's own writes.
        heard: False where the error handler never runs: only VAMS's own timeout notices.
        ends: How VAMS's execution ends.
    """

    what: str
    first: Plan = field(default_factory=Plan)
    handler: Plan = field(default_factory=Plan)
    calls: dict[str, list[str]] = field(default_factory=dict)
    prefect: tuple[int | str, ...] = ()
    bridge: dict[str, str] = field(default_factory=dict)
    heard: bool = True
    ends: str = "SUCCEEDED"
    broken_config: bool = False


def cases() -> Iterator[Case]:
    yield Case("nothing goes wrong")
    yield Case("a configuration that is wrong", broken_config=True, ends="FAILED")
    for fault in BOTH:
        yield Case(f"the bridge's PutObject {fault}", bridge={"staged request.json": fault})
        yield Case(f"creating the flow run {fault}", prefect=("lost",) if fault != "fails" else (503, 503, 503))
        for write in WRITES:
            if not write.startswith("SendTask"):
                yield Case(f"PutObject of {write} {fault}", first=Plan(faults={write: fault}))
        for method in ("SendTaskSuccess", "SendTaskHeartbeat"):
            yield Case(f"{method} {fault}", calls={method: [fault] * 4})
        yield Case(
            f"SendTaskFailure {fault}", calls={"SendTaskFailure": [fault] * 4}, broken_config=True, ends="FAILED"
        )
    for moment in ("before", "after"):
        for write in WRITES:
            yield Case(f"kill -9 {moment} {write}", first=Plan(kill=(moment, write)))
        yield Case(f"kill -9 {moment} outcome.json, unheard", first=Plan(kill=(moment, "outcome.json")), heard=False)
        yield Case(
            f"kill -9 {moment} answer-001.json, unheard", first=Plan(kill=(moment, "answer-001.json")), heard=False
        )
        yield Case(
            f"kill -9 {moment} job.json, and of the handler {moment} its answer-001.json",
            first=Plan(kill=(moment, "job.json")),
            handler=Plan(kill=(moment, "answer-001.json")),
        )


@dataclass
class Bench:
    """The servers, and what runs for one case."""

    aws: StepFunctions
    s3: Any
    environment: dict[str, str]
    processes: Any
    folder: Path

    def run(self, case: Case, prefect: PrefectStandIn, number: int, contract: str) -> Execution:
        """Run VAMS's state machine once through a case."""
        job_id = f"case-{number:03}-{contract[-1]}"
        of_2_6 = Run26(self.s3, job_id, file="training/c.json")
        config = {**CONFIG, "computeConfig": {"numNodes": 0}} if case.broken_config else CONFIG
        self.s3.put_object(Bucket="asset-bkt", Key="xAsset/training/c.json", Body=json.dumps(config))
        self.aws.faults = {method: list(faults) for method, faults in case.calls.items()}  # type: ignore[misc]
        prefect.faults = list(case.prefect)
        stop = threading.Event()
        worker = threading.Thread(target=self._work, args=(case, prefect, stop))
        worker.start()

        def event_of(token: str) -> dict[str, Any]:
            if contract == "2.6":
                return of_2_6.event(token)
            return vams_event(
                execution=job_id, token=token, inputS3AssetFilePath="s3://asset-bkt/xAsset/training/c.json"
            )

        try:
            return self.aws.run(event_of, bridge_lambda.handler, timeout=60, heartbeat=None if case.heard else 8.0)
        finally:
            stop.set()
            worker.join()

    def _work(self, case: Case, prefect: PrefectStandIn, stop: threading.Event) -> None:
        """Prefect's worker and automation: runs what was created, and the handler for what was killed."""
        done: set[str] = set()
        while True:
            waiting = [key for key in list(prefect.runs) if key not in done]
            for key in waiting:
                done.add(key)
                run = prefect.runs[key]
                plan = case.first if len(done) == 1 else Plan()
                uri = run["parameters"]["request_uri"]
                code = self._process(run_pipeline, uri, plan)
                run["state"]["type"] = "CRASHED" if code < 0 else "FAILED" if code else "COMPLETED"
                if code and case.heard:
                    plans = [case.handler, Plan()] if case.handler.kill else [case.handler]
                    for handler_plan in plans:
                        self._process(run_handler, uri, run["tags"], handler_plan)
            if stop.is_set() and not waiting:
                return
            stop.wait(0.05)

    def _process(self, target: Any, *arguments: Any) -> int:
        process = self.processes.Process(
            target=target, args=(*arguments, self.environment, str(self.folder / "processes.log"))
        )
        process.start()
        process.join(60)
        assert process.exitcode is not None
        return int(process.exitcode)

    def leaks(self, token: str) -> list[str]:
        """Return where a token lies that is not its request document."""
        found = [path.name for path in self.folder.rglob("*") if path.is_file() and token in path.read_text("latin-1")]
        for bucket in BUCKETS:
            for entry in self.s3.list_objects_v2(Bucket=bucket).get("Contents", []):
                body = self.s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
                if token.encode() in body and not entry["Key"].endswith("/request.json"):
                    found.append(entry["Key"])
        return found

    def clear(self) -> None:
        for bucket in BUCKETS:
            for entry in self.s3.list_objects_v2(Bucket=bucket).get("Contents", []):
                self.s3.delete_object(Bucket=bucket, Key=entry["Key"])
        (self.folder / "jobs" / "most-live").unlink(missing_ok=True)
        self.aws.calls.clear()


@pytest.fixture(scope="module")
def bench(moto_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("faults")
    (folder / "jobs").mkdir()
    with step_functions(interval=0.05) as stand_in, pytest.MonkeyPatch.context() as patch:
        environment = {
            "AWS_ENDPOINT_URL": moto_server,
            "AWS_ENDPOINT_URL_SFN": stand_in.url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "ISAACLAB_FLOWS_JOBS_FOLDER": str(folder / "jobs"),
            "ISAACLAB_FLOWS_DEVICE": "cpu",
        }
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setenv("REQUESTS_BUCKET", "requests-bkt")
        patch.setenv("PREFECT_SECRET_ARN", "")
        client = boto3.client("s3")
        for bucket in BUCKETS:
            client.create_bucket(Bucket=bucket)
        # One clean process has everything imported; each case's processes are forked from it.
        processes = multiprocessing.get_context("forkserver")
        processes.set_forkserver_preload(["tests.system.vams.stubbed_run"])
        yield Bench(stand_in, client, environment, processes, folder)
    bridge_lambda._client.cache_clear()
    bridge_lambda._prefect.cache_clear()


@pytest.fixture(scope="module", autouse=True)
def _table() -> Iterator[None]:
    yield
    widths = [max(len(row[column]) for row in TABLE) for column in range(6)] if TABLE else []
    for row in TABLE:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))


@pytest.mark.parametrize("contract", CONTRACTS)
@pytest.mark.parametrize(("number", "case"), enumerate(cases()), ids=[case.what for case in cases()])
def test_exactly_one_answer_at_most_one_live_job_and_no_token_anywhere(
    bench: Bench, number: int, case: Case, contract: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bridge_lambda._client.cache_clear()
    bridge_lambda._prefect.cache_clear()
    with prefect_stand_in() as prefect:
        monkeypatch.setenv("PREFECT_API_URL", prefect.url)
        _break_the_bridge(monkeypatch, dict(case.bridge))
        execution = bench.run(case, prefect, number, contract)
        runs = len(prefect.runs)
    answered = [attempt for attempt in execution.attempts if attempt.by_token]
    accepted = [call.token for call in bench.aws.accepted()]
    live = [int(line) for line in _lines(bench.folder / "jobs" / "most-live")]
    leaks = [place for attempt in execution.attempts for place in bench.leaks(attempt.token)]
    bench.clear()
    TABLE.append(
        (
            f"VAMS {contract}",
            case.what,
            execution.status,
            f"answers {len(answered)}",
            f"runs {runs}",
            f"live {max(live, default=0)}",
        )
    )

    assert execution.status == case.ends, (execution.error, execution.cause)
    assert execution.attempts[-1].by_token
    assert len(accepted) == len(set(accepted)) == len(answered)
    assert max(live, default=0) <= 1
    assert leaks == []
    if case.ends == "SUCCEEDED":
        assert [attempt for attempt in answered if "output" in (attempt.result or {})] == [execution.attempts[-1]]
        assert execution.output is not None
        assert execution.output["training"]["iterations"] == 10
    else:
        assert execution.error == "isaaclab.config"
        # VAMS retries every failure; the recorded answer is repeated and no second run is started.
        assert runs == 1


def _lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def _break_the_bridge(monkeypatch: pytest.MonkeyPatch, waiting: dict[str, str]) -> None:
    """Let the Lambda's own writes, which happen in this process, fail with all of their client's tries."""
    call = botocore.client.BaseClient._make_api_call  # type: ignore[attr-defined]

    def faulty(self: Any, operation: str, parameters: dict[str, Any]) -> Any:
        name = write_name(operation, str(parameters.get("Key", "")))
        fault = waiting.pop(name, None) if name else None
        if fault == "fails":
            raise ConnectTimeoutError(endpoint_url="injected")
        answer = call(self, operation, parameters)
        if fault:
            raise ReadTimeoutError(endpoint_url="injected")
        return answer

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", faulty)
