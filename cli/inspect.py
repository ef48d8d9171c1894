"""`isaaclab-flows inspect`: what a checkpoint is."""

from __future__ import annotations

from pathlib import Path

from isaaclab_flows.cli.console import say
from isaaclab_flows.schemas.inspection import CheckpointReport, NetworkReport


def inspect(file: Path, *, as_json: bool) -> None:
    """Print what a checkpoint is. Raises CheckpointError when it is none."""
    from isaaclab_flows.tasks.simulator.inspection import inspect_checkpoint

    report = inspect_checkpoint(file.expanduser())
    if as_json:
        say(report.model_dump_json(by_alias=True, indent=2))
        return
    for line in lines(report):
        say(line)


def lines(report: CheckpointReport) -> list[str]:
    """Return a report as people read it."""
    came = f"{report.iterations:,} iterations" if report.iterations is not None else "unknown iterations"
    if report.iterations is None and report.steps is not None:
        came = f"{report.steps:,} steps of each environment"
    found = [f"library    {report.library} (written by {report.written_by})", f"trained    {came}"]
    found += [f"{network.part:<10} {_network(network)}" for network in report.networks]
    if report.tasks is None:
        found.append("fits       unknown: Isaac Lab is not installed here")
    else:
        found.append(f"fits       {', '.join(report.tasks) or 'none of Isaac Lab 3.0 by its sizes and layers'}")
    return found


def _network(network: NetworkReport) -> str:
    memory = f"{network.memory} → " if network.memory else ""
    sizes = " → ".join(map(str, (*network.hidden, network.outputs)))
    return f"{network.inputs} → {memory}{sizes}{', observations normalised' if network.normaliser else ''}"
