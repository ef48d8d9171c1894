"""`isaaclab-flows doctor`: what this machine can run, and what to do about what it can't."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import socket
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from isaaclab_flows.cli.console import say
from isaaclab_flows.schemas.settings import settings

Verdict = Literal["yes", "no", "partly"]
_NEEDED_GIB = 5.0
_MEMORY_GIB = 6.0
_ASSET_SERVER = "omniverse-content-production.s3-us-west-2.amazonaws.com"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    verdict: Verdict
    seen: str
    remedy: str = ""


def doctor(*, as_json: bool) -> int:
    """Print what this machine can run; return 0 when it can train here or hand jobs to a server, else 1."""
    found = [*machine_findings(), *simulator_findings(), *server_findings()]
    if as_json:
        say(json.dumps([asdict(finding) for finding in found], indent=2))
    else:
        for finding in found:
            say(f"{finding.verdict:<7} {finding.what:<34} {finding.seen}")
            if finding.remedy:
                say(f"{'':<8}do: {finding.remedy}")
    return 0 if can_work(found) else 1


def can_work(found: Iterable[Finding]) -> bool:
    """Say whether anything can be trained from here: on this machine, or through a Prefect server."""
    verdicts = {finding.what: finding.verdict for finding in found}
    return verdicts.get("train and evaluate here") != "no" or verdicts.get("jobs through a Prefect server") == "yes"


def machine_findings() -> list[Finding]:
    """Look at the system, its memory and the disk that outputs go to."""
    import psutil

    python = platform.python_version()
    system = f"{platform.system()} {platform.machine()}, Python {python}"
    memory = psutil.virtual_memory().total / 2**30
    place = Path(settings().outputs).expanduser() if "://" not in settings().outputs else Path()
    existing = next(path for path in (place.absolute(), *place.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free / 2**30
    writable = os.access(existing, os.W_OK)
    return [
        Finding(
            "system",
            "yes" if sys.version_info[:2] == (3, 12) else "no",
            system,
            "" if sys.version_info[:2] == (3, 12) else "Isaac Lab 3.0 needs Python 3.12: make an environment with it.",
        ),
        Finding(
            "memory",
            "yes" if memory >= _MEMORY_GIB else "partly",
            f"{memory:.0f} GiB",
            "" if memory >= _MEMORY_GIB else "Lower trainingConfig.numEnvs, or run it on another machine.",
        ),
        Finding(
            "space for outputs",
            "no" if not writable else "yes" if free >= _NEEDED_GIB else "partly",
            f"{free:.0f} GiB free in {existing}" if writable else f"{existing} is read-only",
            "" if writable and free >= _NEEDED_GIB else "Name another folder with --output or ISAACLAB_FLOWS_OUTPUTS.",
        ),
    ]


def simulator_findings() -> list[Finding]:
    """Look at what a simulation needs: Isaac Lab, a GPU, robot files."""
    from isaaclab_flows.tasks.simulator.machine import gpus

    chosen = settings().simulator_python
    installed = importlib.util.find_spec("isaaclab") is not None
    linux = (platform.system(), platform.machine()) == ("Linux", "x86_64")
    if chosen is not None:
        there = chosen.is_file()
        lab = Finding(
            "train and evaluate here",
            "yes" if there else "no",
            f"with {chosen}" if there else f"{chosen} is missing",
            "" if there else "Correct ISAACLAB_FLOWS_SIMULATOR_PYTHON.",
        )
    elif installed:
        from importlib.metadata import version

        lab = Finding("train and evaluate here", "yes", f"Isaac Lab {version('isaaclab')}")
    else:
        remedy = (
            "Install it: `pip install isaaclab-flows[isaaclab]`."
            if linux
            else "Isaac Lab runs on Linux x86-64: use the container image there, or hand jobs to a Prefect server."
        )
        lab = Finding("train and evaluate here", "no", "Isaac Lab is not installed", remedy)
    cards = gpus()
    gpu = (
        Finding("GPU", "yes", ", ".join(cards))
        if cards
        else Finding("GPU", "no", "no NVIDIA GPU answers: the CPU simulates", "64 to 256 environments suit a CPU.")
    )
    return [lab, gpu, _robots()]


def _robots() -> Finding:
    what = "robot files"
    root = settings().asset_root
    if root is not None:
        there = "://" in root or Path(root).is_dir()
        remedy = "" if there else "Correct ISAACSIM_ASSET_ROOT."
        return Finding(what, "yes" if there else "no", f"from {root}" if there else f"{root} is no folder", remedy)
    if answers(_ASSET_SERVER, 443):
        return Finding(what, "yes", "NVIDIA's asset server answers")
    return Finding(
        what,
        "partly",
        "NVIDIA's asset server does not answer: Cartpole, Ant and Humanoid only",
        "Connect to the internet, or set ISAACSIM_ASSET_ROOT to a copy of its files.",
    )


def server_findings() -> list[Finding]:
    """Look at the Prefect server that the environment names."""
    what = "jobs through a Prefect server"
    from isaaclab_flows.tasks.prefect_jobs import server_url

    url = server_url()
    if url is None:
        return [
            Finding(what, "no", "none is named: each run starts its own", "`isaaclab-flows up`, or PREFECT_API_URL.")
        ]
    address = urlsplit(url)
    if not answers(address.hostname or "", address.port or (443 if address.scheme == "https" else 80)):
        return [Finding(what, "no", f"{url} does not answer", "Start it, or unset PREFECT_API_URL.")]
    return [Finding(what, "yes", url)]


def answers(host: str, port: int, *, seconds: float = 2.0) -> bool:
    """Say whether a TCP connection comes about in time."""
    try:
        socket.create_connection((host, port), timeout=seconds).close()
    except OSError:
        return False
    return True
