"""`isaaclab-flows sweep`: one sweep from a file, on this machine or where the settings say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from isaaclab_flows.cli.console import EXIT_FAILED, EXIT_INTERRUPTED, console, say, show_error
from isaaclab_flows.cli.interrupts import interruptible
from isaaclab_flows.schemas.errors import FlowsError

if TYPE_CHECKING:
    from isaaclab_flows.schemas.forms import Device
    from isaaclab_flows.schemas.sweep import SweepSummary


def run_sweep(config: Path, *, asset_root: Path | None, output: str | None, device: Device) -> int:
    """Run a sweep and say what came out; return the program's exit code.

    Args:
        config: A `*-sweep-config.json`.
        asset_root: Relative paths resolve against it; by default the folder above the file's.
        output: Folder or s3:// prefix that results appear below.
        device: `cpu`, `cuda` or `auto`.
    """
    from isaaclab_flows.flows.here import prepare_prefect
    from isaaclab_flows.tasks.request.sweep import read_sweep
    from isaaclab_flows.tasks.storage.base import absolute_uri

    prepare_prefect(verbose=True)  # its lines are the progress: one a group
    uri = absolute_uri(config)
    checked, asset = read_sweep(uri, absolute_uri(asset_root) if asset_root else None)
    console().print(f"{checked.name}  sweep of {', '.join(checked.sweep_config.tasks)}", style="bold")
    from isaaclab_flows.flows.evaluation_sweep import evaluation_sweep
    from isaaclab_flows.flows.prefect_server import start_own_server
    from isaaclab_flows.schemas.forms import Places

    places = Places(asset_uri=asset, output_uri=output)
    try:
        with interruptible():
            start_own_server()
            summary = evaluation_sweep(config_uri=uri, places=places, device=device)
    except FlowsError as error:
        show_error(error)
        return EXIT_FAILED
    except (KeyboardInterrupt, SystemExit):
        console().print("Stopped. Run the same command again: what is finished is not repeated.", style="yellow")
        return EXIT_INTERRUPTED
    _say(summary)
    return 0


def _say(summary: SweepSummary) -> None:
    say(
        f"{summary.name}: {summary.evaluations} evaluations, {summary.new} of them new,"
        f" {summary.without_result} without a result."
    )
    for best in summary.best:
        say(f"{best.task}: best is {best.checkpoint.rpartition('/')[2]} with {best.score:,.3g}. {best.statement}")
        say(f"  kept as {best.kept_as}")
    for sentence in summary.regressions:
        say(f"Regression: {sentence}")
    say(f"Results are in {summary.results_uri}")
