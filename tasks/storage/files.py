"""Files that are whole or absent."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

PARTIAL_SUFFIX = ".partial"


@contextlib.contextmanager
def renamed_into(target: Path) -> Iterator[Path]:
    """Yield a partial path beside the target; it becomes the target if nothing goes wrong, else it is removed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{uuid4().hex[:8]}{PARTIAL_SUFFIX}")
    try:
        yield partial
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(target: Path, content: bytes) -> None:
    """Write a file by rename, so that a reader sees all of it or none."""
    with renamed_into(target) as partial:
        partial.write_bytes(content)
