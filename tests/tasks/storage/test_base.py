"""Storage: folders and S3 behave alike; what was sent is checked; transient faults are tried again."""

from __future__ import annotations

import errno
import io
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest
from botocore.response import StreamingBody
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from isaaclab_flows.schemas.errors import InputMissingError, StorageError
from isaaclab_flows.tasks.results.publisher import Mirror
from isaaclab_flows.tasks.storage import s3, storage_at
from isaaclab_flows.tasks.storage.base import Storage, content_type, copy_all, join_uri, split_uri
from isaaclab_flows.tasks.storage.folder import FolderStorage
from isaaclab_flows.tasks.storage.s3 import S3Storage
from tests.aws_faults import Try, around_each_try, refused, without_pauses

BUCKET = "asset-bucket"
DENIED = refused("AccessDenied", 403)


@pytest.fixture(scope="module", autouse=True)
def _one_client() -> Iterator[None]:
    s3._client_for.cache_clear()
    yield
    s3._client_for.cache_clear()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    without_pauses(monkeypatch)
    with mock_aws():
        s3.s3_client().create_bucket(Bucket=BUCKET)
        yield f"s3://{BUCKET}/some/prefix"


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return storage_at(str(tmp_path / "place") if request.param == "folder" else request.getfixturevalue("bucket"))


def test_what_is_written_is_read_listed_and_deleted(place: Storage) -> None:
    place.write("a/b.json", b"{}")
    place.write("c.txt", b"hello")
    assert place.read("a/b.json") == b"{}"
    assert {(f.path, f.size) for f in place.files()} == {("a/b.json", 2), ("c.txt", 5)}
    assert [f.path for f in place.files("a")] == ["a/b.json"]
    stat = place.stat("c.txt")
    assert stat is not None
    assert stat.size == 5
    place.delete("c.txt")
    place.delete("c.txt")
    assert place.stat("c.txt") is None


def test_a_files_end_is_read_without_the_rest(place: Storage) -> None:
    place.write("a/b.bin", b"0123456789")
    assert place.tail("a/b.bin", 4) == b"6789"
    assert place.tail("a/b.bin", 40) == b"0123456789"


def test_files_travel_both_ways(place: Storage, tmp_path: Path) -> None:
    source, target = tmp_path / "model_1.pt", tmp_path / "deep" / "copy.pt"
    source.write_bytes(bytes(range(256)) * 100)
    place.upload(source, "checkpoints/model_1.pt")
    place.download("checkpoints/model_1.pt", target)
    assert target.read_bytes() == source.read_bytes()


def test_what_is_missing_is_an_error_that_names_it(place: Storage, tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match=r"no\.json"):
        place.read("no.json")
    with pytest.raises(InputMissingError, match=r"no\.json"):
        place.download("no.json", tmp_path / "x")
    assert list(tmp_path.glob("*")) in ([], [tmp_path / "place"])


def test_a_listing_has_all_pages(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = s3.s3_client()
    for number in range(25):
        client.put_object(Bucket=BUCKET, Key=f"some/prefix/model_{number}.pt", Body=b"x")
    monkeypatch.setattr(s3, "PAGE_SIZE", 10)
    assert len(list(storage_at(bucket).files())) == 25


def test_a_prefix_is_no_beginning_of_a_name(bucket: str) -> None:
    s3.s3_client().put_object(Bucket=BUCKET, Key="some/prefix-other/x", Body=b"x")
    assert list(storage_at(bucket).files()) == []


def test_uploads_carry_a_content_type_that_vams_takes(bucket: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    for name, expected in [("a.csv", "text/csv"), ("a.pt", "application/octet-stream"), ("a.mp4", "video/mp4")]:
        storage_at(bucket).upload(tmp_path / "x", name)
        head = s3.s3_client().head_object(Bucket=BUCKET, Key=f"some/prefix/{name}")
        assert head["ContentType"] == expected


@given(st.text(st.characters(codec="ascii", exclude_characters="/\x00"), min_size=1, max_size=12))
def test_no_content_type_is_code(name: str) -> None:
    assert not any(word in content_type(name) for word in ("python", "javascript", "shell", "x-sh"))


def test_a_path_cannot_leave_its_folder(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="leads out"):
        FolderStorage(tmp_path / "in").read("../secret")


FAULTS: dict[str, Try] = {
    "throttled": refused("SlowDown", 503),
    "broken": refused("InternalError", 500),
    "timeout": (None, botocore.exceptions.ReadTimeoutError(endpoint_url="x")),
    "unreachable": (None, botocore.exceptions.EndpointConnectionError(endpoint_url="x")),
}


@pytest.mark.parametrize("takes_effect", [False, True], ids=["fails", "succeeds-but-is-not-heard"])
@pytest.mark.parametrize("fault", FAULTS)
def test_transient_faults_of_every_call_are_tried_again(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, takes_effect: bool
) -> None:
    tries: Counter[str] = Counter()

    def decide(called: str, _: str, send: Callable[[], Try]) -> Try:
        tries[called] += 1
        if tries[called] > 2:
            return send()
        if takes_effect:
            send()
        return FAULTS[fault]

    around_each_try(monkeypatch, decide)
    large = bytes(range(256)) * (33 << 10)  # from 8 MiB on, a file goes in parts
    (tmp_path / "a.pt").write_bytes(large)
    storage = storage_at(bucket)
    storage.upload(tmp_path / "a.pt", "a.pt")
    storage.write("b.json", b"{}")
    storage.write("c.json", b"{}")
    storage.delete("c.json")
    assert storage.read("b.json") == b"{}"
    assert storage.read("a.pt") == large
    assert {found.path for found in storage.files()} == {"a.pt", "b.json"}
    assert {called for called, number in tries.items() if number >= 3} == {
        "CompleteMultipartUpload",
        "CreateMultipartUpload",
        "DeleteObject",
        "GetObject",
        "HeadObject",
        "ListObjectsV2",
        "PutObject",
        "UploadPart",
    }


@pytest.mark.parametrize(("fault", "tries"), [(FAULTS["throttled"], 5), (FAULTS["timeout"], 5), (DENIED, 1)])
def test_there_is_one_layer_of_tries(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Try, tries: int
) -> None:
    s3._client_for.cache_clear()  # botocore allows a client so many tries, which others have used
    seen: list[str] = []
    around_each_try(monkeypatch, lambda called, path, send: seen.append(called) or fault)  # type: ignore[func-returns-value]
    (tmp_path / "a.pt").write_bytes(b"abc")
    storage = storage_at(bucket)
    calls: list[Callable[[], object]] = [
        lambda: storage.write("b.json", b"{}"),
        lambda: storage.upload(tmp_path / "a.pt", "a.pt"),
        lambda: storage.read("b.json"),
        lambda: storage.download("b.json", tmp_path / "b.json"),
        lambda: list(storage.files()),
        lambda: storage.stat("b.json"),
        lambda: storage.delete("b.json"),
    ]
    for call in calls:
        seen.clear()
        with pytest.raises(StorageError) as raised:
            call()
        assert len(seen) == tries, seen
        assert ("Give this role access" in raised.value.remedy) == (tries == 1)
        assert raised.value.where.startswith(bucket)


def test_what_breaks_off_while_it_is_read_is_read_again(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, broken = storage_at(bucket), [2, 0]
    storage.write("b.json", b"whole")

    def decide(called: str, _: str, send: Callable[[], Try]) -> Try:
        answer, error = send()
        if called == "GetObject" and broken[0]:
            broken[0] -= 1
            answer[1]["Body"] = StreamingBody(io.BytesIO(b"wh"), 5)
        return answer, error

    around_each_try(monkeypatch, decide)
    assert storage.read("b.json") == b"whole"
    broken[0] = 2
    storage.download("b.json", tmp_path / "b.json")
    assert (tmp_path / "b.json").read_bytes() == b"whole"
    broken[0] = 99
    with pytest.raises(StorageError, match="2 read, but total bytes expected is 5"):
        storage.read("b.json")


def test_an_upload_that_arrived_altered_is_not_taken(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decide(called: str, _: str, send: Callable[[], Try]) -> Try:
        answer, error = send()
        if called == "HeadObject":
            answer[1]["ContentLength"] = 1
        return answer, error

    around_each_try(monkeypatch, decide)
    (tmp_path / "a.pt").write_bytes(b"abc")
    with pytest.raises(StorageError, match="1 of 3 bytes"):
        storage_at(bucket).upload(tmp_path / "a.pt", "a.pt")


@pytest.mark.parametrize(
    ("number", "borne"), [(errno.ESTALE, True), (errno.EIO, True), (errno.ENOSPC, False), (errno.EACCES, False)]
)
def test_what_a_network_file_system_gets_over_is_begun_again(
    place: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, borne: bool
) -> None:
    opened, left = Path.open, [2]

    def falters(self: Path, *args: Any, **kwargs: Any) -> Any:
        if self.name == "a.pt" and left[0]:
            left[0] -= 1
            raise OSError(number, "falters", str(self))
        return opened(self, *args, **kwargs)

    (tmp_path / "a.pt").write_bytes(b"abc")
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(Path, "open", falters)
    monkeypatch.setattr(shutil, "copyfile", lambda a, b: b.write_bytes(a.open("rb").read()))
    if borne:
        place.upload(tmp_path / "a.pt", "b.pt")
        assert place.read("b.pt") == b"abc"
        return
    with pytest.raises(OSError, match="falters"):
        place.upload(tmp_path / "a.pt", "b.pt")
    assert left == [1], "what does not pass by itself is tried once"


def test_parallel_copies_name_all_that_failed() -> None:
    done: list[str] = []

    def broken() -> None:
        raise StorageError("No", remedy="Mend it.")

    with pytest.raises(StorageError, match=r"2 of 3 files.*x, z"):
        copy_all([(broken, "x"), (lambda: done.append("y"), "y"), (broken, "z")])
    assert done == ["y"]


def test_a_mirror_sends_only_what_is_new_or_changed(tmp_path: Path) -> None:
    tree, target = tmp_path / "tree", FolderStorage(tmp_path / "target")
    (tree / "a").mkdir(parents=True)
    (tree / "a/1.txt").write_text("1")
    mirror = Mirror(tree, target)
    assert (mirror.sync(), mirror.sync()) == (1, 0)
    (tree / "a/1.txt").write_text("longer")
    (tree / "2.txt").write_text("2")
    assert mirror.sync() == 2
    assert target.read("a/1.txt") == b"longer"


@given(st.lists(st.text(st.characters(codec="ascii", exclude_characters="/\x00"), min_size=1), min_size=1, max_size=4))
def test_joining_and_splitting_are_inverse(parts: list[str]) -> None:
    uri = join_uri("s3://bucket/", *parts)
    folder, name = split_uri(uri)
    assert (join_uri(folder, name), name) == (uri, parts[-1])


def test_a_bucket_itself_can_be_the_root() -> None:
    assert storage_at("s3://bucket") == S3Storage("bucket", "")
    assert storage_at("s3://bucket/").uri == "s3://bucket"
