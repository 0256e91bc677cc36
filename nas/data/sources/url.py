"""Images by URL: an archive or a folder on a web server or in an object store, read through fsspec.

Every machine that reads them has a copy in its own cache folder, fetched when it first needs one: that of the command
when it looks at the images, that of a worker where they are too many to be sent to it in memory. A copy belongs to one
state of what the URL leads to (its length, time and tag), so that machines never mix two.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import re
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

from nas.data.hashing import json_digest
from nas.data.sources.folder import ImageFiles, ReadOptions, read_folder
from nas.data.sources.path_list import PathList
from nas.data.sources.source import Source
from nas.data.sources.tree import is_image_name, loose_images, printable, subfolders
from nas.runtime.console import log
from nas.runtime.error_text import first_line
from nas.runtime.extras import EXTRAS
from nas.runtime.files import scratch_folder
from nas.runtime.resources import cache_folder, format_bytes, measure_disk
from search_spaces.errors import DataError, NasError

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://.")
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
#: What tells one state of a file from the next, by the names that file systems give it.
_STATE = ("size", "mtime", "LastModified", "last_modified", "updated", "ETag", "etag", "md5Hash", "checksum")
_PACKAGES = {
    "s3": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "http": "aiohttp",
    "https": "aiohttp",
    "az": "adlfs",
}


def is_url(spec: str) -> bool:
    """Return whether a ``--data`` spec is a URL."""
    return _SCHEME.match(spec) is not None and not spec.startswith("folder:")


def url_name(url: str) -> str:
    """Return what images are called by their URL: the last part of its path, without the ending of an archive."""
    name = Path(urlsplit(url).path).name or urlsplit(url).netloc
    ending = next((each for each in _ARCHIVES if name.lower().endswith(each)), "")
    return name[: len(name) - len(ending)]


@dataclass(frozen=True)
class UrlImages:
    """Image files of a set that a URL leads to, wherever this process runs.

    Attributes:
        url: The URL.
        state: Of what it leads to, as `_read_state` returns it.
        folder: The copy of who looked at the images, which other machines lack.
        paths: Of the images, below the copy.
    """

    url: str
    state: str
    folder: Path
    paths: PathList

    def open(self, index: int) -> Image.Image:
        """Open image ``index``, in a copy that is fetched where there is none."""
        return Image.open(_find_copy(self.url, self.state, self.folder) / self.paths[index])

    def describe(self, index: int) -> str:
        """Return its URL, as it can be printed."""
        return printable(f"{self.url}: {self.paths[index]}")


def read_url(url: str, cache_dir: Path, options: ReadOptions) -> Source:
    """Fetch the images that a URL leads to, unless that was done before, and look at them as at a folder.

    Args:
        url: Of a ``.zip`` or ``.tar`` archive, or of a folder.
        cache_dir: Where the copy is kept.
        options: How it is read.

    Raises:
        DataError: It leads to nothing, cannot be fetched, or what it leads to is no set of images.
    """
    _refuse_secrets(url)
    state = _read_state(url)
    copy = _fetch(url, state, cache_dir)
    root = _find_root(copy)
    source = read_folder(root, cache_dir, options)
    assert isinstance(source.images, ImageFiles)
    paths = source.images.paths
    relative = PathList.from_texts(os.path.relpath(paths[index], copy) for index in range(len(paths)))
    return replace(source, name=printable(url_name(url)), images=UrlImages(url, state, copy, relative))


def _find_root(copy: Path) -> Path:
    """Return the folder of the classes or parts: archives often hold one folder with everything."""
    root = copy
    while len(inner := subfolders(root)) == 1 and not loose_images(root):
        below = root / inner[0]
        if not subfolders(below):
            break
        root = below
    return root


@functools.lru_cache(maxsize=8)
def _find_copy(url: str, state: str, folder: Path) -> Path:
    if folder.is_dir():
        return folder
    if (now := _read_state(url)) != state:
        raise DataError(
            f"what {printable(url)} leads to has changed since the work began ({state} then, {now} now); start the "
            "command again"
        )
    return _fetch(url, state, cache_folder())


def _fetch(url: str, state: str, cache_dir: Path) -> Path:
    """Return a copy of one state of what a URL leads to; one process of a machine fetches, others wait for it."""
    copy = cache_dir / "fetched" / json_digest([url, state])[:16]
    if copy.is_dir():
        return copy
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        with open(copy.with_suffix(".lock"), "a", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not copy.is_dir():
                log.say(f"fetching {printable(url)}")
                with scratch_folder(copy) as scratch, _explaining(url):
                    _download(url, scratch)
                    os.replace(scratch / "images", copy)
    except OSError as error:
        raise DataError(
            f"the copy of {printable(url)} cannot be written to {copy.parent} ({error.strerror}); free some space, or "
            "set NAS_CACHE_DIR to another disk"
        ) from None
    return copy


def _download(url: str, scratch: Path) -> None:
    """Bring the image files of a URL to ``scratch / "images"``."""
    file_system, path = _open(url)
    images = scratch / "images"
    images.mkdir()
    if not path.lower().endswith(_ARCHIVES):
        found = [each for each in file_system.find(path) if is_image_name(each)]
        if not found:
            raise DataError(
                f"--data {printable(url)} leads to no image files; give the URL of a folder with one folder per class, "
                f"or of an archive of one ({', '.join(_ARCHIVES)})"
            )
        prefix = path.rstrip("/") + "/"
        targets = [_inside(images, each.removeprefix(prefix)) for each in found]
        for folder in {target.parent for target in targets}:
            folder.mkdir(parents=True, exist_ok=True)
        file_system.get(found, [str(target) for target in targets])
        return
    archive = scratch / "archive"
    _require_room(url, file_system.info(path).get("size") or 0, scratch)
    file_system.get_file(path, str(archive))
    _extract(url, archive, images)


def _extract(url: str, archive: Path, images: Path) -> None:
    """Extract the image files of an archive that may have been made by anybody."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as members:
            files = [
                each for each in members.infolist() if not each.is_dir() and is_image_name(each.filename)
            ]
            _require_room(url, sum(each.file_size for each in files), images)
            for each in files:
                with members.open(each) as content:
                    _write(content, _inside(images, each.filename))
        return
    with tarfile.open(archive) as bundle:
        for member in bundle:
            if member.isfile() and is_image_name(member.name):
                _require_room(url, member.size, images)
                extracted = bundle.extractfile(member)
                assert extracted is not None  # as it is of a file
                with extracted:
                    _write(extracted, _inside(images, member.name))


def _write(content: Any, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "wb") as file:
        shutil.copyfileobj(content, file)


def _inside(folder: Path, name: str) -> Path:
    """Return where a member goes.

    Raises:
        DataError: If that is outside of ``folder``.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in name or not parts:
        raise DataError(
            f"the archive holds a file {printable(name)!r}, whose name leads elsewhere; make it anew"
        )
    return folder.joinpath(*parts)


def _require_room(url: str, size: int, folder: Path) -> None:
    free = measure_disk(folder).free
    if size > free:
        raise DataError(
            f"{printable(url)} takes {format_bytes(size)}, and {format_bytes(free)} are free at "
            f"{folder.parent.parent}; free some space, or set NAS_CACHE_DIR to another disk"
        )


def _read_state(url: str) -> str:
    """Return what tells the state of a file, or of all files of a folder, from another.

    Raises:
        DataError: If it leads to nothing that can be read.
    """
    with _explaining(url):
        file_system, path = _open(url)
        info = file_system.info(path)
        if info.get("type") != "directory" or path.lower().endswith(_ARCHIVES):
            return json_digest({name: str(info[name]) for name in _STATE if info.get(name) is not None})[:16]
        files = file_system.find(path, detail=True)
        states = {
            name: {key: str(each[key]) for key in _STATE if each.get(key) is not None}
            for name, each in sorted(files.items())
            if is_image_name(name)
        }
        return json_digest(states)[:16]


def _open(url: str) -> tuple[Any, str]:
    """Return the file system of a URL and its path there, knowing nothing of before."""
    import fsspec

    found: tuple[Any, str] = fsspec.core.url_to_fs(url)
    found[0].invalidate_cache()  # of listings, which object stores keep as long as the process lives
    return found


@contextlib.contextmanager
def _explaining(url: str) -> Iterator[None]:
    """Turn whatever the file systems of this world raise into one sentence."""
    try:
        yield
    except NasError:
        raise
    except FileNotFoundError:
        raise DataError(f"--data {printable(url)} leads to nothing; check the URL") from None
    except ImportError as error:
        scheme = url.partition("://")[0]
        package = _PACKAGES.get(scheme)
        advice = "install what fsspec asks for"
        if package is not None:
            extra = EXTRAS.get(package)
            advice = f"type: pip install {package if extra is None else repr(f'nas[{extra}]')}"
        raise DataError(
            f"--data {printable(url)} needs another package ({first_line(error)}); {advice}"
        ) from None
    except Exception as error:
        reason = first_line(error).rstrip(".")
        raise DataError(
            f"--data {printable(url)} cannot be fetched ({type(error).__name__}: {reason}); check the URL, and whether "
            "this machine may read it"
        ) from None


def _refuse_secrets(url: str) -> None:
    """Refuse a URL with a password, which the study would keep.

    Raises:
        DataError: If it has one.
    """
    parts = urlsplit(url)
    if parts.password or (parts.username and parts.scheme.startswith("http")):
        raise DataError(
            f"--data {parts.scheme}://***@{printable(parts.hostname or '')} holds a password, which the study would "
            "keep; give credentials as fsspec finds them, such as ~/.netrc or AWS_PROFILE"
        )
