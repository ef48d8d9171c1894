"""Runs the bridge's Lambda as AWS does: from its own package, in its own process, configured by environment only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parents[3] / "infrastructure" / "vams_bridge"
BOOTSTRAP = """
import importlib, json, logging, sys, time
package, handler = sys.argv[1:3]
# Only what AWS's image has: the standard library and boto3 with its own dependencies.
ALLOWED = {*sys.stdlib_module_names, "boto3", "botocore", "s3transfer", "jmespath", "dateutil", "urllib3", "six"}
class OnlyTheRuntime:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in ALLOWED or top in ("handler", "bridge") or top.startswith("_") or path is not None:
            return None
        # Optional accelerators of boto3 and urllib3 are absent on AWS; anything else must not be wanted.
        raise ModuleNotFoundError(f"the Lambda's image has no {name}", name=name)
sys.meta_path.insert(0, OnlyTheRuntime())
sys.path.insert(0, package)
logging.basicConfig(stream=sys.stderr, level=logging.INFO)
module, _, function = handler.rpartition(".")
started = time.perf_counter()
loaded = getattr(importlib.import_module(module), function)
print(f"import took {time.perf_counter() - started:.3f} s", file=sys.stderr)
try:
    answer = {"result": loaded(json.load(sys.stdin), None)}
except Exception as error:
    answer = {"errorType": type(error).__name__, "errorMessage": str(error)}
print(json.dumps(answer))
"""


class LambdaFailedError(Exception):
    """The Lambda raised: Step Functions sees a failed attempt with this message."""


def build(target: Path) -> Path:
    """Zip the package as the deployment does, and return the zip."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(SOURCE.rglob("*.py")):
            archive.write(path, path.relative_to(SOURCE))
    return target


@dataclass
class LambdaProcess:
    """One deployed function.

    Attributes:
        folder: Where its package is unpacked.
        environment: All that it is told.
        log: What it wrote to its log, all invocations together.
    """

    folder: Path
    environment: Mapping[str, str]
    log: str = ""

    @classmethod
    def deploy(cls, folder: Path, environment: Mapping[str, str]) -> LambdaProcess:
        """Build the package and unpack it."""
        package = build(folder / "bridge.zip")
        with zipfile.ZipFile(package) as archive:
            archive.extractall(folder / "task")
        return cls(folder / "task", environment)

    def invoke(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Invoke it once, cold. Raises LambdaFailedError where it raised."""
        done = subprocess.run(
            # -P keeps the project out of the path; the environment is the function's own.
            [sys.executable, "-P", "-c", BOOTSTRAP, str(self.folder), "handler.handler"],
            input=json.dumps(event),
            env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **self.environment},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.log += done.stderr
        if done.returncode != 0:
            raise LambdaFailedError(done.stderr[-2_000:])
        answer = json.loads(done.stdout)
        if "errorType" in answer:
            raise LambdaFailedError(f"{answer['errorType']}: {answer['errorMessage']}")
        result: dict[str, Any] = answer["result"]
        return result
