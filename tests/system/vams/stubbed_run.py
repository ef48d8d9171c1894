"""The pipeline's own process with the simulation stubbed out: real storage and answers, faults and kills on order.

Prefect's engine is left out (the flows' bodies run), so that one case costs a second; that Prefect itself notices a
killed process and runs the handler is proven once, with the real server and worker, in test_vams_lost.py.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

import pytest
from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError

import isaaclab_flows.flows.close
import isaaclab_flows.flows.handle_error
import isaaclab_flows.flows.open
import isaaclab_flows.flows.orchestrate
from isaaclab_flows.schemas.files import write_whole
from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.outcome import Outcome, TrainingSummary
from isaaclab_flows.tasks.job.folder import folder_of
from isaaclab_flows.tasks.job.hand_over import save_outcome, take_over
from isaaclab_flows.tasks.job.lease import lease
from isaaclab_flows.tasks.request.document import read_request
from isaaclab_flows.tasks.results.publisher import Mirror
from isaaclab_flows.tasks.results.tree import inventory
from isaaclab_flows.tasks.storage import storage_at
from isaaclab_flows.tasks.vams import callback as vams
from tests.aws_faults import Try, around_each_try, without_pauses

PICTURE = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8cfc000000301"
    "0100c9fe92ef0000000049454e44ae426082"
)
OUTPUTS = {
    "metrics.csv": b"iteration,mean_reward\n0,1.0\n9,2.0\n",
    "summary.json": b"{}",
    "training-config.json": b"{}",
    "learning-curve.png": PICTURE,
    "checkpoints/model_9.pt": b"weights",
}


@dataclass(frozen=True)
class Plan:
    """What goes wrong in one process.

    Attributes:
        kill: ``before`` or ``after`` and a durable write's name, e.g. ``("before", "answer-001.json")``.
        faults: Names of writes whose first try fails: name to ``fails`` or ``succeeds but times out``.
    """

    kill: tuple[str, str] | None = None
    faults: dict[str, str] = field(default_factory=dict)


def run_pipeline(request_uri: str, plan: Plan, environment: dict[str, str], log: str) -> None:
    """Run the pipeline's body; the process ends as the plan says."""
    with _process(plan, environment, log):
        isaaclab_flows.flows.orchestrate.orchestrate(read_request(request_uri))


def run_handler(request_uri: str, tags: list[str], plan: Plan, environment: dict[str, str], log: str) -> None:
    """Run the error handler's body for a run that crashed."""
    from prefect.states import Crashed

    run = SimpleNamespace(
        id=UUID(int=1),
        name="vams-run",
        tags=tags,
        parameters={"request_uri": request_uri},
        state=Crashed(message="killed"),
    )
    with _process(plan, environment, log):
        isaaclab_flows.flows.handle_error.find_run = lambda _: run  # type: ignore[assignment,return-value]
        isaaclab_flows.flows.handle_error.handle_error.fn(str(run.id))


def execute(job_uri: str) -> Outcome:
    """Stand in for the simulation: what execute does around it is done for real."""
    job = take_over(job_uri)
    folder = folder_of(job)
    with lease(folder, patience=20), _counted(folder.path.parent):
        finished = folder.load_outcome()
        if finished is None:
            finished = _work(job)
            folder.save(folder.outcome_file, finished)
        save_outcome(job, finished)
    return finished


def _work(job: Job) -> Outcome:
    folder = folder_of(job)
    for name, content in OUTPUTS.items():
        write_whole(folder.out / name, content)
    Mirror(folder.out, storage_at(job.staging_uri)).sync()
    return Outcome(
        job_id=job.job_id,
        kind="training",
        status="succeeded",
        task=job.task,
        library=job.library,
        training=TrainingSummary(iterations=10, total_iterations=10, last_checkpoint="model_9.pt"),
        files=inventory(folder.out),
    )


@contextlib.contextmanager
def _counted(folder: Path) -> Iterator[None]:
    """Note how many jobs are alive at once; the kernel drops a killed process's lock."""
    live = [path for path in folder.glob("live-*") if Path(f"/proc/{path.name[5:]}").exists()]
    with (folder / "most-live").open("a") as file:
        file.write(f"{len(live) + 1}\n")
    mine = folder / f"live-{os.getpid()}"
    mine.touch()
    try:
        yield
    finally:
        mine.unlink()


@contextlib.contextmanager
def _process(plan: Plan, environment: dict[str, str], log: str) -> Iterator[None]:
    """Make this process what the case needs: environment, log file, plain functions for flows, faults."""
    os.environ.update(environment)
    output = Path(log).open("a")  # noqa: SIM115
    os.dup2(output.fileno(), sys.stdout.fileno())
    os.dup2(output.fileno(), sys.stderr.fileno())
    logging.basicConfig(stream=output, level=logging.INFO, force=True)
    logger = logging.getLogger("flows")
    for module in (isaaclab_flows.flows.open, isaaclab_flows.flows.close, isaaclab_flows.flows.handle_error):
        module.get_run_logger = lambda: logger  # type: ignore[attr-defined]
    isaaclab_flows.flows.orchestrate.open_job = isaaclab_flows.flows.open.open_job.fn  # type: ignore[assignment]
    isaaclab_flows.flows.orchestrate.close = isaaclab_flows.flows.close.close.fn  # type: ignore[assignment]
    isaaclab_flows.flows.orchestrate.execution = lambda early: execute
    isaaclab_flows.flows.orchestrate.runtime = SimpleNamespace(  # type: ignore[assignment]
        flow_run=SimpleNamespace(id=UUID(int=1), ui_url="http://prefect/runs/flow-run/1")
    )
    isaaclab_flows.flows.handle_error.keep_saved = isaaclab_flows.flows.handle_error.keep_saved.fn  # type: ignore[assignment]
    isaaclab_flows.flows.handle_error.end_live_children = lambda *_, **__: []  # type: ignore[assignment]
    vams.RETRY_SECONDS = 0.05
    newest = vams.newest_callback
    vams.newest_callback = lambda callback: newest(callback).model_copy(update={"heartbeat_seconds": 0.5})
    _inject(plan)
    yield


def _inject(plan: Plan) -> None:
    patch, waiting = pytest.MonkeyPatch(), dict(plan.faults)
    without_pauses(patch)

    def decide(operation: str, path: str, send: Callable[[], Try]) -> Try:
        name = write_name(operation, path)
        if plan.kill == ("before", name):
            os.kill(os.getpid(), signal.SIGKILL)
        fault = waiting.pop(name, None) if name else None
        if fault == "fails":
            return None, ConnectTimeoutError(endpoint_url="injected")
        answer = send()
        if fault == "succeeds but times out":
            return None, ReadTimeoutError(endpoint_url="injected")
        if plan.kill == ("after", name):
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    around_each_try(patch, decide)


def write_name(operation: str, key: str) -> str | None:
    """Name a durable write or an answer, so that a plan can point at it; None for what only reads."""
    if operation.startswith("SendTask") and operation != "SendTaskHeartbeat":
        return operation
    if operation != "PutObject":
        return None
    name = key.rpartition("/")[2]
    if name.startswith("answer-"):
        return "sent" if ".sent-" in name else name
    if key.endswith(".job/job.json"):
        return "job.json"
    if key.endswith(".job/outcome.json"):
        return "outcome.json"
    if "/output/" in key:
        if "/results/" in key:
            return f"result {name}"
        if ".previewFile" in name or "/previews/" in key:
            return "preview"
        return "metadata" if "/metadata/" in key else f"published {name}"
    return f"staged {name}"
