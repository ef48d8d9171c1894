"""What the program prints: results on standard output, everything else on standard error."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from isaaclab_flows.schemas.plain import printable

if TYPE_CHECKING:
    from rich.console import Console

    from isaaclab_flows.schemas.errors import FlowsError

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def console() -> Console:
    """Return the console for progress and errors: standard error, plain where that is no terminal.

    Texts are shown as they are: names of jobs and files hold no markup.
    """
    from rich.console import Console

    class Plain(Console):
        def print(self, *objects: Any, **options: Any) -> None:
            super().print(*(printable(o) if isinstance(o, str) else o for o in objects), **options)

    return Plain(stderr=True, highlight=False, markup=False, emoji=False)


def say(text: str = "") -> None:
    """Print a line of the result."""
    sys.stdout.write(f"{printable(text)}\n")
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
    out.print(Text("Error: ", style="bold red") + Text(printable(error.what)))
    if error.where:
        out.print(Text(f"  at   {printable(error.where)}", style="dim"), soft_wrap=True)
    if error.remedy:
        out.print(Text("  do   ", style="bold") + Text(printable(error.remedy)), soft_wrap=True)
    if error.details:
        out.print(Text(printable(error.details.rstrip()), style="dim"), soft_wrap=True)
