"""The job folder: the unit of durability. Laid out as docs/architecture.md says."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from isaaclab_flows.schemas.files import write_whole
from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.outcome import Outcome
from isaaclab_flows.schemas.reading import read_if_whole
from isaaclab_flows.schemas.settings import settings


@dataclass(frozen=True)
class Attempt:
    """One simulator process of a job."""

    number: int
    folder: Path

    @property
    def order_file(self) -> Path:
        """What the simulator was told."""
        return self.folder / "order.json"

    @property
    def progress_file(self) -> Path:
        """Its events, one a line."""
        return self.folder / "progress.jsonl"

    @property
    def result_file(self) -> Path:
        """Its last word."""
        return self.folder / "result.json"

    @property
    def process_file(self) -> Path:
        """Which process it is."""
        return self.folder / "process.json"

    @property
    def log_file(self) -> Path:
        """Its standard output and error."""
        return self.folder / "simulator.txt"


@dataclass(frozen=True)
class JobFolder:
    """Paths of one job's folder. Nothing is made until something is written."""

    path: Path

    @property
    def job_file(self) -> Path:
        """The resolved job."""
        return self.path / "job.json"

    @property
    def outcome_file(self) -> Path:
        """How it ended, once it has."""
        return self.path / "outcome.json"

    @property
    def lease_folder(self) -> Path:
        """Who works in it: the file with the highest number changes every few seconds while somebody does."""
        return self.path / "lease"

    @property
    def input(self) -> Path:
        """Fetched checkpoints and archives."""
        return self.path / "input"

    @property
    def run(self) -> Path:
        """What the library writes."""
        return self.path / "run"

    @property
    def out(self) -> Path:
        """The publishable tree."""
        return self.path / "out"

    @property
    def environment(self) -> Path:
        """Where the user's own environment package is installed."""
        return self.path / "environment"

    def attempts(self) -> list[Attempt]:
        """Return the attempts so far, oldest first."""
        folder = self.path / "attempts"
        numbers = sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit()) if folder.is_dir() else []
        return [Attempt(n, folder / f"{n:03d}") for n in numbers]

    def new_attempt(self) -> Attempt:
        """Make the next attempt's folder."""
        number = max((a.number for a in self.attempts()), default=0) + 1
        attempt = Attempt(number, self.path / "attempts" / f"{number:03d}")
        attempt.folder.mkdir(parents=True)
        return attempt

    def load_outcome(self) -> Outcome | None:
        """Return how the job ended, or None when it has not, or its file is torn."""
        try:
            content = self.outcome_file.read_bytes()
        except FileNotFoundError:
            return None
        return read_if_whole(Outcome, content, source=str(self.outcome_file))

    @property
    def anew_file(self) -> Path:
        """The order that last made the job begin anew."""
        return self.path / "anew.txt"

    def was_begun_anew(self, order: str) -> bool:
        """Say whether the work was already thrown away for an order."""
        try:
            return self.anew_file.read_bytes() == order.encode()
        except FileNotFoundError:
            return False

    def begin_anew(self, order: str) -> None:
        """Throw the work away for an order; its later attempts go on from what it has done since."""
        self.discard_work()
        write_whole(self.anew_file, order.encode())

    def discard_work(self) -> None:
        """Remove what earlier attempts did, so that the job starts anew; inputs stay."""
        for path in (self.path / "attempts", self.run, self.out):
            shutil.rmtree(path, ignore_errors=True)
        self.outcome_file.unlink(missing_ok=True)

    def save(self, target: Path, model: BaseModel) -> None:
        """Write a model as JSON, by rename."""
        write_whole(target, model.model_dump_json(indent=2).encode())


def jobs_folder() -> Path:
    """Return the folder that job folders lie in."""
    chosen = settings().jobs_folder
    if chosen is not None:
        return chosen.expanduser().absolute()
    outputs = settings().outputs
    return (Path("outputs") if outputs.startswith("s3://") else Path(outputs)).expanduser().absolute() / ".jobs"


def folder_of(job: Job | str) -> JobFolder:
    """Return a job's folder, by the job or its id."""
    return JobFolder(jobs_folder() / (job if isinstance(job, str) else job.job_id))
