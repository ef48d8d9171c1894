"""Opens files that somebody else may have put there: regular ones alone, and never through a link."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from isaaclab_flows.schemas.files import renamed_into

_PLAIN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_regular(path: Path) -> BinaryIO:
    """Open a file to read; its folder is trusted, the file is not.

    Raises:
        FileNotFoundError: There is none.
        OSError: It is a link, a pipe, a device or a folder.
    """
    return _checked(os.open(path, _PLAIN), str(path))


def open_below(root: Path, path: str) -> BinaryIO:
    """Open a file below a folder to read, where no part of the way below it may be a link.

    Args:
        root: The folder, which is trusted.
        path: Relative to it, POSIX.

    Raises:
        FileNotFoundError: There is none.
        OSError: A part of the way is a link or leads out, or the file is no regular one.
    """
    *folders, name = PurePosixPath(path).parts or ("",)
    if ".." in (*folders, name) or PurePosixPath(path).is_absolute() or not name:
        raise OSError(errno.EINVAL, "It leads out of its folder", path)
    at = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for folder in folders:
            below = os.open(folder, _PLAIN | os.O_DIRECTORY, dir_fd=at)
            os.close(at)
            at = below
        return _checked(os.open(name, _PLAIN, dir_fd=at), path)
    finally:
        os.close(at)


def copy_below(root: Path, path: str, target: Path) -> None:
    """Copy a file from below a folder as :func:`open_below` opens it, by rename, with its time."""
    with open_below(root, path) as source, renamed_into(target) as partial:
        with partial.open("wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
        facts = os.fstat(source.fileno())
        os.utime(partial, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def drop_links(tree: Path) -> None:
    """Remove every link in a tree that holds none of ours, and the tree's root where that is one."""
    if tree.is_symlink():
        tree.unlink()
    for folder, folders, names in os.walk(tree):
        for name in (*folders, *names):
            path = Path(folder) / name
            if path.is_symlink():
                path.unlink(missing_ok=True)


def _checked(descriptor: int, path: str) -> BinaryIO:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "It is no regular file", path)
    return os.fdopen(descriptor, "rb")
