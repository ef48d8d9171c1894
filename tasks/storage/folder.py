"""A local or mounted folder as storage."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from isaaclab_flows.schemas.errors import StorageError
from isaaclab_flows.schemas.files import renamed_into
from isaaclab_flows.tasks.storage.base import StoredFile, join_uri, missing
from isaaclab_flows.tasks.storage.faults import bears_faults
from isaaclab_flows.tasks.storage.regular import open_below


@dataclass(frozen=True)
class FolderStorage:
    """A local (or mounted) folder; it is made when something is first written."""

    root: Path

    @property
    def uri(self) -> str:
        """The folder's path."""
        return str(self.root)

    def _at(self, path: str) -> Path:
        target = (self.root / path).resolve()
        if not target.is_relative_to(self.root.resolve()):
            raise StorageError(
                f"The path '{path}' leads out of its folder", where=self.uri, remedy="Use a path below it."
            )
        return target

    def own(self, path: str) -> Path:
        """Return a file's path here, where no part of the way below the root is a link.

        Raises:
            StorageError: One is, or there is no such regular file.
        """
        try:
            open_below(self.root, path).close()
        except OSError as error:
            raise StorageError(
                f"'{path}' is no regular file of its folder ({error.strerror})",
                where=self.uri,
                remedy="Links are not followed: put the file itself there.",
            ) from error
        return self.root / path

    def files(self, below: str = "") -> Iterator[StoredFile]:
        """Yield every regular file below a path."""
        start = self._at(below)
        for folder, _, names in os.walk(start):
            for name in names:
                found = Path(folder) / name
                try:
                    info = found.lstat()
                except FileNotFoundError:
                    continue  # it went away while we walked
                if not stat.S_ISREG(info.st_mode):
                    continue
                yield StoredFile(found.relative_to(self.root.resolve()).as_posix(), info.st_size, info.st_mtime)

    @bears_faults
    def read(self, path: str, version: str | None = None) -> bytes:
        """Return a file's content."""
        try:
            return self._at(path).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise missing(join_uri(self.uri, path)) from error

    @bears_faults
    def tail(self, path: str, most: int, version: str | None = None) -> bytes:
        """Return a file's last bytes."""
        try:
            with self._at(path).open("rb") as file:
                file.seek(-min(most, file.seek(0, os.SEEK_END)), os.SEEK_END)
                return file.read()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise missing(join_uri(self.uri, path)) from error

    @bears_faults
    def write(self, path: str, content: bytes) -> None:
        """Write by rename."""
        target = self._at(path)
        with renamed_into(target) as partial:
            partial.write_bytes(content)

    @bears_faults
    def download(self, path: str, target: Path, version: str | None = None) -> None:
        """Copy by rename."""
        try:
            with renamed_into(target) as partial:
                shutil.copyfile(self._at(path), partial)
        except (FileNotFoundError, IsADirectoryError) as error:
            raise missing(join_uri(self.uri, path)) from error

    @bears_faults
    def upload(self, source: Path, path: str) -> None:
        """Copy by rename and compare sizes."""
        target = self._at(path)
        with renamed_into(target) as partial:
            shutil.copyfile(source, partial)
            if partial.stat().st_size != source.stat().st_size:
                raise StorageError(
                    f"'{source.name}' changed while it was copied", where=str(target), remedy="Run it again."
                )

    def stat(self, path: str, version: str | None = None) -> StoredFile | None:
        """Return size and time of a regular file."""
        target = self._at(path)
        if not target.is_file():
            return None
        info = target.stat()
        return StoredFile(path, info.st_size, info.st_mtime)

    def delete(self, path: str) -> None:
        """Remove a file."""
        self._at(path).unlink(missing_ok=True)
