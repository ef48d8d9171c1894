"""Files that are whole or absent, on whichever side of the project they are written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

PARTIAL_SUFFIX = ".partial"
"""Ends the name of a file that is still being written; its name begins with a dot."""


@contextmanager
def renamed_into(target: Path) -> Iterator[Path]:
    """Yield a partial path beside the target; it becomes the target if nothing goes wrong, else it is removed.

    What was written reaches the disk before the name does, so that not even a machine that dies leaves a torn file
    under the target's name. The target's folder is made where it is missing.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{uuid4().hex[:8]}{PARTIAL_SUFFIX}")
    try:
        yield partial
        settle(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def settle(partial: Path, target: Path) -> None:
    """Give a file that was written under another name in the same folder its own, once its content is on the disk."""
    with partial.open("r+b") as file:
        os.fsync(file.fileno())
    partial.replace(target)


def write_whole(target: Path, content: bytes) -> None:
    """Write a file so that a reader sees all of it or none, even when the machine dies."""
    with renamed_into(target) as partial:
        partial.write_bytes(content)


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256 as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
