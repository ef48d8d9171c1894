"""Packs the example package in the three formats that a custom environment may have.

    python examples/custom-environment/pack.py [FOLDER]

writes cartpole_upright.zip, cartpole_upright.tar.gz and the wheel into FOLDER (by default ``environments`` beside this
file, where the example's configurations look for the zip).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGE = HERE / "package"
_BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


def pack(folder: Path) -> list[Path]:
    """Write the three archives into a folder and return their paths: zip, tar.gz, wheel."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        # A build leaves folders behind, so it works on a copy.
        source = Path(temporary) / "cartpole_upright"
        shutil.copytree(PACKAGE, source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build"))
        files = sorted(path for path in source.rglob("*") if path.is_file())
        zipped, tarred = folder / "cartpole_upright.zip", folder / "cartpole_upright.tar.gz"
        with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in files:
                archive.write(path, path.relative_to(source))
        with tarfile.open(tarred, "w:gz") as archive:
            for path in files:
                archive.add(path, path.relative_to(source.parent))
        subprocess.run([sys.executable, "-c", _BUILD, str(folder)], cwd=source, check=True, capture_output=True)
    return [zipped, tarred, *folder.glob("cartpole_upright-*.whl")]


if __name__ == "__main__":
    for path in pack(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "environments"):
        sys.stdout.write(f"{path}\n")
