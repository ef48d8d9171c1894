"""`isaaclab-flows run` and `validate`: one configuration on this machine, with live progress."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from isaaclab_flows.cli.console import EXIT_FAILED, EXIT_INTERRUPTED, console, say, show_error
from isaaclab_flows.cli.interrupts import interruptible
from isaaclab_flows.cli.overrides import parse_overrides
from isaaclab_flows.flows.here import prepare_prefect, run_here
from isaaclab_flows.schemas.errors import ConfigError, FlowsError
from isaaclab_flows.schemas.request import Request, new_job_id
from isaaclab_flows.schemas.settings import replaced_settings, settings

if TYPE_CHECKING:
    from isaaclab_flows.schemas.job import Job
    from isaaclab_flows.schemas.outcome import Outcome


@dataclass(frozen=True)
class RunOptions:
    """What the command line says of one run."""

    config: Path
    asset_root: Path | None = None
    output: str | None = None
    overrides: Sequence[str] = ()
    device: str | None = None
    job_id: str | None = None
    again: bool = False
    verbose: bool = False
    name: str | None = None
    tags: Sequence[str] = ()


def validate_config(options: RunOptions) -> None:
    """Check a configuration file and say what it would do."""
    from isaaclab_flows.tasks.request.resolve import resolve

    if _is_sweep(options.config):
        _validate_sweep(options)
        return
    job = resolve(_request(options))
    for warning in job.warnings:
        console().print(f"Warning: {warning}", style="yellow", markup=False)
    say(f"{options.config} is a valid {job.kind} configuration: {job.task} with {job.library}.")
    for source in job.checkpoints:
        say(f"  checkpoint   {source.uri} (by {source.found_by})")
    if job.custom_environment_uri:
        say(f"  environment  {job.custom_environment_uri}")


def _is_sweep(config: Path) -> bool:
    """Say whether a file is a sweep's; one that cannot be read is left to whoever reads it whole."""
    try:
        data = json.loads(config.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(data, dict) and "sweepConfig" in data


def _validate_sweep(options: RunOptions) -> None:
    from isaaclab_flows.tasks.request.sweep import read_sweep

    root = options.asset_root
    config, _ = read_sweep(str(options.config.expanduser().absolute()), str(root.absolute()) if root else None)
    say(f"{options.config} is a valid sweep of {', '.join(config.sweep_config.tasks)}.")
    say(f"Run it with: isaaclab-flows sweep {shlex.quote(str(options.config))}")


def run_config(options: RunOptions) -> int:
    """Run one configuration, show its progress and its result; return the program's exit code."""
    return _say_result(perform(options))


def _say_result(outcome: Outcome | int) -> int:
    from isaaclab_flows.tasks.show.headline import headline

    if isinstance(outcome, int):
        return outcome
    for line in headline(outcome):
        say(line)
    return 0


def perform(options: RunOptions) -> Outcome | int:
    """Run one configuration and show its progress; return its outcome, or the exit code of one that did not succeed.

    Raises:
        FlowsError: Before anything was started: the configuration or something that it names is wrong.
    """
    if options.output is None:
        return _perform(_request(options), options)
    with replaced_settings(outputs=options.output):
        return _perform(_request(options), options)


def go_on(job_id: str, *, device: str | None) -> int:
    """Go on with a job of this machine, as it was asked for; return the program's exit code.

    Args:
        job_id: The job.
        device: `cpu`, `cuda` or `auto`; None leaves it as it was.

    Raises:
        InputMissingError: It was not started from a terminal here.
    """
    from isaaclab_flows.tasks.job.folder import folder_of
    from isaaclab_flows.tasks.request.document import read_request

    request = read_request(str(folder_of(job_id).path / "request.json"))
    request = request.model_copy(update={"again": False, "device": device or request.device})
    return _say_result(_perform(request, RunOptions(Path(request.config_uri or ""), job_id=job_id, device=device)))


def _perform(request: Request, options: RunOptions) -> Outcome | int:
    prepare_prefect(verbose=options.verbose)
    from isaaclab_flows.tasks.request.resolve import resolve

    job = resolve(request)  # whatever is wrong shows before anything is started
    _announce(job)
    from isaaclab_flows.cli.progress import watch

    try:
        with interruptible(), watch(job, verbose=options.verbose):
            return run_here(request, job, tags=options.tags)
    except FlowsError as error:
        show_error(error)
        _say_how_to_go_on(job, options)
        return EXIT_FAILED
    except KeyboardInterrupt:
        console().print("Stopped.", style="bold yellow")
        _say_how_to_go_on(job, options)
        return EXIT_INTERRUPTED


def _announce(job: Job) -> None:
    from isaaclab_flows.tasks.job.folder import folder_of

    out = console()
    out.print(f"{job.config.name}  {job.title}", style="bold")
    out.print(f"Job {job.job_id}, work in {folder_of(job).path}", style="dim", soft_wrap=True)
    for warning in job.warnings:
        out.print(f"Warning: {warning}", style="yellow")


def _request(options: RunOptions) -> Request:
    from pydantic import ValidationError

    from isaaclab_flows.tasks.storage.base import absolute_uri

    if _is_sweep(options.config):
        raise ConfigError(
            "This is a sweep, not a training or an evaluation",
            where=str(options.config),
            remedy=f"Run it with `isaaclab-flows sweep {shlex.quote(str(options.config))}`.",
        )
    root = options.asset_root
    if root is not None and not root.is_dir():
        raise ConfigError(f"'--asset-root {root}' is no folder", where="--asset-root", remedy="Name a folder.")
    output = settings().outputs
    try:
        return Request(
            job_id=options.job_id or new_job_id(),
            source="cli",
            config_uri=absolute_uri(options.config),
            overrides=parse_overrides(options.overrides) | ({"name": options.name} if options.name else {}),
            asset_uri=absolute_uri(root) if root else None,
            output_uri=absolute_uri(output),
            device=options.device,
            again=options.again,
        )
    except ValidationError as error:
        raise ConfigError(
            f"'--job {options.job_id}' is no job id", where="--job", remedy="Letters, digits, '-' and '_' are allowed."
        ) from error


def _say_how_to_go_on(job: Job, options: RunOptions) -> None:
    from isaaclab_flows.tasks.job.checkpoints import newest_intact
    from isaaclab_flows.tasks.job.folder import folder_of

    folder = folder_of(job)
    newest, _ = newest_intact(folder.run / "checkpoints")
    out = console()
    if newest is None:
        out.print(f"Nothing was saved yet. The simulator's log is below {folder.path}/attempts", soft_wrap=True)
        return
    out.print(f"Saved up to {newest.name}; everything that was saved is in {folder.out}", soft_wrap=True)
    out.print(f"Go on with: {command_to_go_on(job.job_id, options)}", soft_wrap=True, style="bold")


def command_to_go_on(job_id: str, options: RunOptions) -> str:
    """Return the command that goes on with a job where it stopped."""
    words = ["isaaclab-flows", "run", str(options.config)]
    for name, value in (
        ("--asset-root", options.asset_root),
        ("--output", options.output),
        ("--device", options.device),
    ):
        if value is not None:
            words += [name, str(value)]
    for override in options.overrides:
        words += ["--set", override]
    return shlex.join([*words, "--job", job_id])
