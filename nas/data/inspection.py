"""Looking at every file of a set before it is used: what it shows, by its content, and whether it can be read.

What was found of a file is kept in the cache folder with its size and times, so that the next run opens none
that has not changed since.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from nas.data.hashing import text_hash
from nas.data.pixels import find_refusal, is_transparent, is_turned, to_upright_opaque
from nas.data.threads import OnProgress, map_indices
from nas.runtime.error_text import first_line
from nas.runtime.files import write_bytes
from search_spaces.errors import WorkError

_VERSION = 1
_WHOLE_BYTES = 256 * 1024
_END_BYTES = 128 * 1024
# Pictures that are stored pixel by pixel may be alike at both ends and differ between them.
_UNCOMPRESSED = (".bmp", ".pbm", ".pgm", ".ppm", ".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What was found of an image file.

    Attributes:
        digest: `content_digest` of the file.
        mode: Pillow's mode.
        width: In pixels, as stored.
        height: In pixels, as stored.
        turned: Whether EXIF data says that it is stored turned or mirrored.
        transparent: Whether it can be transparent.
        animated: Whether it has several frames, of which the first counts.
        decoded: Whether all of it was decoded without fault, not its header alone.
    """

    digest: str
    mode: str
    width: int
    height: int
    turned: bool
    transparent: bool
    animated: bool
    decoded: bool


def inspect_files(
    paths: Sequence[str], root: Path, cache_dir: Path, *, decode: bool, on_progress: OnProgress | None
) -> list[FileFacts | str]:
    """Return what was found of each file, or why it cannot be read.

    Args:
        paths: The files.
        root: The folder they lie in.
        cache_dir: Where what was found is kept.
        decode: Decode all of every file, which finds those whose header is right and whose pixels are not.
        on_progress: Called with ``(done, total)``, unless nothing has changed since the last time.
    """
    cache = cache_dir / "inspected" / f"{text_hash(os.path.abspath(root.resolve())).hex()[:16]}.json"
    known, found = _read(cache), {}
    results: list[FileFacts | str | None] = []
    stamps = [_stamp(path) for path in paths]
    for path, stamp in zip(paths, stamps, strict=True):
        row = known.get(os.path.relpath(path, root))
        facts = row[1] if row is not None and row[0] == stamp else None
        results.append(facts if facts is not None and (facts.decoded or not decode) else None)
    waiting = [index for index, result in enumerate(results) if result is None]
    if waiting:
        fresh = map_indices(lambda i: inspect_file(paths[waiting[i]], decode), len(waiting), on_progress)
        for index, result in zip(waiting, fresh, strict=True):
            results[index] = result
        found = {
            os.path.relpath(path, root): (stamp, facts)
            for path, stamp, facts in zip(paths, stamps, results, strict=True)
            if isinstance(facts, FileFacts) and stamp is not None
        }
        # A home that cannot be written must not stop the work.
        with contextlib.suppress(WorkError):
            _write(cache, found)
    return [result for result in results if result is not None]


def inspect_file(path: str, decode: bool) -> FileFacts | str:
    """Return what is found of one file, or why it cannot be read."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            return "it is no regular file"
        if not status.st_size:
            return "it is empty"
        with Image.open(path) as image:
            if refusal := find_refusal(image):
                return refusal
            mode, (width, height) = image.mode, image.size
            flags = is_turned(image), is_transparent(image), bool(getattr(image, "is_animated", False))
            if decode:
                image.seek(0)
                image.load()
                to_upright_opaque(image, 3)
        return FileFacts(content_digest(path, status.st_size), mode, width, height, *flags, decode)
    except OSError as error:
        return (error.strerror or first_line(error)).rstrip(".")
    # Pillow reports damage in many ways, a SyntaxError and a struct.error among them.
    except Exception as error:
        return first_line(error).rstrip(".")


def content_digest(path: str, size: int) -> str:
    """Return a hash of a file's content, in hexadecimal.

    Files up to 256 KB and those of uncompressed formats are read whole; of larger ones, the size and 128 KB at
    both ends: compressed pictures that differ anywhere differ in size or to the end.
    """
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        if size <= _WHOLE_BYTES or path.lower().endswith(_UNCOMPRESSED):
            while block := file.read(2**20):
                digest.update(block)
        else:
            digest.update(f"{size}/".encode() + file.read(_END_BYTES))
            file.seek(size - _END_BYTES)
            digest.update(file.read(_END_BYTES))
    return digest.hexdigest()


def _stamp(path: str) -> tuple[int, int, int] | None:
    """Return what changes whenever a file is written: size and times."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _read(cache: Path) -> dict[str, tuple[tuple[int, int, int], FileFacts]]:
    """Return what was found before, by path; nothing where that cannot be read."""
    try:
        content = json.loads(cache.read_bytes())
        if content["version"] != _VERSION:
            return {}
        return {path: _from_row(row) for path, row in content["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _from_row(row: list[Any]) -> tuple[tuple[int, int, int], FileFacts]:
    size, modified, changed, *facts = row
    return (size, modified, changed), FileFacts(*facts)


def _write(cache: Path, found: dict[str, tuple[tuple[int, int, int], FileFacts]]) -> None:
    rows = {path: [*stamp, *astuple(facts)] for path, (stamp, facts) in found.items()}
    # ASCII, since names that are not UTF-8 could not be written otherwise.
    write_bytes(cache, json.dumps({"version": _VERSION, "files": rows}).encode("ascii"))
