"""Images by URL: the same set as the folder that was packed, one copy a machine, nothing foreign obeyed."""

from __future__ import annotations

import functools
import http.server
import io
import pickle
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nas.data.dataset import Data, load_data
from nas.data.images import InMemoryImages
from nas.data.sources import url as module
from nas.data.sources.find import find_source
from nas.data.sources.url import UrlImages, is_url, url_name
from nas.data.streaming import StreamedImages
from search_spaces.errors import DataError
from tests.helpers.command_line import paint_folder


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A web server on 127.0.0.1 with a folder of images and archives of it; yields its URL."""
    served = tmp_path / "served"
    paint_folder(served / "flowers")
    for name, kind in (("zip", "zip"), ("tar.gz", "gztar")):
        shutil.make_archive(str(tmp_path / "packed"), kind, served, "flowers")
        (tmp_path / f"packed.{name}").rename(served / f"flowers.{name}")
    handler = functools.partial(QuietHandler, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def load(spec: str, cache: Path, memory_limit: int = 2**30) -> Data:
    return load_data(spec, cache_dir=cache, memory_limit=memory_limit)


@pytest.mark.parametrize("name", ["flowers.zip", "flowers.tar.gz", "flowers/"])
def test_a_url_is_the_set_that_was_packed(name: str, server: str, tmp_path: Path) -> None:
    folder = load(f"folder:{tmp_path}/served/flowers", tmp_path / "cache")
    data = load(f"{server}/{name}", tmp_path / "cache")
    assert data.digest == folder.digest and data.class_names == folder.class_names
    assert data.name == "flowers"
    assert isinstance(data.train.images, InMemoryImages)  # so that workers need no copy of their own


def test_a_copy_is_fetched_once_and_anew_when_the_archive_changes(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []
    real = module._download
    monkeypatch.setattr(module, "_download", lambda url, scratch: (fetched.append(url), real(url, scratch)))
    for _ in range(2):
        load(f"{server}/flowers.zip", tmp_path / "cache")
    assert len(fetched) == 1
    paint_folder(tmp_path / "more" / "flowers", classes=4)
    shutil.make_archive(str(tmp_path / "served" / "flowers"), "zip", tmp_path / "more", "flowers")
    assert "class3" in load(f"{server}/flowers.zip", tmp_path / "cache").class_names
    assert len(fetched) == 2


def test_a_worker_elsewhere_fetches_a_copy_of_its_own(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load(f"{server}/flowers.zip", tmp_path / "cache", memory_limit=0)
    assert isinstance(data.train.images, StreamedImages)
    images = pickle.loads(pickle.dumps(data.train.images.decoder.undecoded))
    assert isinstance(images, UrlImages)
    expected = images.open(5).tobytes()
    shutil.rmtree(tmp_path / "cache")
    module._find_copy.cache_clear()
    monkeypatch.setenv("NAS_CACHE_DIR", str(tmp_path / "elsewhere"))
    assert images.open(5).tobytes() == expected
    assert list((tmp_path / "elsewhere" / "fetched").glob("*/flowers/class0/00.png"))


def test_a_worker_does_not_mix_two_states_of_a_set(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load(f"{server}/flowers.zip", tmp_path / "cache", memory_limit=0)
    assert isinstance(data.train.images, StreamedImages)
    shutil.rmtree(tmp_path / "cache")
    module._find_copy.cache_clear()
    monkeypatch.setenv("NAS_CACHE_DIR", str(tmp_path / "elsewhere"))
    with zipfile.ZipFile(tmp_path / "served" / "flowers.zip", "a") as archive:
        archive.writestr("more.txt", "more")
    with pytest.raises(DataError, match="has changed since the work began"):
        data.train.images.decoder.undecoded.open(0)
    module._find_copy.cache_clear()


def archive_with(folder: Path, name: str, content: bytes = b"no image") -> str:
    with tarfile.open(folder / "bad.tar", "w") as bundle:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        bundle.addfile(member, io.BytesIO(content))
    return f"file://{folder}/bad.tar"


@pytest.mark.parametrize("name", ["../outside.png", "a/../../outside.png", "/../outside.png"])
def test_nothing_is_written_outside_of_the_copy(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="whose name leads elsewhere"):
        find_source(archive_with(tmp_path, name), None, tmp_path / "cache")
    assert not list(tmp_path.rglob("outside.png"))
    assert not list((tmp_path / "cache" / "fetched").glob("*.tmp"))


def test_links_of_an_archive_are_left_out(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "set.tar", "w") as bundle:
        bundle.add(paint_folder(tmp_path / "images"), "images")
        link = tarfile.TarInfo("images/class0/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        bundle.addfile(link)
    source = find_source(f"file://{tmp_path}/set.tar", None, tmp_path / "cache")
    assert len(source.labels) == 36
    assert not list((tmp_path / "cache").rglob("link.png"))


def test_an_archive_larger_than_the_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paint_folder(tmp_path / "images")
    shutil.make_archive(str(tmp_path / "images"), "zip", tmp_path / "images")
    real = module.measure_disk
    monkeypatch.setattr(module, "measure_disk", lambda folder: type(real(folder))(total=10**12, free=10_000))
    with pytest.raises(DataError, match="are free at"):
        find_source(f"file://{tmp_path}/images.zip", None, tmp_path / "cache")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("{server}/none.zip", "leads to nothing"),
        ("{server}/flowers/class0/none/", "leads to nothing|cannot be fetched|no image files"),
        ("http://127.0.0.1:1/set.zip", "cannot be fetched|leads to nothing"),
        ("nonsense://host/set.zip", "cannot be fetched|needs another package"),
        ("https://me:secret@host/set.zip", "holds a password"),
        ("file:///none/at/all", "leads to nothing"),
    ],
)
def test_what_cannot_be_fetched_is_one_sentence(url: str, says: str, server: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=says) as caught:
        find_source(url.format(server=server), None, tmp_path / "cache")
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)


def test_names() -> None:
    assert is_url("https://host/a.zip") and is_url("s3://bucket/a") and is_url("file:///a")
    assert not any(map(is_url, ("folder:/a", "mnist5k", "torch/cifar10", "hfds/a/b", "://a", "folder:///a")))
    assert url_name("https://host/sets/flowers.tar.gz?version=2") == url_name("s3://b/flowers/") == "flowers"
    assert url_name("s3://bucket") == "bucket"
