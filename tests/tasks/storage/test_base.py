"""Storage: folders and S3 behave alike; what was sent is checked; transient faults are tried again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from isaaclab_flows.schemas.errors import InputMissingError, StorageError
from isaaclab_flows.tasks.results.publisher import Mirror
from isaaclab_flows.tasks.storage import s3, storage_at
from isaaclab_flows.tasks.storage.base import Storage, content_type, copy_all, join_uri, split_uri
from isaaclab_flows.tasks.storage.folder import FolderStorage
from isaaclab_flows.tasks.storage.s3 import S3Storage

BUCKET = "asset-bucket"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    s3._client_for.cache_clear()
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield f"s3://{BUCKET}/some/prefix"
    s3._client_for.cache_clear()


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
    client = boto3.client("s3")
    for number in range(25):
        client.put_object(Bucket=BUCKET, Key=f"some/prefix/model_{number}.pt", Body=b"x")
    monkeypatch.setattr(s3, "PAGE_SIZE", 10)
    assert len(list(storage_at(bucket).files())) == 25


def test_a_prefix_is_no_beginning_of_a_name(bucket: str) -> None:
    boto3.client("s3").put_object(Bucket=BUCKET, Key="some/prefix-other/x", Body=b"x")
    assert list(storage_at(bucket).files()) == []


def test_uploads_carry_a_content_type_that_vams_takes(bucket: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    for name, expected in [("a.csv", "text/csv"), ("a.pt", "application/octet-stream"), ("a.mp4", "video/mp4")]:
        storage_at(bucket).upload(tmp_path / "x", name)
        head = boto3.client("s3").head_object(Bucket=BUCKET, Key=f"some/prefix/{name}")
        assert head["ContentType"] == expected


@given(st.text(st.characters(codec="ascii", exclude_characters="/\x00"), min_size=1, max_size=12))
def test_no_content_type_is_code(name: str) -> None:
    assert not any(word in content_type(name) for word in ("python", "javascript", "shell", "x-sh"))


def test_a_path_cannot_leave_its_folder(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="leads out"):
        FolderStorage(tmp_path / "in").read("../secret")


class Faulty:
    """An S3 client that fails the first calls of one method, before or after they took effect."""

    def __init__(self, real: Any, method: str, error: Exception, times: int, *, takes_effect: bool) -> None:
        self._real, self._method, self._error, self._left, self._after = real, method, error, times, takes_effect

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        if name != self._method:
            return real

        def call(*args: Any, **kwargs: Any) -> Any:
            if self._left > 0:
                self._left -= 1
                if self._after:
                    real(*args, **kwargs)
                raise self._error
            return real(*args, **kwargs)

        return call


def client_error(code: str, status: int) -> botocore.exceptions.ClientError:
    return botocore.exceptions.ClientError(
        {"Error": {"Code": code, "Message": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject"
    )


@pytest.mark.parametrize("takes_effect", [False, True], ids=["fails", "succeeds-but-times-out"])
@pytest.mark.parametrize(
    "error",
    [
        client_error("SlowDown", 503),
        client_error("InternalError", 500),
        botocore.exceptions.ReadTimeoutError(endpoint_url="x"),
        botocore.exceptions.EndpointConnectionError(endpoint_url="x"),
    ],
    ids=["throttled", "broken", "timeout", "unreachable"],
)
@pytest.mark.parametrize("method", ["upload_file", "put_object", "head_object"])
def test_transient_faults_are_tried_again(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, method: str, takes_effect: bool
) -> None:
    faulty = Faulty(boto3.client("s3"), method, error, 2, takes_effect=takes_effect)
    monkeypatch.setattr(s3, "s3_client", lambda: faulty)
    (tmp_path / "a.pt").write_bytes(b"abc")
    storage_at(bucket).upload(tmp_path / "a.pt", "a.pt")
    storage_at(bucket).write("b.json", b"{}")
    monkeypatch.undo()
    assert boto3.client("s3").get_object(Bucket=BUCKET, Key="some/prefix/a.pt")["Body"].read() == b"abc"


def test_a_fault_that_stays_is_an_error_with_a_remedy(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Faulty(boto3.client("s3"), "put_object", client_error("AccessDenied", 403), 99, takes_effect=False)
    monkeypatch.setattr(s3, "s3_client", lambda: calls)
    with pytest.raises(StorageError, match="Give this role access"):
        storage_at(bucket).write("b.json", b"{}")
    assert calls._left == 98, "what can't be mended by trying again is tried once"


def test_an_upload_that_arrived_altered_is_not_taken(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Altering(Faulty):
        def __getattr__(self, name: str) -> Any:
            if name == "head_object":
                return lambda **kw: self._real.head_object(**kw) | {"ContentLength": 1}
            return getattr(self._real, name)

    altering = Altering(boto3.client("s3"), "", Exception(), 0, takes_effect=False)
    monkeypatch.setattr(s3, "s3_client", lambda: altering)
    (tmp_path / "a.pt").write_bytes(b"abc")
    with pytest.raises(StorageError, match="1 of 3 bytes"):
        storage_at(bucket).upload(tmp_path / "a.pt", "a.pt")


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
