"""The program's entry point: its commands, and errors that end with what to do instead of a stack trace."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from isaaclab_flows.cli.console import console, fail

app = typer.Typer(
    name="isaaclab-flows",
    help="Train and evaluate robot policies with NVIDIA Isaac Lab, orchestrated by Prefect.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

ConfigArgument = Annotated[Path, typer.Argument(help="A `*-training-config.json` or `*-evaluation-config.json`.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, e.g. `--set trainingConfig.numEnvs=64`."),
]
AssetRootOption = Annotated[
    Path | None, typer.Option(help="Folder that relative paths resolve against; by default the one above the file's.")
]


@app.command()
def run(
    config: ConfigArgument,
    asset_root: AssetRootOption = None,
    output: Annotated[
        str | None, typer.Option(help="Folder or s3:// prefix; outputs appear below it in a folder named by the job.")
    ] = None,
    overrides: SetOption = None,
    device: Annotated[str | None, typer.Option(help="`cpu`, `cuda` or `auto`.")] = None,
    job_id: Annotated[
        str | None, typer.Option("--job", help="Go on with this job instead of starting a new one.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Run a finished job anew.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show Prefect's log lines too.")] = False,
) -> None:
    """Train or evaluate on this machine (or where the settings say), and wait for the result."""
    from isaaclab_flows.cli.run import RunOptions, run_config

    with fail():
        sys.exit(
            run_config(RunOptions(config, asset_root, output, tuple(overrides or ()), device, job_id, again, verbose))
        )


@app.command()
def validate(config: ConfigArgument, asset_root: AssetRootOption = None, overrides: SetOption = None) -> None:
    """Check a configuration and everything that it names, in seconds and without a GPU."""
    from isaaclab_flows.cli.run import RunOptions, validate_config

    with fail():
        validate_config(RunOptions(config, asset_root, overrides=tuple(overrides or ())))


@app.command()
def demo(
    output: Annotated[str, typer.Option(help="Folder for the outputs.")] = "outputs",
    overrides: SetOption = None,
) -> None:
    """Train Cartpole on this machine's CPU, evaluate the policy and film it."""
    from isaaclab_flows.cli.demo import run_demo

    with fail():
        sys.exit(run_demo(output=output, overrides=tuple(overrides or ())))


@app.command()
def tasks(
    search: Annotated[str | None, typer.Argument(help="Show only names that contain this.")] = None,
) -> None:
    """List the tasks that can be trained, their libraries, and which of them can run here now."""
    from isaaclab_flows.cli.tasks import list_tasks

    with fail():
        list_tasks(search)


@app.command()
def sweep(
    config: Annotated[Path, typer.Argument(help="A `*-sweep-config.json`.")],
    asset_root: AssetRootOption = None,
    output: Annotated[str | None, typer.Option(help="Folder or s3:// prefix that results appear below.")] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to simulate.")] = "auto",
) -> None:
    """Evaluate many checkpoints in many settings, rank them, and keep the best; only what is new is evaluated."""
    from isaaclab_flows.cli.sweep import run_sweep

    with fail():
        sys.exit(run_sweep(config, asset_root=asset_root, output=output, device=device))


@app.command()
def up(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the Prefect server; the next one serves the files.")] = 4200,
    simulators: Annotated[int, typer.Option(min=1, help="How many simulators run at a time.")] = 1,
    background: Annotated[bool, typer.Option("--background", help="Return once everything runs.")] = False,
) -> None:
    """Start a local studio: a Prefect server with its UI, workers, work pools, deployments and automations."""
    from isaaclab_flows.cli.studio import up as start

    with fail():
        start(host=host, port=port, simulator_runs=simulators, background=background)


@app.command()
def down() -> None:
    """End the local studio of this folder, with everything that it runs."""
    from isaaclab_flows.cli.studio import down as end

    with fail():
        ended = end()
        console().print(f"Ended {ended} processes." if ended else "Nothing of the studio runs here.")


@app.command()
def status() -> None:
    """Say what of the local studio runs; the exit code is 0 when all of it does."""
    from isaaclab_flows.cli.studio import status as show

    with fail():
        sys.exit(0 if show() else 1)


@app.command()
def deploy(
    target: Annotated[str, typer.Option(help="`local` or `batch`: where simulators run.")] = "local",
    api_url: Annotated[
        str | None, typer.Option(envvar="PREFECT_API_URL", help="The Prefect server's API, ending in /api.")
    ] = None,
) -> None:
    """Make work pools, deployments and automations of a Prefect server from `prefect.yaml`."""
    from isaaclab_flows.cli.deploying import deploy_command

    with fail():
        deploy_command(api_url, target)


if __name__ == "__main__":
    app()
