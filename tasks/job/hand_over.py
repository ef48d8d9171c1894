"""Where execute and close meet: the staging location's sibling that holds the job and its outcome."""

from __future__ import annotations

from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.outcome import Outcome
from isaaclab_flows.schemas.request import Request
from isaaclab_flows.tasks.job.folder import folder_of
from isaaclab_flows.tasks.storage import storage_at
from isaaclab_flows.tasks.storage.base import join_uri, split_uri

SUFFIX = ".job"


def job_uri(job: Job) -> str:
    """Return where a job is handed over, as execute's parameter."""
    return _job_uri(job.staging_uri)


def staging_uri(request: Request) -> str:
    """Return where a request's finished files appear while its job runs."""
    if request.auxiliary_uri:
        return join_uri(request.auxiliary_uri, request.job_id)
    return str(folder_of(request.job_id).out)


def known_job(request: Request) -> Job | None:
    """Return the job that a request became, or None where it was never opened."""
    folder, name = split_uri(_job_uri(staging_uri(request)))
    storage = storage_at(folder)
    return None if storage.stat(name) is None else Job.model_validate_json(storage.read(name))


def hand_over(job: Job) -> str:
    """Write the job for execute and return its URI."""
    folder, name = split_uri(job_uri(job))
    storage_at(folder).write(name, job.model_dump_json(indent=2).encode())
    return job_uri(job)


def take_over(uri: str) -> Job:
    """Read a job. Raises InputMissingError when there is none."""
    folder, name = split_uri(uri)
    return Job.model_validate_json(storage_at(folder).read(name))


def save_outcome(job: Job, outcome: Outcome) -> None:
    """Write the outcome where close and handle_error look for it."""
    folder, _ = split_uri(job_uri(job))
    storage_at(folder).write("outcome.json", outcome.model_dump_json(indent=2).encode())


def load_outcome(job: Job) -> Outcome | None:
    """Return the outcome that execute left, or None."""
    folder, _ = split_uri(job_uri(job))
    storage = storage_at(folder)
    return None if storage.stat("outcome.json") is None else Outcome.model_validate_json(storage.read("outcome.json"))


def _job_uri(staging: str) -> str:
    return f"{staging}{SUFFIX}/job.json"
