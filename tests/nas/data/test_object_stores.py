"""Images in an object store: read through the S3 protocol from a server on this machine, which moto runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import s3fs
from moto.server import ThreadedMotoServer

from nas.data.dataset import load_data
from nas.data.sources.find import find_source
from search_spaces.errors import DataError
from tests.helpers.command_line import paint_folder


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[s3fs.S3FileSystem]:
    """Yield access to an S3 server with an empty bucket, ``bucket``, which is where S3 is for this process."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "known")
    s3fs.S3FileSystem.clear_instance_cache()
    files = s3fs.S3FileSystem(skip_instance_cache=True)
    files.mkdir("bucket")
    yield files
    files.rm("bucket", recursive=True)  # which the next server would have too
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def pack(folder: Path, classes: int = 3) -> Path:
    """Return an archive of painted images of so many classes."""
    paint_folder(folder / "flowers", classes=classes)
    return Path(shutil.make_archive(str(folder / "flowers"), "zip", folder, "flowers"))


@pytest.mark.parametrize("path", ["sets/flowers.zip", "flowers", "flowers/"])
def test_a_bucket_holds_the_set_that_was_put_there(
    path: str, store: s3fs.S3FileSystem, tmp_path: Path
) -> None:
    store.put(str(pack(tmp_path)), "bucket/sets/flowers.zip")
    store.put(str(tmp_path / "flowers"), "bucket/", recursive=True)
    folder = load_data(f"folder:{tmp_path}/flowers", cache_dir=tmp_path / "cache", memory_limit=2**30)
    data = load_data(f"s3://bucket/{path}", cache_dir=tmp_path / "cache", memory_limit=2**30)
    assert data.digest == folder.digest and data.class_names == folder.class_names and data.name == "flowers"


def test_a_process_sees_an_object_that_changed(store: s3fs.S3FileSystem, tmp_path: Path) -> None:
    """Lists of objects are kept as long as a process lives, and a worker or a notebook lives long."""
    for classes in (3, 4):
        store.put(str(pack(tmp_path / str(classes), classes)), "bucket/sets/flowers.zip")
        source = find_source("s3://bucket/sets/flowers.zip", None, tmp_path / "cache")
        assert len(set(source.labels)) == classes
        with pytest.raises(DataError, match="no image files"):
            find_source("s3://bucket/sets", None, tmp_path / "cache")  # which lists the object


@pytest.mark.parametrize("url", ["s3://bucket/none.zip", "s3://none/flowers.zip", "s3://bucket/none/"])
def test_a_place_with_nothing_is_one_sentence(url: str, store: s3fs.S3FileSystem, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"--data {url} leads to nothing"):
        find_source(url, None, tmp_path / "cache")


def test_a_machine_without_credentials_is_told_what_it_lacks(
    store: s3fs.S3FileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(str(pack(tmp_path)), "bucket/flowers.zip")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(DataError, match=r"s3://bucket/flowers.zip cannot be fetched .*credentials"):
        find_source("s3://bucket/flowers.zip", None, tmp_path / "cache")
