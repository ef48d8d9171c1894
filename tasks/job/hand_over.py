"""Where execute and close meet: the staging location's sibling that holds the job and its outcome."""

from __future__ import annotations

from pydantic import BaseModel, ValidationError

from isaaclab_flows.schemas.errors import InputMissingError, StorageError
from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.outcome import Outcome
from isaaclab_flows.schemas.reading import read_if_whole, read_model
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
    """Return the job that a request became, or None where it was never opened, or its file is torn."""
    return _read_if_there(Job, _job_uri(staging_uri(request)))


def job_of(job_id: str) -> Job | None:
    """Return a job that keeps its files in its own folder here, by its id, or None where there is none."""
    return _read_if_there(Job, _job_uri(str(folder_of(job_id).out)))


def hand_over(job: Job) -> str:
    """Write the job for execute and return its URI."""
    folder, name = split_uri(job_uri(job))
    storage_at(folder).write(name, job.model_dump_json(indent=2).encode())
    return job_uri(job)


def take_over(uri: str) -> Job:
    """Read a job.

    Raises:
        InputMissingError: There is none.
        StorageError: Its file is torn.
    """
    folder, name = split_uri(uri)
    try:
        return read_model(Job, storage_at(folder).read(name))
    except ValidationError as error:
        raise StorageError(
            "The job's file cannot be read", where=uri, remedy="Send the request again.", details=str(error)
        ) from error


def save_outcome(job: Job, outcome: Outcome) -> None:
    """Write the outcome where close and handle_error look for it."""
    folder, _ = split_uri(job_uri(job))
    storage_at(folder).write("outcome.json", outcome.model_dump_json(indent=2).encode())


def discard_outcome(job: Job) -> None:
    """Forget the outcome of work that is thrown away."""
    folder, _ = split_uri(job_uri(job))
    storage_at(folder).delete("outcome.json")


def load_outcome(job: Job) -> Outcome | None:
    """Return the outcome that execute left, or None where there is none, or its file is torn."""
    folder, _ = split_uri(job_uri(job))
    return _read_if_there(Outcome, join_uri(folder, "outcome.json"))


def _read_if_there[Model: BaseModel](model: type[Model], uri: str) -> Model | None:
    folder, name = split_uri(uri)
    try:
        content = storage_at(folder).read(name)
    except InputMissingError:
        return None
    return read_if_whole(model, content, source=uri)


def _job_uri(staging: str) -> str:
    return f"{staging}{SUFFIX}/job.json"
