"""`isaaclab-flows run` and `validate`: one configuration on this machine, with live progress."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.console import EXIT_FAILED, EXIT_INTERRUPTED, console, say, show_error
from cli.overrides import parse_overrides
from schemas.errors import ConfigError, FlowsError
from schemas.request import Request, new_job_id
from schemas.settings import settings

if TYPE_CHECKING:
    from schemas.job import Job
    from schemas.outcome import Outcome


def validate_config(config: Path, *, asset_root: Path | None, overrides: Sequence[str]) -> None:
    """Check a configuration file and say what it would do."""
    from tasks.resolve import resolve

    job = resolve(_request(config, asset_root=asset_root, overrides=overrides, device=None, job_id=None, again=False))
    for warning in job.warnings:
        console().print(f"Warning: {warning}", style="yellow")
    say(f"{config} is a valid {job.kind} configuration: {job.task} with {job.library}.")
    for source in job.checkpoints:
        say(f"  checkpoint   {source.uri} (by {source.found_by})")
    if job.custom_environment_uri:
        say(f"  environment  {job.custom_environment_uri}")


def run_config(
    config: Path,
    *,
    asset_root: Path | None,
    output: str | None,
    overrides: Sequence[str],
    device: str | None,
    job_id: str | None,
    again: bool,
    verbose: bool,
) -> int:
    """Run one configuration and show its progress; return the program's exit code."""
    if output is not None:
        os.environ["ISAACLAB_FLOWS_OUTPUTS"] = output
        settings.cache_clear()
    request = _request(config, asset_root=asset_root, overrides=overrides, device=device, job_id=job_id, again=again)
    _prepare_prefect(verbose=verbose)
    from tasks.job_folder import folder_of
    from tasks.request_document import write_request
    from tasks.resolve import resolve

    job = resolve(request)  # whatever is wrong shows before anything is started
    folder = folder_of(job)
    document = folder.path / "request.json"
    write_request(request, str(document))
    out = console()
    out.print(f"[bold]{job.config.name}[/bold]  {job.title}")
    out.print(f"Job {job.job_id}, work in {folder.path}", style="dim", soft_wrap=True)
    for warning in job.warnings:
        out.print(f"Warning: {warning}", style="yellow")
    from cli.progress import watch

    try:
        with _simulator_started_early(job), watch(job, verbose=verbose):
            outcome = _pipeline(str(document))
    except FlowsError as error:
        show_error(error)
        _say_how_to_go_on(job, config)
        return EXIT_FAILED
    except (KeyboardInterrupt, SystemExit) as stop:
        out.print("Stopped." if isinstance(stop, KeyboardInterrupt) else "Stopped by a signal.", style="bold yellow")
        _say_how_to_go_on(job, config)
        return EXIT_INTERRUPTED
    _say_result(outcome)
    return 0


def _request(
    config: Path,
    *,
    asset_root: Path | None,
    overrides: Sequence[str],
    device: str | None,
    job_id: str | None,
    again: bool,
) -> Request:
    if asset_root is not None and not asset_root.is_dir():
        raise ConfigError(f"'--asset-root {asset_root}' is no folder", where="--asset-root", remedy="Name a folder.")
    output = settings().outputs
    from pydantic import ValidationError

    try:
        return Request(
            job_id=job_id or new_job_id(),
            source="cli",
            config_uri=str(config.expanduser().absolute()),
            overrides=parse_overrides(overrides),
            asset_uri=str(asset_root.expanduser().absolute()) if asset_root else None,
            output_uri=output if output.startswith("s3://") else str(Path(output).expanduser().absolute()),
            device=device,
            again=again,
        )
    except ValidationError as error:
        raise ConfigError(
            f"'--job {job_id}' is no job id", where="--job", remedy="Letters, digits, '-' and '_' are allowed."
        ) from error


def _prepare_prefect(*, verbose: bool) -> None:
    """Set Prefect's defaults for a run from a terminal; must come before Prefect is imported.

    Its server gets all log lines, the terminal only our own display. The embedded server may take longer to start than
    Prefect's 20 s where the cores are busy, as they are when the simulator imports at the same time.
    """
    if not verbose:
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")


@contextlib.contextmanager
def _simulator_started_early(job: Job) -> Iterator[None]:
    """Let the simulator import while Prefect's server starts, where the work is done on this machine."""
    from tasks.job_folder import folder_of
    from tasks.machine import require_simulator
    from tasks.simulator import started_early

    finished = folder_of(job).load_outcome()
    if settings().execute_deployment is not None or (finished and finished.status == "succeeded" and not job.again):
        yield
        return
    require_simulator()
    with started_early(folder_of(job)):
        yield


def _pipeline(document: str) -> Outcome:
    from flows.pipeline import pipeline

    return pipeline(document)


def _say_how_to_go_on(job: Job, config: Path) -> None:
    from tasks.checkpoints import newest_intact
    from tasks.job_folder import folder_of

    folder = folder_of(job)
    newest, _ = newest_intact(folder.run / "checkpoints")
    out = console()
    if newest is not None:
        out.print(f"Saved up to {newest.name}; everything that was saved is in {folder.out}", soft_wrap=True)
        arguments: list[Any] = [Path(sys.argv[0]).name, "run", config, *_options(sys.argv[2:]), "--job", job.job_id]
        out.print(f"Go on with: {' '.join(str(a) for a in arguments)}", soft_wrap=True, style="bold")
    else:
        out.print(f"Nothing was saved yet. The simulator's log is below {folder.path}/attempts", soft_wrap=True)


def _options(arguments: Sequence[str]) -> list[str]:
    """Return the options of this call that a call that goes on needs too."""
    kept: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument in ("--output", "--asset-root", "--set", "--device"):
            kept += [argument, next(rest, "")]
        elif argument == "--job":
            next(rest, None)
    return kept


def _say_result(outcome: Outcome) -> None:
    """Print what came out and where, in a few lines."""
    from tasks.report import headline

    for line in headline(outcome):
        say(line)
