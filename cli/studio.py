"""The local studio: a Prefect server with its UI, two workers and a file server, by `up`, `down` and `status`."""

from __future__ import annotations

import os
import signal
import socket
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from isaaclab_flows.cli.console import console, say
from isaaclab_flows.cli.studio_processes import Part, PartsFolder, StudioError, is_running, listener_on
from isaaclab_flows.schemas.names import EXECUTE_DEPLOYMENT, ORCHESTRATOR_POOL, SIMULATOR_POOL
from isaaclab_flows.schemas.settings import settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SERVER, ORCHESTRATOR, SIMULATOR, FILES = "server", "orchestrator", "simulator", "files"
# Workers end first and the server last, so that what they were doing is still recorded.
ENDING_ORDER = (ORCHESTRATOR, SIMULATOR, FILES, SERVER)
SERVER_START_SECONDS = 120.0
WORKER_START_SECONDS = 60.0
POLL_SECONDS = 0.25


@dataclass(frozen=True)
class Studio:
    """Where the studio listens and keeps its things.

    Args:
        host: Address that the server and the file server listen on.
        port: The server's TCP port; files are served on the next one.
        parts: Its processes.
    """

    host: str
    port: int
    parts: PartsFolder

    @property
    def url(self) -> str:
        """The UI's address."""
        return f"http://{self.host}:{self.port}"

    @property
    def api_url(self) -> str:
        """The API's address."""
        return f"{self.url}/api"

    @property
    def files_url(self) -> str:
        """Where a browser finds the outputs."""
        return f"http://{self.host}:{self.port + 1}"


def parts_folder() -> PartsFolder:
    """Return where this folder's studio keeps its things."""
    return PartsFolder(settings().studio_folder.expanduser().absolute())


def up(*, host: str, port: int, simulator_runs: int, background: bool) -> None:
    """Start what is missing of the studio, and watch over it until Ctrl-C.

    Args:
        host: Address to listen on.
        port: TCP port of the server; one more for the files.
        simulator_runs: How many simulators run at a time.
        background: Return once everything runs; `down` ends it.

    Raises:
        StudioError: A port is taken, or a process does not start.
    """
    require_password(host, os.environ)
    parts = parts_folder()
    running = parts.find(SERVER)
    if running is not None and running.port not in (None, port):
        port = running.port or port
        console().print(f"The studio of this folder runs on port {port}; that one is used.")
    studio = Studio(host, port, parts)
    started: list[Part] = []
    try:
        _start_missing(studio, started, simulator_runs)
        _introduce(studio, found=not started)
        if background or not started:
            return
        _watch(studio, started)
    except KeyboardInterrupt:
        console().print("\nEnding the studio: running jobs save what they can, and go on when they are retried.")
    except BaseException:
        parts.stop(_in_ending_order(started))
        raise
    parts.stop(_in_ending_order(started))


def require_password(host: str, environment: Mapping[str, str]) -> None:
    """Check that a studio which others can reach asks them for a password.

    Args:
        host: Address to listen on.
        environment: Where Prefect's server and its clients read the password from.

    Raises:
        StudioError: It would not.
    """
    names = ("PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING")
    given = {environment.get(name, "") for name in names}
    if host in ("127.0.0.1", "::1", "localhost") or (len(given) == 1 and ":" in given.pop()):
        return
    raise StudioError(
        f"On {host}, everybody who reaches this machine could start programs on it",
        where="--host",
        remedy=f"Leave --host away and use an SSH tunnel, or set {names[0]} and {names[1]} to the same user:password.",
    )


def down() -> int:
    """End the studio's processes and all that they started; return how many of its processes ran."""
    parts = parts_folder()
    running = [part for name in ENDING_ORDER if (part := parts.find(name)) is not None]
    parts.stop(running)
    return len(running)


def status() -> bool:
    """Print what of the studio runs; return whether all of it does."""
    from rich.table import Table

    parts = parts_folder()
    table = Table("part", "state", "process", "log")
    found = {name: parts.find(name) for name in (SERVER, ORCHESTRATOR, SIMULATOR, FILES)}
    for name, part in found.items():
        state = "not running" if part is None else "running"
        if name == SERVER and part is not None and not _answers(f"http://127.0.0.1:{part.port}/api/health"):
            state = "running, but does not answer"
        table.add_row(name, state, str(part.pid) if part else "", str(parts.log_file(name)))
    console().print(table)
    server = found[SERVER]
    if server is not None:
        say(f"http://127.0.0.1:{server.port}")
    return all(found.values())


def _start_missing(studio: Studio, started: list[Part], simulator_runs: int) -> None:
    parts = studio.parts
    outputs = str(Path(settings().outputs).expanduser().absolute())
    common = {
        "PREFECT_HOME": str(parts.path / "prefect"),
        "PREFECT_API_URL": studio.api_url,
        "ISAACLAB_FLOWS_OUTPUTS": outputs,
        "ISAACLAB_FLOWS_FILES_URL": studio.files_url,
    }
    if parts.find(SERVER) is None:
        _require_free(studio, studio.port)
        console().print(f"Starting the Prefect server on {studio.url} …")
        started.append(_start_server(studio, common))
    _wait_for_server(studio)
    if started:
        from isaaclab_flows.cli.deploying import deploy_all

        console().print("Deploying the flows …")
        deploy_all(studio.api_url, simulator_runs=simulator_runs)
    if parts.find(FILES) is None:
        _require_free(studio, studio.port + 1)
        Path(outputs).mkdir(parents=True, exist_ok=True)
        command = ["-m", "isaaclab_flows.cli.files_server", str(studio.port + 1)]
        command += ["--bind", studio.host, "--directory", outputs]
        started.append(parts.start(FILES, command, environment={}, port=studio.port + 1))
    missing = [name for name in (ORCHESTRATOR, SIMULATOR) if parts.find(name) is None]
    started += [_start_worker(studio, name, common) for name in missing]
    _wait_for_workers(studio)


def _start_server(studio: Studio, common: dict[str, str]) -> Part:
    environment = common | {
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_UI_API_URL": studio.api_url,
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    }
    command = ["-m", "prefect", "server", "start", "--host", studio.host, "--port", str(studio.port)]
    return studio.parts.start(SERVER, command, environment=environment, port=studio.port)


def _start_worker(studio: Studio, name: str, common: dict[str, str]) -> Part:
    from isaaclab_flows.cli.deploying import HEARTBEAT_SECONDS

    environment = common | {
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
    }
    if name == ORCHESTRATOR:
        environment["ISAACLAB_FLOWS_EXECUTE_DEPLOYMENT"] = EXECUTE_DEPLOYMENT
    command = ["-m", "prefect", "worker", "start", "--pool", _pool(name), "--name", name, "--type", "process"]
    return studio.parts.start(name, [*command, "--install-policy", "never"], environment=environment)


def _pool(name: str) -> str:
    return ORCHESTRATOR_POOL if name == ORCHESTRATOR else SIMULATOR_POOL


def _require_free(studio: Studio, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((studio.host, port))
        except OSError as error:
            owner = listener_on(port)
            by = f" by {owner}" if owner else ""
            if _answers(f"http://{studio.host}:{port}/api/health"):
                by = f" by a Prefect server that this folder's studio did not start{f': {owner}' if owner else ''}"
            raise StudioError(
                f"Port {port} is taken{by}",
                where=f"{studio.host}:{port}",
                remedy=f"Choose another: `isaaclab-flows up --port {port + 100}`. A studio that was started in another"
                " folder ends with `isaaclab-flows down` there.",
                details=str(error),
            ) from error


def _wait_for_server(studio: Studio) -> None:
    def ready() -> bool:
        return _answers(f"{studio.api_url}/health")

    _wait(studio, SERVER, ready, SERVER_START_SECONDS)


def _wait_for_workers(studio: Studio) -> None:
    from isaaclab_flows.cli.deploying import client_of

    with client_of(studio.api_url) as client:
        for name in (ORCHESTRATOR, SIMULATOR):

            def online(name: str = name) -> bool:
                workers = client.read_workers_for_work_pool(_pool(name))
                return any(worker.name == name and worker.status == "ONLINE" for worker in workers)

            _wait(studio, name, online, WORKER_START_SECONDS)


def _wait(studio: Studio, name: str, ready: object, seconds: float) -> None:
    assert callable(ready)
    end = time.monotonic() + seconds
    while not ready():
        if studio.parts.find(name) is None or time.monotonic() > end:
            why = "ended" if studio.parts.find(name) is None else f"was not ready within {seconds:.0f} s"
            raise StudioError(
                f"The studio's {name} {why}",
                where=str(studio.parts.log_file(name)),
                remedy="Its log's last lines follow.",
                details=studio.parts.log_tail(name),
            )
        time.sleep(POLL_SECONDS)


def _introduce(studio: Studio, *, found: bool) -> None:
    say(f"The studio {'already runs' if found else 'is up'}: {studio.url}")
    out = console()
    out.print(f"  outputs   {studio.files_url}")
    out.print(f"  from here export PREFECT_API_URL={studio.api_url}")
    if found:
        out.print("  It is left as it is; `isaaclab-flows down` ends it.")


def _watch(studio: Studio, started: Iterable[Part]) -> None:
    console().print("Ctrl-C ends all of it.")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a service manager's stop is a Ctrl-C
    while True:
        for part in started:
            if not is_running(part):
                raise StudioError(
                    f"The studio's {part.name} ended by itself",
                    where=str(studio.parts.log_file(part.name)),
                    remedy="Its log's last lines follow. `isaaclab-flows up` starts it again.",
                    details=studio.parts.log_tail(part.name),
                )
        time.sleep(1.0)


def _in_ending_order(parts: Iterable[Part]) -> list[Part]:
    return sorted(parts, key=lambda part: ENDING_ORDER.index(part.name))


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 - always our own http address
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False
