"""The jobs of this machine, as a list shows them: read from their folders, whatever state those are in."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from isaaclab_flows.schemas.errors import InputMissingError
from isaaclab_flows.schemas.job import FLOW_RUN_LABEL, Job
from isaaclab_flows.schemas.job_view import JobState, JobView
from isaaclab_flows.schemas.outcome import Outcome
from isaaclab_flows.schemas.simulator import EVENTS, EvaluationEvent, IterationEvent
from isaaclab_flows.tasks.job.folder import JobFolder, folder_of, jobs_folder
from isaaclab_flows.tasks.job.lease import is_live

_TAIL_BYTES = 65_536
_HOUR = 3600.0


def local_jobs(*, now: float | None = None) -> list[JobView]:
    """Return the jobs whose folders lie on this machine, the newest first; folders that hold no job are passed over.

    Args:
        now: Unix time [s]; the clock's by default.
    """
    now = time.time() if now is None else now
    root = jobs_folder()
    names = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    views = [view for name in names if (view := view_of(folder_of(name), now=now)) is not None]
    return sorted(views, key=lambda view: view.started_at or 0.0, reverse=True)


def job_in(folder: JobFolder) -> Job | None:
    """Return the job that a folder was made for, or None where it holds none that can be read."""
    for path in (Path(f"{folder.out}.job") / "job.json", folder.job_file):
        try:
            return Job.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            continue
    return None


def view_of(folder: JobFolder, *, now: float) -> JobView | None:
    """Return how a job stands, from what lies in its folder; None where that is no job's."""
    job = job_in(folder)
    if job is None:
        return None
    outcome = _outcome(folder)
    attempts = folder.attempts()
    last = _last_event(attempts[-1].progress_file) if attempts else None
    live = is_live(folder, now=now)
    started = outcome.started_at if outcome else _started(folder)
    seconds = _seconds(folder, outcome, live=live, started=started, now=now)
    view = JobView(
        job_id=job.job_id,
        name=job.config.name,
        kind=job.kind,
        task=job.task,
        library=job.library,
        state=state_of(outcome, live=live, begun=bool(attempts)),
        started_at=started,
        seconds=seconds,
        machine=(outcome.device if outcome else "") or job.device,
        cost=job.price.dollars_per_hour * seconds / _HOUR if job.price else None,
        recoveries=max(0, len(attempts) - 1),
        where=(outcome.output_uri if outcome else "") or job.outputs_uri,
        flow_run_id=job.labels.get(FLOW_RUN_LABEL, ""),
        message=outcome.error.sentence if outcome and outcome.error else "",
    )
    return view.model_copy(update=_numbers(outcome, last))


def state_of(outcome: Outcome | None, *, live: bool, begun: bool) -> JobState:
    """Say in which state a job is.

    Args:
        outcome: How it ended, if it has.
        live: Somebody works on it now; an outcome is then an earlier attempt's.
        begun: A simulator was started for it.
    """
    if live:
        return "running"
    if outcome is not None:
        return outcome.status
    return "stopped" if begun else "waiting"


def find_job(reference: str, jobs: list[JobView]) -> JobView:
    """Return the job that a person means: by its id, the beginning of it, its name, or `latest`.

    Args:
        reference: What they typed.
        jobs: All jobs, the newest first; of several with one name the newest is meant.

    Raises:
        InputMissingError: There is none, or the beginning of an id fits several.
    """
    if reference == "latest" and jobs:
        return jobs[0]
    exact = [job for job in jobs if reference in (job.job_id, job.name)]
    if exact:
        return exact[0]
    begun = [job for job in jobs if len(reference) >= 4 and job.job_id.startswith(reference)]
    if len(begun) == 1:
        return begun[0]
    if begun:
        raise InputMissingError(
            f"'{reference}' is the beginning of {len(begun)} jobs' ids: {', '.join(job.job_id for job in begun[:5])}",
            where="job",
            remedy="Write more of it.",
        )
    known = ", ".join(f"'{job.name}' ({job.job_id[:8]})" for job in jobs[:5])
    raise InputMissingError(
        f"There is no job '{reference}'",
        where="job",
        remedy=f"Give an id, four or more of its first characters, a name, or 'latest'. The newest are: {known}."
        if known
        else "No job has run here yet: `isaaclab-flows run CONFIG` starts one.",
    )


def _outcome(folder: JobFolder) -> Outcome | None:
    try:
        return folder.load_outcome()
    except (OSError, ValidationError):
        return None


def _last_event(path: Path) -> IterationEvent | EvaluationEvent | None:
    """Return the newest event with a number in it; only the file's end is read, for it may be long."""
    last = None
    for line in _last_lines(path):
        try:
            event = EVENTS.validate_json(line)
        except ValidationError:
            continue
        if isinstance(event, IterationEvent | EvaluationEvent):
            last = event
    return last


def _last_lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            yield from file.read(_TAIL_BYTES).splitlines()
    except OSError:
        return


def _numbers(outcome: Outcome | None, last: IterationEvent | EvaluationEvent | None) -> dict[str, float | int | None]:
    if outcome is not None and outcome.training is not None:
        training = outcome.training
        return {
            "iteration": training.iterations,
            "total": training.total_iterations,
            "reward": training.final_reward,
            "success_rate": training.success_rate,
            "recoveries": training.recoveries,
        }
    if outcome is not None and outcome.evaluations:
        first = outcome.evaluations[0]
        return {"reward": first.mean_return, "success_rate": first.success_rate, "recoveries": 0}
    if isinstance(last, IterationEvent):
        return {"iteration": last.iteration + 1, "total": last.total, "reward": last.reward}
    if isinstance(last, EvaluationEvent):
        done = last.position * last.rounds + last.round
        return {"iteration": done, "total": last.rounds * last.checkpoints, "reward": last.mean_return}
    return {}


def _started(folder: JobFolder) -> float | None:
    stamps = [attempt.order_file for attempt in folder.attempts()[:1]] + [Path(f"{folder.out}.job") / "job.json"]
    for path in stamps:
        try:
            return path.stat().st_mtime
        except OSError:
            continue
    return None


def _seconds(folder: JobFolder, outcome: Outcome | None, *, live: bool, started: float | None, now: float) -> float:
    if outcome is not None and not live:
        return outcome.seconds
    if started is None:
        return 0.0
    if live:
        return max(0.0, now - started)
    written = [path.stat().st_mtime for a in folder.attempts() if (path := a.progress_file).is_file()]
    return max(0.0, max(written, default=started) - started)
