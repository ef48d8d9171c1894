"""How `nvidia-smi` is asked for its GPUs, and how its answer is read."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence


def query(fields: Sequence[str]) -> tuple[str, ...]:
    """Return the command that prints one row a GPU, numbers without their units (`nvidia-smi --help-query-gpu`)."""
    return ("nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits")


def rows(text: str, *, fields: int = 1) -> list[list[str]]:
    """Return the cells of each GPU's row; what has fewer cells than the fields that were asked for is no row."""
    read = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text))]
    return [row for row in read if len(row) >= fields and any(row)]
