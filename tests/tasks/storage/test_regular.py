"""What a simulator's user code may have planted is opened only where it is a regular file, never through a link."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from isaaclab_flows.schemas.errors import StorageError
from isaaclab_flows.tasks.storage.folder import FolderStorage
from isaaclab_flows.tasks.storage.regular import copy_below, drop_links, open_below, open_regular


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A folder with a file, and with what an attacker would put there."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key.txt").write_text("secret")
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "a" / "plain.txt").write_text("plain")
    (root / "link.txt").symlink_to(secret / "key.txt")
    (root / "folder").symlink_to(secret)
    os.mkfifo(root / "pipe")
    return root


BAD = ["link.txt", "folder/key.txt", "pipe", "a", "../secret/key.txt", "a/../../secret/key.txt", "", "/etc/passwd"]


def test_a_regular_file_opens(planted: Path) -> None:
    with open_below(planted, "a/plain.txt") as file:
        assert file.read() == b"plain"
    with open_regular(planted / "a" / "plain.txt") as file:
        assert file.read() == b"plain"


@pytest.mark.parametrize("path", BAD)
def test_nothing_else_does(planted: Path, path: str, tmp_path: Path) -> None:
    with pytest.raises(OSError):  # noqa: PT011 - which one is the kernel's business
        open_below(planted, path)
    with pytest.raises(OSError):  # noqa: PT011
        copy_below(planted, path, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    with pytest.raises(StorageError, match="no regular file"):
        FolderStorage(planted).own(path)


def test_a_listing_names_regular_files_alone(planted: Path) -> None:
    assert [file.path for file in FolderStorage(planted).files()] == ["a/plain.txt"]


def test_links_go_and_what_they_lead_to_stays(planted: Path) -> None:
    drop_links(planted)
    assert not (planted / "folder").exists()
    assert (planted.parent / "secret" / "key.txt").read_text() == "secret"
    root = planted.parent / "other"
    root.symlink_to(planted)
    drop_links(root)
    assert not root.exists()
    assert (planted / "a" / "plain.txt").exists()
