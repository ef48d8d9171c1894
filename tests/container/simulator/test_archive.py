import contextlib
import gzip
import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isaaclab_flows.container.simulator.archive import ArchiveLimits, unpack
from isaaclab_flows.schemas.errors import CustomEnvironmentError


def zipped(path: Path, members: dict[str, bytes], *, mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return path


def tarred(path: Path, *members: tuple[str, bytes | tarfile.TarInfo]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members:
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


def special(kind: bytes, name: str = "x", link: str = "/etc/passwd") -> tuple[str, tarfile.TarInfo]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return name, info


@pytest.mark.parametrize("suffix", [".zip", ".whl", ".tar.gz"])
def test_files_come_out_as_they_went_in(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    members = {"p/__init__.py": b"x = 1\n", "p/data.bin": bytes(range(256))}
    tarred(path, *members.items()) if suffix == ".tar.gz" else zipped(path, members)
    assert sorted(unpack(path, tmp_path / "out")) == sorted(members)
    assert {name: (tmp_path / "out" / name).read_bytes() for name in members} == members


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "..\\x", "C:/x", "a/.."])
@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_paths_that_lead_out_are_refused(tmp_path, name, suffix):
    path = tmp_path / f"a{suffix}"
    tarred(path, (name, b"x")) if suffix == ".tar.gz" else zipped(path, {name: b"x"})
    with pytest.raises(CustomEnvironmentError, match="leads out of the folder"):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    word = "link" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else "special file"
    with pytest.raises(CustomEnvironmentError, match=f"'x' is a {word}"):
        unpack(tarred(tmp_path / "a.tar.gz", special(kind)), tmp_path / "out")


def test_links_in_a_zip_are_refused(tmp_path):
    path = zipped(tmp_path / "a.zip", {"x": b"/etc/passwd"}, mode=stat.S_IFLNK | 0o777)
    with pytest.raises(CustomEnvironmentError, match="'x' is a link"):
        unpack(path, tmp_path / "out")


def test_a_bomb_is_stopped_by_what_comes_out_not_by_what_it_says(tmp_path):
    path = zipped(tmp_path / "a.zip", {"zeros": bytes(4_000_000)})
    assert path.stat().st_size < 10_000
    with pytest.raises(CustomEnvironmentError, match="more than 1 MiB"):
        unpack(path, tmp_path / "out", limits=ArchiveLimits(total_bytes=1 << 20))
    assert sum(f.stat().st_size for f in (tmp_path / "out").rglob("*") if f.is_file()) <= 1 << 20


def test_too_many_members_are_refused(tmp_path):
    path = zipped(tmp_path / "a.zip", {f"f{i}": b"" for i in range(11)})
    with pytest.raises(CustomEnvironmentError, match="more than 10 entries"):
        unpack(path, tmp_path / "out", limits=ArchiveLimits(files=10))


@pytest.mark.parametrize(("name", "content"), [("a.zip", b"no"), ("a.tar.gz", b"no"), ("a.tar.gz", b""), ("a.7z", b"")])
def test_what_is_no_archive_is_refused(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CustomEnvironmentError, match="cannot be unpacked"):
        unpack(path, tmp_path / "out")


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_a_torn_archive_is_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    content = bytes(i * i % 251 for i in range(50_000))
    tarred(path, ("x", content)) if suffix == ".tar.gz" else zipped(path, {"x": content})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CustomEnvironmentError, match="damaged"):
        unpack(path, tmp_path / "out")


def test_a_missing_archive_is_named(tmp_path):
    with pytest.raises(CustomEnvironmentError, match="does not exist"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet="./\\ab:\0~ ", min_size=1, max_size=12))
def test_no_name_writes_outside_the_folder(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("any")
    path = tarred(folder / "a.tar.gz", (name, b"x"))
    before = {folder, path}
    with contextlib.suppress(CustomEnvironmentError):
        unpack(path, folder / "out")
    outside = {p for p in folder.rglob("*") if not p.is_relative_to(folder / "out")}
    assert outside <= before


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_header_that_claims_to_be_long_is_refused_before_it_is_read(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = kind, 1 << 30
    archive = tmp_path / "x.tar.gz"
    with gzip.open(archive, "wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.write(bytes(1 << 16))
    with pytest.raises(CustomEnvironmentError, match="a header of 1,073,741,824 bytes"):
        unpack(archive, tmp_path / "out")


def test_a_name_of_a_few_hundred_characters_is_none(tmp_path: Path) -> None:
    name = "/".join(["folder"] * 40) + "/file.py"
    assert unpack(tarred(tmp_path / "x.tar.gz", (name, b"x")), tmp_path / "out") == [name]
