"""Files that are whole or absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from isaaclab_flows.schemas.files import renamed_into, write_whole


def test_writing_whole_replaces_what_was_there(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", b"old")
    write_whole(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_that_could_not_be_written_to_its_end_is_absent(tmp_path: Path) -> None:
    def fail_half_way() -> None:
        with renamed_into(tmp_path / "a" / "b.txt") as partial:
            partial.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert list(tmp_path.rglob("*.*")) == []


def test_a_file_has_its_name_only_after_its_content_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named_when_synced: list[bool] = []
    sync = os.fsync

    def note(descriptor: int) -> None:
        named_when_synced.append((tmp_path / "file").exists())
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    write_whole(tmp_path / "file", b"content")
    assert named_when_synced == [False]
