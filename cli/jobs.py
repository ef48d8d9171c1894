"""`isaaclab-flows jobs`: what ran, what runs, and what to do with it; here and on the Prefect server."""

from __future__ import annotations

import getpass
import json
import os
import signal
import socket
import subprocess
import sys
import time
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from isaaclab_flows.cli.console import console, say
from isaaclab_flows.schemas.errors import ConfigError, InputMissingError
from isaaclab_flows.schemas.job_view import JobView
from isaaclab_flows.tasks.show.progress import duration, number

if TYPE_CHECKING:
    from rich.table import Table

    from isaaclab_flows.tasks.job.folder import JobFolder

MOST = 50
_PIPED_WIDTH = 400
"""Characters a line where a program reads it: no name is shortened."""
_LONG = ("name", "task", "machine")
_STYLES = {"running": "bold cyan", "succeeded": "green", "failed": "red", "cancelled": "yellow", "stopped": "yellow"}


def all_jobs(limit: int = MOST) -> list[JobView]:
    """Return the jobs of this machine and of the Prefect server that the environment names, the newest first."""
    from isaaclab_flows.tasks.job.overview import local_jobs
    from isaaclab_flows.tasks.prefect_jobs import merged, server_jobs

    return merged(local_jobs(), server_jobs(limit=limit))[:limit]


def list_jobs(*, as_json: bool, watch: bool, limit: int) -> None:
    """Print the jobs: a table, or JSON; with `watch`, again and again until Ctrl-C."""
    if as_json:
        say(json.dumps([view.model_dump(by_alias=True, mode="json") for view in all_jobs(limit)], indent=2))
        return
    from rich.console import Console
    from rich.live import Live

    out = Console(highlight=False)
    if not out.is_terminal:
        out.width = _PIPED_WIDTH
    if not watch:
        jobs = all_jobs(limit)
        if not jobs:
            console().print("No job has run here yet: `isaaclab-flows run CONFIG` starts one.")
            return
        out.print(jobs_table(jobs))
        return
    try:
        with Live(jobs_table(all_jobs(limit)), console=out, refresh_per_second=1) as live:
            while True:
                time.sleep(2.0)
                live.update(jobs_table(all_jobs(limit)))
    except KeyboardInterrupt:
        return


def jobs_table(jobs: Sequence[JobView]) -> Table:
    """Return the jobs as a table, without the columns that say nothing of any of them."""
    from rich.table import Table
    from rich.text import Text

    now = time.time()
    rows = [_cells(view, now) for view in jobs]
    table = Table(box=None, header_style="bold", pad_edge=False)
    shown = [column for column in (rows[0] if rows else ()) if any(row[column] != "–" for row in rows)]
    for column in shown:
        # Names give way where a terminal is narrow; numbers and states never do.
        needed = 0 if column in _LONG else max(len(column), *(len(row[column]) for row in rows))
        table.add_column(column, no_wrap=True, overflow="ellipsis", min_width=needed or None)
    for row in rows:
        style = _STYLES.get(row["state"], "")
        table.add_row(*(Text(row[column], style=style if column == "state" else "") for column in shown))
    return table


def _cells(view: JobView, now: float) -> dict[str, str]:
    return {
        "job": view.job_id[:8],
        "name": view.name,
        "task": view.task or "–",
        "state": view.state,
        "progress": progress_words(view),
        "reward": number(view.reward),
        "age": age_words(now - view.started_at) if view.started_at else "–",
        "cost": f"${view.cost:,.2f}" if view.cost is not None else "–",
        "recoveries": str(view.recoveries) if view.recoveries else "–",
        "machine": view.machine or "–",
    }


def age_words(seconds: float) -> str:
    """Return an age in its largest unit: `5 s`, `12 min`, `3 h`, `2 d`."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"


def progress_words(view: JobView) -> str:
    """Return how far a job is: `120/500`, or a percentage where only that is known."""
    if view.progress is None:
        return "–"
    return f"{view.iteration}/{view.total}" if view.total != 100 or view.kind == "training" else f"{view.progress:.0%}"


def show_job(reference: str, *, as_json: bool) -> None:
    """Print all that is known of one job."""
    view = _find(reference)
    if as_json:
        say(view.model_dump_json(by_alias=True, indent=2))
        return
    cost = f"${view.cost:,.2f}" if view.cost is not None else "no price is known for this machine"
    rows = {
        "job": view.job_id,
        "name": view.name,
        "kind": view.kind,
        "task": f"{view.task} with {view.library}" if view.library else view.task,
        "state": view.state + (f": {view.message}" if view.message else ""),
        "progress": progress_words(view),
        "reward": number(view.reward),
        "success": f"{view.success_rate:.0%}" if view.success_rate is not None else "–",
        "started": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(view.started_at)) if view.started_at else "–",
        "time": duration(view.seconds),
        "machine": view.machine or "–",
        "cost": cost,
        "recoveries": str(view.recoveries),
        "outputs": view.where or "–",
        "page": view.page or "–",
    }
    for name, value in rows.items():
        say(f"{name:<11} {value}")


def show_logs(reference: str, *, follow: bool) -> None:
    """Print a job's log; with `follow`, until it ends."""
    view = _find(reference)
    folder = _folder(view)
    if folder is None:
        from isaaclab_flows.tasks.prefect_jobs import log_lines

        for line in log_lines(view.flow_run_id, follow=follow):
            say(line)
        return
    from isaaclab_flows.tasks.job.lease import is_live

    printed: dict[Path, int] = {}
    try:
        while True:
            live = is_live(folder, now=time.time())
            for attempt in folder.attempts():
                printed[attempt.log_file] = _print_from(attempt.log_file, printed.get(attempt.log_file, 0))
            if not follow or not live:
                return
            time.sleep(0.5)
    except KeyboardInterrupt:
        return


def cancel_job(reference: str) -> None:
    """End a job that runs: it saves what it can, and what was saved is published."""
    view = _find(reference)
    if view.state not in ("running", "waiting"):
        raise ConfigError(f"The job '{view.name}' does not run: it is {view.state}", where=view.job_id, remedy="")
    if view.page and view.flow_run_id:
        from isaaclab_flows.tasks.prefect_jobs import cancel_run

        cancel_run(view.flow_run_id, who=f"{getpass.getuser()} on {socket.gethostname()}")
        say(f"Asked for the end of {view.name}; what it has saved is published.")
        return
    holder = _holder(view)
    os.kill(holder, signal.SIGINT)
    say(f"Told process {holder} to end {view.name}; what it has saved is published in {view.where}.")


def retry_job(reference: str, *, device: str | None) -> int:
    """Go on with a job that has stopped, from its newest checkpoint; return the program's exit code."""
    view = _find(reference)
    if view.state == "running":
        raise ConfigError(f"The job '{view.name}' runs", where=view.job_id, remedy="Cancel it first, or let it work.")
    if view.page and view.flow_run_id:
        from isaaclab_flows.tasks.prefect_jobs import retry_run

        retry_run(view.flow_run_id)
        say(f"{view.name} is run again, from its newest checkpoint: {view.page}")
        return 0
    from isaaclab_flows.cli.run import go_on

    return go_on(view.job_id, device=device)


def open_job(reference: str, *, browse: Callable[[str], bool] = webbrowser.open) -> None:
    """Open a job's page, or the folder of its outputs, and print its address."""
    view = _find(reference)
    folder = _folder(view)
    published = "://" in view.where or Path(view.where).is_dir()
    place = view.where if published or folder is None else str(folder.path)
    address = view.page or (place if "://" in place else Path(place).absolute().as_uri())
    say(address)
    browse(address)


def show_tensorboard(reference: str, *, port: int) -> int:
    """Serve a job's curves until Ctrl-C."""
    view = _find(reference)
    folder = _folder(view)
    logs = (
        next((path for path in (folder.run / "tensorboard", Path(view.where) / "tensorboard") if path.is_dir()), None)
        if folder
        else None
    )
    if logs is None:
        raise InputMissingError(
            f"The job '{view.name}' has no TensorBoard events on this machine",
            where=view.where,
            remedy="They lie in tensorboard/ of its outputs: download that folder first.",
        )
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logs), "--port", str(port)]
    console().print(f"TensorBoard of {view.name} on http://127.0.0.1:{port} (Ctrl-C ends it)", markup=False)
    try:
        return subprocess.call(command)
    except KeyboardInterrupt:
        return 0


def open_video(reference: str, *, browse: Callable[[str], bool] = webbrowser.open) -> None:
    """Open a job's newest film and print where it lies."""
    view = _find(reference)
    places = [Path(view.where) / "videos"]
    folder = _folder(view)
    if folder is not None:
        places.append(folder.out / "videos")
    films = sorted((film for place in places for film in place.glob("*.mp4")), key=lambda film: film.stat().st_mtime)
    if not films:
        raise InputMissingError(
            f"The job '{view.name}' has no video on this machine",
            where=view.where,
            remedy="An evaluation with `recordVideo` films its policy.",
        )
    say(str(films[-1]))
    browse(films[-1].as_uri())


def _find(reference: str) -> JobView:
    from isaaclab_flows.tasks.job.overview import find_job

    return find_job(reference, all_jobs(10 * MOST))


def _folder(view: JobView) -> JobFolder | None:
    from isaaclab_flows.tasks.job.folder import folder_of

    folder = folder_of(view.job_id)
    return folder if folder.path.is_dir() else None


def _holder(view: JobView) -> int:
    """Return the process on this machine that works on a job."""
    from isaaclab_flows.tasks.job.lease import holder_here

    folder = _folder(view)
    pid = holder_here(folder) if folder is not None else None
    if pid is None:
        raise ConfigError(
            f"The job '{view.name}' is worked on by another machine",
            where=view.job_id,
            remedy="Cancel it there, or in the Prefect UI with PREFECT_API_URL set.",
        )
    return pid


def _print_from(path: Path, offset: int) -> int:
    """Print what was added to a file, and return how much of it was printed."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            content = file.read()
    except FileNotFoundError:
        return offset
    sys.stdout.buffer.write(content)
    sys.stdout.flush()
    return offset + len(content)
