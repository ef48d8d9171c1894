"""The publishable part of an evaluation: tables, videos and previews of every checkpoint, and their summaries."""

from __future__ import annotations

from schemas.job import Job
from schemas.outcome import EvaluationSummary
from schemas.simulator import SimulatorResult
from tasks.job_folder import JobFolder


def collect(job: Job, folder: JobFolder, result: SimulatorResult) -> tuple[EvaluationSummary, ...]:
    """Lay an evaluation's files into the publishable tree and return a summary of each checkpoint."""
    del job, folder, result
    raise NotImplementedError
