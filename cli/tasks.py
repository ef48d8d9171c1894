"""`isaaclab-flows tasks`: what can be trained."""

from __future__ import annotations

import sys

from isaaclab_flows.cli.console import say
from isaaclab_flows.schemas.errors import ConfigError
from isaaclab_flows.schemas.task_names import TASKS, former_name, near_names


def list_tasks(search: str | None) -> None:
    """Print the table of tasks; where no person reads, one name a line.

    Raises:
        ConfigError: Nothing contains the search text.
    """
    from rich.console import Console
    from rich.table import Table

    from isaaclab_flows.tasks.simulator.machine import availability

    names = [name for name in TASKS if search is None or search.casefold() in name.casefold()]
    if not names:
        near = ", ".join(near_names(search or "", TASKS))
        raise ConfigError(f"No task contains '{search}'", where="tasks", remedy=f"Near names: {near or 'none'}.")
    if not sys.stdout.isatty():
        for name in names:
            say(name)
        return
    table = Table(title="Tasks of Isaac Lab 3.0", title_justify="left", box=None, header_style="bold")
    for column in ("task", "libraries", "formerly", "here"):
        table.add_column(column, overflow="fold")
    for name in names:
        table.add_row(name, " ".join(TASKS[name]) or "none", former_name(name) or "", availability(name))
    Console(highlight=False).print(table)
