"""Where a sweep keeps its things: finds checkpoints, adds parts, puts the table together, keeps the best.

Layout below `<output>/sweeps/<name>/`: `parts/<group>.parquet` (written once, never changed), `results.parquet` and
`results.csv` (all parts), `leaderboard.{md,csv}`, `iterations-<task>.png`, `best/<task>/` (checkpoint and why.json).
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from isaaclab_flows.schemas.errors import InputMissingError
from isaaclab_flows.schemas.files import sha256_of
from isaaclab_flows.schemas.request import JobId
from isaaclab_flows.schemas.settings import settings
from isaaclab_flows.schemas.sweep import SweepConfig
from isaaclab_flows.tasks.job.checkpoints import SUFFIXES
from isaaclab_flows.tasks.job.folder import folder_of
from isaaclab_flows.tasks.request.reach import Reach
from isaaclab_flows.tasks.storage import storage_at
from isaaclab_flows.tasks.storage.base import Storage, is_s3, join_uri, split_s3, split_uri
from isaaclab_flows.tasks.storage.folder import FolderStorage
from isaaclab_flows.tasks.storage.s3 import s3_client
from isaaclab_flows.tasks.sweep.leaderboard import Board
from isaaclab_flows.tasks.sweep.outputs import picture_of
from isaaclab_flows.tasks.sweep.plan import Candidate, choose_checkpoints, fixed_part, has_glob
from isaaclab_flows.tasks.sweep.regression import LastBest
from isaaclab_flows.tasks.sweep.table import Row, from_parquet, put_together, to_csv, to_parquet

PARTS = "parts"
MOST_TABLE_ROUNDS = 20


def results_uri(output_uri: str, config: SweepConfig) -> str:
    """Return where a sweep of this name keeps its results, below an output folder or prefix."""
    return join_uri(output_uri, "sweeps", config.folder)


def find_checkpoints(
    patterns: Iterable[str], *, asset_uri: str | None, output_uri: str, reach: Reach | None = None
) -> list[Candidate]:
    """Find the checkpoints that patterns mean, each once, in the order of the patterns and then of their numbers.

    Args:
        patterns: Files, globs, folders, prefixes, assets (relative to the asset, absolute, or s3://), or job ids, whose
            outputs lie below the output folder.
        asset_uri: Relative patterns resolve against it.
        output_uri: Where job ids are looked for.
        reach: What may be read; None reads anything.

    Raises:
        ConfigError: A relative pattern without an asset, or one that leads out of what may be read.
        InputMissingError: A pattern finds nothing.
    """
    reach = reach or Reach(asset_uri)
    found: dict[str, Candidate] = {}
    for pattern in patterns:
        uris = _matches(pattern, reach, output_uri=output_uri)
        if not uris:
            raise InputMissingError(
                f"No checkpoint is found by '{pattern}'",
                where="sweepConfig.checkpoints",
                remedy=f"Checkpoints end in {' or '.join(SUFFIXES)};"
                f" relative ones begin at {reach.asset or 'no asset'}.",
            )
        new = [uri for uri in uris if uri not in found]
        with ThreadPoolExecutor(settings().transfer_threads) as pool:
            for uri, digest in zip(new, pool.map(content_digest, new), strict=True):
                found[uri] = Candidate(uri, digest)
    return list(found.values())


def _matches(pattern: str, reach: Reach, *, output_uri: str) -> list[str]:
    for place in _places(pattern, reach, output_uri=output_uri):
        uris = [uri for uri in _found_in(*place) if reach.allows(uri)]
        if uris:
            return uris
    return []


def _places(pattern: str, reach: Reach, *, output_uri: str) -> Iterator[tuple[str, str]]:
    """Yield roots, and what a pattern means below each."""
    if not reach.bounded and (is_s3(pattern) or Path(pattern).expanduser().is_absolute()):
        place = pattern if is_s3(pattern) else str(Path(pattern).expanduser())
        root = split_uri(place)[0] if place.endswith(SUFFIXES) and not has_glob(place) else fixed_part(place)
        yield root, place[len(root) :].strip("/")
        return
    if reach.bounded or reach.asset:
        yield from reach.places(pattern, "sweepConfig.checkpoints")
    if not reach.bounded and _may_be_job_id(pattern):
        outcome = folder_of(pattern).load_outcome()
        if outcome is not None:
            yield outcome.output_uri, ""
        yield output_uri, pattern


def _found_in(root: str, pattern: str) -> list[str]:
    """Return the checkpoints that a pattern means below a root, whose own name is taken as it is."""
    storage = storage_at(root)
    if pattern.endswith(SUFFIXES) and not has_glob(pattern):
        return [join_uri(root, pattern)] if storage.stat(pattern) is not None else []
    paths = [f"/{file.path}" for file in storage.files(fixed_part(pattern))]
    return [join_uri(root, path) for path in choose_checkpoints(f"/{pattern}" if pattern else "", paths)]


def _may_be_job_id(text: str) -> bool:
    from pydantic import TypeAdapter, ValidationError

    try:
        TypeAdapter(JobId).validate_python(text)
    except ValidationError:
        return False
    return True


def content_digest(uri: str) -> str:
    """Identify a file's content: its SHA-256, or an S3 object's recorded SHA-256 or entity tag, without fetching it."""
    if not is_s3(uri):
        return f"sha256:{sha256_of(Path(uri))}"
    bucket, key = split_s3(uri)
    head = s3_client().head_object(Bucket=bucket, Key=key)
    recorded = head.get("Metadata", {}).get("sha256")
    return f"sha256:{recorded}" if recorded else f"etag:{head['ETag'].strip(chr(34))}"


class SweepStore:
    """The results of the sweeps of one name.

    Args:
        uri: Their folder or s3:// prefix.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._storage: Storage = storage_at(uri)
        self._read: dict[str, list[Row]] = {}

    def add_part(self, name: str, rows: Sequence[Row]) -> None:
        """Write the rows of a finished group under a name of its own (the job's id)."""
        self._storage.write(f"{PARTS}/{name}.parquet", to_parquet(rows))

    def rows(self) -> list[Row]:
        """Return one row for each evaluation that any sweep of this name has finished."""
        return put_together(self._parts().values())

    def _parts(self) -> dict[str, list[Row]]:
        names = [f.path for f in self._storage.files(PARTS) if f.path.endswith(".parquet")]
        # Parts never change, so each is read once.
        new = [name for name in names if name not in self._read]
        with ThreadPoolExecutor(settings().transfer_threads) as pool:
            for name, content in zip(new, pool.map(self._storage.read, new), strict=True):
                self._read[name] = from_parquet(content)
        return {name: self._read[name] for name in names}

    def write_table(self) -> list[Row]:
        """Put the table together from all parts, and again while other sweeps add some: the last to write has all."""
        rows: list[Row] = []
        for _ in range(MOST_TABLE_ROUNDS):
            parts = self._parts()
            rows = put_together(parts.values())
            self._storage.write("results.parquet", to_parquet(rows))
            self._storage.write("results.csv", to_csv(rows))
            if {f.path for f in self._storage.files(PARTS) if f.path.endswith(".parquet")} == set(parts):
                break
        return rows

    def write_leaderboard(self, text: str, rows: Sequence[dict[str, str | int | float | None]]) -> None:
        """Write the leaderboard as markdown and CSV."""
        self._storage.write("leaderboard.md", text.encode())
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, fieldnames=list(rows[0]) if rows else ["rank"])
        writer.writeheader()
        writer.writerows(rows)
        self._storage.write("leaderboard.csv", table.getvalue().encode())

    def write_picture(self, task: str, png: bytes) -> str:
        """Write a task's plot over iterations; return its URI."""
        name = picture_of(task)
        self._storage.write(name, png)
        return join_uri(self.uri, name)

    def last_best(self, task: str) -> LastBest | None:
        """Return the best checkpoint that an earlier sweep kept for a task, or None."""
        try:
            note = json.loads(self._storage.read(f"best/{task}/why.json"))
        except InputMissingError:
            return None
        return LastBest(
            label=PurePosixPath(note["checkpoint"]).name,
            kept_as=join_uri(self.uri, note["kept_as"]),
            digest=note.get("digest") or note["entry"]["digest"],
            metric=note["metric"],
            settings=tuple(note.get("settings", ())),
        )

    def keep_best(self, board: Board, *, scratch: Path, at: float) -> str | None:
        """Copy a task's best checkpoint to `best/<task>/` with a note why; return the copy's URI.

        Args:
            board: The task's leaderboard.
            scratch: A local folder for a checkpoint on its way between two buckets.
            at: Unix time [s].
        """
        best = board.best
        if best is None:
            return None
        folder, name = split_uri(best.checkpoint)
        # The content's hash in the name: a new best never overwrites the old one's file, whatever a reader holds.
        digest = hashlib.sha256(best.digest.encode()).hexdigest()[:8]
        kept = f"best/{board.task}/{PurePosixPath(name).stem}-{digest}{PurePosixPath(name).suffix}"
        if self._storage.stat(kept) is None:
            source = storage_at(folder)
            if isinstance(source, FolderStorage):
                self._storage.upload(source.root / name, kept)
            else:
                local = scratch / name
                source.download(name, local)
                self._storage.upload(local, kept)
                local.unlink()
        note = {
            "checkpoint": best.checkpoint,
            "kept_as": kept,
            "why": board.statement,
            "metric": board.metric,
            "decided_at": at,
            "digest": best.digest,
            "settings": best.settings,
            "score": best.score,
            "interval": best.interval.model_dump() if best.interval else None,
            "worst_tenth_return": best.worst_tenth,
            "success_rate": best.success,
            "episodes": best.episodes,
        }
        self._storage.write(f"best/{board.task}/why.json", json.dumps(note, indent=2).encode())
        return join_uri(self.uri, kept)
