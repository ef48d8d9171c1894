"""A local studio for the tests: its program and its server's API."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

SIMULATOR = "isaaclab_flows.container.simulator"
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
TINY: dict[str, Any] = {
    "num_envs": 16,
    "max_iterations": 4,
    "device": "cpu",
    "keep": {"checkpoint_interval": 1},
}


@dataclass
class Studio:
    """The studio of one folder."""

    folder: Path
    port: int
    trained: list[str] = field(default_factory=list)
    """Flow runs that trained, for tests that need checkpoints."""
    swept: list[str] = field(default_factory=list)
    """Flow runs that swept."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def outputs(self) -> Path:
        return self.folder / "outputs"

    def outputs_of(self, job_id: str) -> Path:
        """Return the folder that a job's outputs were published to."""
        (found,) = self.outputs.glob(f"*-{job_id[:8]}")
        return found

    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "AWS_", "ISAACLAB_FLOWS_"))}
        # One kill of the simulator is a failed run here: what a retry does is what is tested.
        return kept | {"ISAACLAB_FLOWS_SIMULATOR_RESTARTS": "0", "PREFECT_API_URL": f"{self.url}/api"}

    def cli(self, *arguments: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """Run `isaaclab-flows` in the studio's folder."""
        return self._python("-m", "isaaclab_flows.cli.main", *arguments, seconds=seconds)

    def prefect(self, *arguments: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """Run `prefect` against the studio."""
        return self._python("-m", "prefect", *arguments, seconds=seconds)

    def _python(self, *arguments: str, seconds: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def logs(self) -> str:
        """Return the last lines of every process."""
        files = sorted((self.outputs / ".studio").glob("*.log"))
        return "\n".join(f"{f.name}:\n{f.read_text(errors='replace')[-3000:]}" for f in files)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Call the server's API; the answer's JSON, or None where it has none."""
        request = urllib.request.Request(
            f"{self.url}/api{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
            method=method,
        )
        for attempt in range(5):
            try:
                with urllib.request.urlopen(request, timeout=60) as response:
                    content = response.read()
                return json.loads(content) if content else None
            except urllib.error.HTTPError as error:
                if error.code != 503 or attempt == 4:  # SQLite was locked: Prefect asks to be asked again
                    raise
                time.sleep(1)
        raise AssertionError

    def start(self, deployment: str, parameters: dict[str, Any]) -> str:
        """Start a run of a deployment (`flow/name`); return its id."""
        found = self.call("GET", f"/deployments/name/{deployment}")
        run = self.call("POST", f"/deployments/{found['id']}/create_flow_run", {"parameters": parameters})
        return str(run["id"])

    def run(self, run_id: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.call("GET", f"/flow_runs/{run_id}")
        return answer

    def wait(self, run_id: str, *, state: set[str] | None = None, seconds: float = 600) -> dict[str, Any]:
        """Wait until a run is in one of the states, by default an end; return it."""
        wanted, end = state or ENDED, time.monotonic() + seconds
        while True:
            run = self.run(run_id)
            if run["state_type"] in wanted:
                return run
            if time.monotonic() > end or (run["state_type"] in ENDED and state):
                pytest.fail(f"{run['name']} is {run['state_name']}, not {wanted}:\n{self.logs()}")
            time.sleep(0.5)

    def children(self, run_id: str) -> list[dict[str, Any]]:
        """Return the runs that a run started, at any depth, newest last."""
        found: list[dict[str, Any]] = self.call(
            "POST", "/flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": [run_id]}}}
        )
        return [run for child in found for run in (child, *self.children(child["id"]))]

    def artifacts(self, run_id: str) -> dict[str, dict[str, Any]]:
        """Return a run's artifacts by the first part of their keys."""
        found = self.call("POST", "/artifacts/filter", {"flow_runs": {"id": {"any_": [run_id]}}})
        return {a["key"].removesuffix(f"-{run_id[:8]}"): a for a in found}

    def simulators(self) -> list[psutil.Process]:
        """Return the simulator processes of this studio."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            command = process.info["cmdline"] or []
            if SIMULATOR in command and any(str(self.folder) in part for part in command):
                found.append(process)
        return found
