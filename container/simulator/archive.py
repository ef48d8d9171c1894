"""Unpacks archives that nobody vouches for: nothing lands outside the folder, and nothing grows without end."""

from __future__ import annotations

import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final, Self

from isaaclab_flows.schemas.errors import CustomEnvironmentError

SUFFIXES: Final = (".whl", ".zip", ".tar.gz", ".tgz")
_CHUNK: Final = 1 << 20
_HEADER_BYTES: Final = 64 << 10
_HEADERS: Final = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)
"""Members that hold the name or the attributes of another."""


@dataclass(frozen=True)
class ArchiveLimits:
    """How much an archive may hold."""

    files: int = 20_000
    total_bytes: int = 1 << 30
    """Of all files together, unpacked."""
    path_length: int = 500
    """Characters of a member's path."""


def unpack(archive: Path, folder: Path, *, limits: ArchiveLimits = ArchiveLimits()) -> list[str]:
    """Unpack a .whl, .zip or .tar.gz into a folder.

    Links, devices and paths that lead out are refused, and so is what is more than the limits. Files get plain
    permissions.

    Returns:
        The paths of the files within the folder, POSIX.

    Raises:
        CustomEnvironmentError: What is wrong with the archive and which member it is; the folder may then hold a part.
    """
    if not archive.name.endswith(SUFFIXES):
        raise _refused(archive, f"it is none of {', '.join(SUFFIXES[:3])}", "Pack it as one of these.")
    members = _zip_members if archive.name.endswith((".whl", ".zip")) else _tar_members
    count, total, written = 0, 0, []
    with _readable(archive):
        for name, size, content in members(archive):
            count += 1
            if count > limits.files:
                raise _refused(archive, f"it holds more than {limits.files:,} entries", "Leave out what is not needed.")
            path = _safe(archive, name, limits)
            if content is None:
                (folder / path).mkdir(parents=True, exist_ok=True)
                continue
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            left = limits.total_bytes - total
            # What the archive says of its sizes is not believed; what comes out is counted.
            total += _copy(content, target, most=left if size <= left else 0, archive=archive, limits=limits)
            written.append(str(path))
    return written


def _zip_members(archive: Path) -> Iterator[tuple[str, int, IO[bytes] | None]]:
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _special(archive, member.filename, "link" if stat.S_ISLNK(kind) else "special file")
            if member.flag_bits & 1:
                raise _refused(archive, f"its member '{member.filename}' is encrypted", "Pack it without a password.")
            if member.is_dir():
                yield member.filename, 0, None
            else:
                with file.open(member) as content:
                    yield member.filename, member.file_size, content


class _Member(tarfile.TarInfo):
    """A member whose header is read only where it is short: what a header claims of its length is read at once."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        found = super().frombuf(buf, encoding, errors)
        if found.type in _HEADERS and not 0 <= found.size <= _HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {found.size:,} bytes")
        if found.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("a sparse file")
        return found


def _tar_members(archive: Path) -> Iterator[tuple[str, int, IO[bytes] | None]]:
    with tarfile.open(archive, "r|gz", tarinfo=_Member) as file:
        for member in file:
            if member.isdir():
                yield member.name, 0, None
            elif member.isreg():
                content = file.extractfile(member)
                assert content is not None
                with content:
                    yield member.name, member.size, content
            else:
                link = member.issym() or member.islnk()
                raise _special(archive, member.name, "link" if link else "special file")


def _safe(archive: Path, name: str, limits: ArchiveLimits) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    bad = path.is_absolute() or ".." in path.parts or "\0" in name or any(":" in part for part in path.parts[:1])
    if bad or (not path.parts and name.strip("./")):
        raise _refused(archive, f"its member '{_short(name)}' leads out of the folder", "Pack it with relative paths.")
    if len(name) > limits.path_length:
        raise _refused(
            archive,
            f"the path of its member '{_short(name)}' is longer than {limits.path_length}",
            "Use shorter paths.",
        )
    return path


def _copy(content: IO[bytes], target: Path, *, most: int, archive: Path, limits: ArchiveLimits) -> int:
    size = 0
    with target.open("wb") as file:
        while chunk := content.read(_CHUNK):
            size += len(chunk)
            if size > most:
                raise _refused(
                    archive,
                    f"it is more than {limits.total_bytes / (1 << 20):,.0f} MiB when unpacked",
                    "Leave out what is not needed, such as data sets, logs and checkpoints.",
                )
            file.write(chunk)
    return size


@contextmanager
def _readable(archive: Path) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
        if isinstance(error, FileNotFoundError) and not archive.exists():
            raise _refused(archive, "it does not exist", "Name one that does.") from error
        raise _refused(archive, f"it is damaged or of another format ({error})", "Pack and upload it again.") from error


def _special(archive: Path, name: str, kind: str) -> CustomEnvironmentError:
    remedy = "Pack the files themselves (tar --dereference)." if kind == "link" else "Leave it out."
    return _refused(archive, f"its member '{_short(name)}' is a {kind}", remedy)


def _refused(archive: Path, reason: str, remedy: str) -> CustomEnvironmentError:
    return CustomEnvironmentError(
        f"The archive {archive.name} cannot be unpacked: {reason}", where=str(archive), remedy=remedy
    )


def _short(name: str) -> str:
    return name if len(name) <= 120 else f"{name[:120]}…"
