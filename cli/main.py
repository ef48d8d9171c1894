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

jobs = typer.Typer(
    help="See and steer jobs: those of this machine, and those of the server that PREFECT_API_URL names.",
    no_args_is_help=True,
)
app.add_typer(jobs, name="jobs")
cloud = typer.Typer(help="See, check and take down a deployment to AWS.", no_args_is_help=True)
app.add_typer(cloud, name="cloud")

DeploymentArgument = Annotated[str, typer.Argument(help="The deployment's `name` in infrastructure/config.yaml.")]
RegionOption = Annotated[str | None, typer.Option(help="Its region; by default the one that AWS's settings name.")]

JobArgument = Annotated[str, typer.Argument(help="An id, four or more of its first characters, a name, or `latest`.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

ConfigArgument = Annotated[Path, typer.Argument(help="A `*-training-config.json` or `*-evaluation-config.json`.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, e.g. `--set trainingConfig.numEnvs=64`."),
]
AssetRootOption = Annotated[
    Path | None, typer.Option(help="Folder that relative paths resolve against; by default the one above the file's.")
]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("isaaclab-flows"))
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    pass


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
    name: Annotated[str | None, typer.Option(help="What to call it; by default the configuration's name.")] = None,
    tags: Annotated[list[str] | None, typer.Option("--tag", help="Tag its flow run; may be repeated.")] = None,
) -> None:
    """Train or evaluate on this machine (or where the settings say), and wait for the result."""
    from isaaclab_flows.cli.run import RunOptions, run_config

    options = RunOptions(
        config, asset_root, output, tuple(overrides or ()), device, job_id, again, verbose, name, tuple(tags or ())
    )
    with fail():
        sys.exit(run_config(options))


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
def init(
    file: Annotated[Path | None, typer.Argument(help="The file to write; by default one named by the task.")] = None,
    task: Annotated[str | None, typer.Option(help="The task; asked for on a terminal.")] = None,
    library: Annotated[str | None, typer.Option(help="`rsl_rl`, `rl_games` or `skrl`.")] = None,
    num_envs: Annotated[int | None, typer.Option(min=1, help="Environments in parallel.")] = None,
    iterations: Annotated[int | None, typer.Option(min=1, help="Policy updates.")] = None,
    evaluation: Annotated[bool, typer.Option("--evaluation", help="An evaluation instead of a training.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
) -> None:
    """Write a configuration by a few questions, or by options alone."""
    from isaaclab_flows.cli.init import Answers
    from isaaclab_flows.cli.init import init as write

    with fail():
        write(Answers(file, task, library, num_envs, iterations, evaluation, force))


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Say what this machine can run, and what to do about what it can't."""
    from isaaclab_flows.cli.doctor import doctor as examine

    with fail():
        sys.exit(examine(as_json=as_json))


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="A checkpoint of rsl_rl, rl_games or skrl, of any version.")],
    as_json: JsonOption = False,
) -> None:
    """Say what a checkpoint is: its library and version, networks, iterations, and the tasks that it could fit."""
    from isaaclab_flows.cli.inspect import inspect as look

    with fail():
        look(file, as_json=as_json)


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
def compare(
    places: Annotated[
        list[str],
        typer.Argument(help="Evaluations' folders, `metrics.csv` files, job ids, or names."),
    ],
    metric: Annotated[
        Literal["meanReturn", "successRate"], typer.Option(help="What to compare by; larger is better.")
    ] = "meanReturn",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    outputs: Annotated[str | None, typer.Option(help="Where ids and names are looked for.")] = None,
) -> None:
    """Say which of several evaluated policies is better, which differences could be chance, and what was not seen."""
    from isaaclab_flows.cli.compare import run_compare

    with fail():
        run_compare(places, metric=metric, as_json=as_json, outputs=outputs)


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


@jobs.command("list")
def jobs_list(
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every two seconds, until Ctrl-C.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
) -> None:
    """List jobs: name, task, state, progress, reward, age, machine, cost so far, recoveries."""
    from isaaclab_flows.cli.jobs import list_jobs

    with fail():
        list_jobs(as_json=as_json, watch=watch, limit=limit)


@jobs.command("show")
def jobs_show(job: JobArgument = "latest", as_json: JsonOption = False) -> None:
    """Say all that is known of one job."""
    from isaaclab_flows.cli.jobs import show_job

    with fail():
        show_job(job, as_json=as_json)


@jobs.command("logs")
def jobs_logs(
    job: JobArgument = "latest",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
) -> None:
    """Print a job's log."""
    from isaaclab_flows.cli.jobs import show_logs

    with fail():
        show_logs(job, follow=follow)


@jobs.command("cancel")
def jobs_cancel(job: JobArgument) -> None:
    """End a job that runs; what it has saved is published."""
    from isaaclab_flows.cli.jobs import cancel_job

    with fail():
        cancel_job(job)


@jobs.command("retry")
def jobs_retry(
    job: JobArgument,
    device: Annotated[str | None, typer.Option(help="`cpu`, `cuda` or `auto`; as before by default.")] = None,
) -> None:
    """Go on with a job that has stopped, from its newest checkpoint."""
    from isaaclab_flows.cli.jobs import retry_job

    with fail():
        sys.exit(retry_job(job, device=device))


@jobs.command("open")
def jobs_open(job: JobArgument = "latest") -> None:
    """Open a job's page, or the folder of its outputs."""
    from isaaclab_flows.cli.jobs import open_job

    with fail():
        open_job(job)


@jobs.command("tensorboard")
def jobs_tensorboard(
    job: JobArgument = "latest", port: Annotated[int, typer.Option(help="Port to serve on.")] = 6006
) -> None:
    """Serve a job's curves on this machine until Ctrl-C."""
    from isaaclab_flows.cli.jobs import show_tensorboard

    with fail():
        sys.exit(show_tensorboard(job, port=port))


@jobs.command("video")
def jobs_video(job: JobArgument = "latest") -> None:
    """Open a job's newest film."""
    from isaaclab_flows.cli.jobs import open_video

    with fail():
        open_video(job)


@cloud.command("status")
def cloud_status(name: DeploymentArgument = "isaaclab", region: RegionOption = None) -> None:
    """Show stacks, services and the queues' jobs."""
    from isaaclab_flows.cli import cloud as aws

    with fail():
        sys.exit(0 if aws.status(aws.clients(region), name) else 1)


@cloud.command("check")
def cloud_check(name: DeploymentArgument = "isaaclab", region: RegionOption = None) -> None:
    """Look for what would keep jobs from running, and say what to do; only reads. Exit code 1: something is wrong."""
    from isaaclab_flows.cli import cloud as aws

    with fail():
        sys.exit(0 if aws.check(aws.clients(region), name) else 1)


@cloud.command("destroy")
def cloud_destroy(
    name: DeploymentArgument,
    region: RegionOption = None,
    keep_data: Annotated[bool, typer.Option("--keep-data", help="Leave the data stack as it is.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it.")] = False,
) -> None:
    """Delete a deployment's stacks. Files, buckets and the key stay in any case."""
    from isaaclab_flows.cli import cloud as aws

    with fail():
        aws.destroy(aws.clients(region), name, keep_data=keep_data, confirmed=yes)


if __name__ == "__main__":
    app()
