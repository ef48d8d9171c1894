"""What the program prints: results on standard output, everything else on standard error."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from isaaclab_flows.schemas.errors import FlowsError

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def console() -> Console:
    """Return the console for progress and errors: standard error, plain where that is no terminal."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def say(text: str = "") -> None:
    """Print a line of the result."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@contextlib.contextmanager
def fail() -> Iterator[None]:
    """Turn errors of ours into a message and an exit code; others keep their trace, for they are faults of ours."""
    from isaaclab_flows.schemas.errors import ConfigError, FlowsError

    try:
        yield
    except FlowsError as error:
        show_error(error)
        sys.exit(EXIT_USAGE if isinstance(error, ConfigError) else EXIT_FAILED)


def show_error(error: FlowsError) -> None:
    """Print what happened, where, and what to do; then the details."""
    from rich.text import Text

    out = console()
    out.print(Text("Error: ", style="bold red") + Text(error.what))
    if error.where:
        out.print(Text(f"  at   {error.where}", style="dim"), soft_wrap=True)
    if error.remedy:
        out.print(Text("  do   ", style="bold") + Text(error.remedy), soft_wrap=True)
    if error.details:
        out.print(Text(error.details.rstrip(), style="dim"), soft_wrap=True)
