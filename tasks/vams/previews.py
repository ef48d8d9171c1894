"""Pictures for VAMS: one of the asset, and one of each file that has something to show."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from isaaclab_flows.schemas.errors import FlowsError
from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.outcome import Outcome, OutputFile
from isaaclab_flows.schemas.request import VamsLocations
from isaaclab_flows.tasks.results.tree import last_checkpoint
from isaaclab_flows.tasks.storage import storage_at
from isaaclab_flows.tasks.storage.base import join_uri
from isaaclab_flows.tasks.vams.limits import MOST_PREVIEW_BYTES, RESERVED_KEYS

PICTURES = {"training": ("learning-curve.png",), "evaluation": ("returns.png",)}
"""Pictures of a whole job, best first, where no frame of a video is better."""


@dataclass(frozen=True)
class Preview:
    """One picture and what it shows.

    Attributes:
        picture: Path of the picture among the outputs.
        of: Path of the file it belongs to, or None for the asset.
    """

    picture: str
    of: str | None


def plan_previews(kind: str, files: Sequence[OutputFile], staged: Sequence[OutputFile]) -> list[Preview]:
    """Choose the previews of a job's published files.

    A training's learning curve stands for its last checkpoint and for the asset; an evaluation's still of a video
    stands for that video, and the first one for the asset.

    Args:
        kind: The job's kind.
        files: What is published.
        staged: Everything there is, among it the pictures.
    """
    paths = [file.path for file in files]
    pictures = {file.path for file in staged if PurePosixPath(file.path).suffix == ".png"}
    planned: list[Preview] = []
    for video in sorted(path for path in paths if path.endswith(".mp4")):
        still = next((name for name in _stills(video) if name in pictures), None)
        if still is not None:
            planned.append(Preview(still, video))
    overall = next((name for name in PICTURES.get(kind, ()) if name in pictures), None)
    last = last_checkpoint(files)
    if overall is not None and last is not None:
        planned.append(Preview(overall, last))
    if overall is not None and "metrics.csv" in paths:
        planned.append(Preview(overall, "metrics.csv"))
    face = planned[0].picture if planned else overall
    planned = planned[:RESERVED_KEYS]
    return [Preview(face, None), *planned] if face is not None else planned


def write_previews(job: Job, outcome: Outcome, locations: VamsLocations, *, staged: Sequence[OutputFile]) -> list[str]:
    """Write a job's previews.

    Args:
        job: The job.
        outcome: Its files are those that were published.
        locations: Where VAMS takes results from.
        staged: Everything in the job's staging location.

    Returns:
        A sentence for each picture that could not be shown; no preview is worth a failed job.
    """
    problems: list[str] = []
    staging = storage_at(job.staging_uri)
    published = storage_at(join_uri(locations.files, job.outputs_folder))
    for preview in plan_previews(job.kind, outcome.files, staged):
        try:
            content, suffix = shrunk(staging.read(preview.picture))
            if preview.of is None:
                storage_at(locations.previews).write(f"{job.kind}{suffix}", content)
            else:
                published.write(f"{preview.of}.previewFile{suffix}", content)
        except (FlowsError, OSError) as error:
            problems.append(f"The preview {preview.picture} could not be written: {error}")
    return problems


def shrunk(content: bytes, *, most: int = MOST_PREVIEW_BYTES) -> tuple[bytes, str]:
    """Return a picture within VAMS's limit, and its suffix: as it is, or as a smaller JPEG.

    Raises:
        OSError: It is no picture.
    """
    from PIL import Image

    with Image.open(io.BytesIO(content)) as picture:
        if len(content) <= most and picture.format == "PNG":
            return content, ".png"
        small = picture.convert("RGB")
    while True:
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=85)
        if buffer.tell() <= most or min(small.size) < 32:
            return buffer.getvalue(), ".jpg"
        small = small.resize((small.width // 2, small.height // 2))


def _stills(video: str) -> tuple[str, ...]:
    """Names under which a video's still may lie."""
    return (f"{video}.previewFile.png", str(PurePosixPath(video).with_suffix(".png")))
