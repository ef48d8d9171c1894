"""Where execute and close meet: the staging location's sibling that holds the job and its outcome."""

from __future__ import annotations

from schemas.job import Job
from schemas.outcome import Outcome
from tasks.storage import split_uri, storage_at

SUFFIX = ".job"


def job_uri(job: Job) -> str:
    """Return where a job is handed over, as execute's parameter."""
    return f"{job.staging_uri}{SUFFIX}/job.json"


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
