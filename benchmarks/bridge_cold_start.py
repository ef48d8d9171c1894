"""How long the bridge's Lambda takes to start cold: our own code, and boto3's, in fresh processes that alternate.

    python benchmarks/bridge_cold_start.py [--rounds 20]

Prints medians in milliseconds. AWS's own start-up (sandbox, interpreter) is not in them.
"""

from __future__ import annotations

import argparse
import io
import statistics
import subprocess
import sys
import zipfile
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "infrastructure" / "vams_bridge"
BOTO3 = "import boto3, botocore.config"
MEASURE = """
import sys, time
sys.path.insert(0, sys.argv[1])
{before}
started = time.perf_counter()
{what}
print((time.perf_counter() - started) * 1000)
"""
CASES = {
    "our code, boto3 there already": (BOTO3, "import handler"),
    "boto3 alone": ("", BOTO3),
    "everything": ("", "import handler"),
    "first S3 client": ("import handler", "handler._client('s3')"),
}


def package_bytes() -> int:
    """Return the size of the zipped package [bytes]."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(SOURCE.rglob("*.py")):
            archive.write(path, path.relative_to(SOURCE))
    return buffer.tell()


def measure(before: str, what: str) -> float:
    """Return the milliseconds that a statement takes in a fresh process."""
    script = MEASURE.format(before=before, what=what)
    environment = {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    command = [sys.executable, "-P", "-c", script, str(SOURCE)]
    return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Measure all cases in turn, so that a slow moment of the machine hits all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(rounds):
        for name, (before, what) in CASES.items():
            times[name].append(measure(before, what))
    print(f"package: {package_bytes() / 1024:.1f} KiB")
    for name, values in times.items():
        print(f"{name:32} {statistics.median(values):7.1f} ms (worst of {rounds}: {max(values):.1f} ms)")


if __name__ == "__main__":
    main()
