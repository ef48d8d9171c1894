"""Figures to draw on. Matplotlib is imported where no Ctrl-C can break into it."""

from __future__ import annotations

import functools
import importlib
import threading
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float, *, dpi: int) -> Figure:
    """Return an empty figure.

    An import that a signal breaks off leaves halves of matplotlib behind, which fail for as long as the process lives:
    so it is imported in a thread, and signals reach the main thread only.

    Args:
        width: Inches.
        height: Inches.
        dpi: Pixels an inch.
    """
    modules, thread = _import()
    thread.join()
    figure: Figure = modules[0].Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    return figure


@functools.cache
def _import() -> tuple[list[ModuleType], threading.Thread]:
    modules: list[ModuleType] = []

    def run() -> None:
        modules.append(importlib.import_module("matplotlib.figure"))
        importlib.import_module("matplotlib.backends.backend_agg")  # what savefig would import, in the main thread

    thread = threading.Thread(target=run, name="matplotlib", daemon=True)
    thread.start()
    return modules, thread
