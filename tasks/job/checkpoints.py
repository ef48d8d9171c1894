"""Checkpoint files: whose they are, which is newest, and whether they are whole. Needs no torch."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from isaaclab_flows.schemas.task_names import Library

SUFFIXES = (".pt", ".pth")
TAIL_BYTES = 1 << 20
_NUMBER = re.compile(r"(?:_ep_(\d{1,15})(?!\d)|[_-](\d{1,15})$)")
_LIBRARY_NAMES: tuple[tuple[Library, re.Pattern[str]], ...] = (
    ("rsl_rl", re.compile(r"^model_\d+\.pt$")),
    ("skrl", re.compile(r"^(best_)?agent(_\d+)?\.pt$")),
    ("rl_games", re.compile(r".*\.pth$")),
)


def is_checkpoint(path: str) -> bool:
    """Say whether a file's name is a checkpoint's; exported policies are none."""
    pure = PurePosixPath(path)
    return pure.suffix in SUFFIXES and "exported" not in pure.parts and pure.stem != "policy"


def iteration_of(path: str) -> int | None:
    """Return the number in a checkpoint's name (`model_100.pt`, `agent_100.pt`, `last_x_ep_100_rew_3.pth`), or None."""
    found = _NUMBER.search(PurePosixPath(path).stem)
    return int(found[1] or found[2]) if found else None


def library_of(path: str) -> Library | None:
    """Return the library whose naming a checkpoint follows, or None where the name does not tell."""
    name = PurePosixPath(path).name
    return next((library for library, pattern in _LIBRARY_NAMES if pattern.match(name)), None)


def newest_first(paths: Iterable[str]) -> list[str]:
    """Sort checkpoints by number, highest first (1500 before 999); those without a number come last."""
    return sorted(paths, key=lambda p: (iteration_of(p) is not None, iteration_of(p) or 0, p), reverse=True)


def flaw_of(path: Path) -> str | None:
    """Say what is wrong with a checkpoint file, or None when it is whole.

    Torch's files are zip archives that carry a CRC of each member, so a torn or altered file shows without torch.
    """
    try:
        if path.stat().st_size == 0:
            return "it is empty"
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
            if bad is not None:
                return f"its part '{bad}' is corrupt"
            if not any(name.endswith("data.pkl") for name in archive.namelist()):
                return "it is no torch file"
    except zipfile.BadZipFile:
        return "it is torn or no torch file"
    except OSError as error:
        return f"it cannot be read: {error}"
    return None


def is_exported(tail: bytes) -> bool:
    """Whether a file is an exported policy (TorchScript): a program with its weights.

    Args:
        tail: The file's last :data:`TAIL_BYTES`, where a zip archive has its list of members.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(tail)) as archive:
            return any(name.partition("/")[2].startswith("code/") for name in archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return False


def newest_intact(folder: Path) -> tuple[Path | None, list[str]]:
    """Return the highest-numbered whole checkpoint of a folder, and a sentence for each one that was stepped over."""
    skipped: list[str] = []
    if not folder.is_dir():
        return None, skipped
    names = [p.name for p in folder.iterdir() if p.is_file() and is_checkpoint(p.name)]
    for name in newest_first(names):
        if iteration_of(name) is None:
            continue  # best_agent.pt and its kin say nothing about where the training was
        flaw = flaw_of(folder / name)
        if flaw is None:
            return folder / name, skipped
        skipped.append(f"Stepped over {name}: {flaw}.")
    return None, skipped
