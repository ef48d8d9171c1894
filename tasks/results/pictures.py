"""Figures to draw on. Matplotlib is imported where no Ctrl-C can break into it."""

from __future__ import annotations

import functools
import importlib
import threading
from concurrent.futures import Future
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
    figure: Figure = _figure_module().result().Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    return figure


@functools.cache
def _figure_module() -> Future[ModuleType]:
    module: Future[ModuleType] = Future()

    def run() -> None:
        try:
            importlib.import_module("matplotlib.backends.backend_agg")  # what savefig would import, in the main thread
            module.set_result(importlib.import_module("matplotlib.figure"))
        except BaseException as error:
            module.set_exception(error)

    threading.Thread(target=run, name="matplotlib", daemon=True).start()
    return module
