"""Walking a tree of image files: what is hidden, loops back, or is no image is passed over and counted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from search_spaces.errors import DataError

#: Endings of the files that are read.
EXTENSIONS = (
    *(".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff"),
    ".webp",
)
# What systems leave behind in folders, in lower case.
_SYSTEM_FOLDERS = (
    *("__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "__pycache__"),
    "thumbs.db",
)
_SYSTEM_FILES = ("thumbs.db", "desktop.ini", "icon\r")


@dataclass
class Files:
    """The image files below a folder.

    Attributes:
        paths: Their paths, sorted.
        skipped: How many other files there are, by the reason for passing them over.
        nested: How many of the images lie in folders within the folder.
    """

    paths: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    nested: int = 0


def printable(path: str | Path) -> str:
    """Return a path as it can be printed: bytes that are not UTF-8 and control characters are escaped."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """List a folder, sorted by name.

    Raises:
        DataError: It cannot be read.
    """
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(
            f"folder {printable(folder)} cannot be read ({error.strerror}); change its rights or remove it"
        ) from None


def subfolders(folder: Path) -> list[str]:
    """Return the names of the folders in ``folder`` that are neither hidden nor a system's own."""
    return [entry.name for entry in entries(folder) if _is_folder(entry) and not _is_hidden(entry)]


def is_image_name(name: str) -> bool:
    """Return whether a file's name is that of an image that is read."""
    return name.lower().endswith(EXTENSIONS)


def loose_images(folder: Path) -> int:
    """Return how many image files lie directly in a folder."""
    return sum(is_image_name(e.name) and not _is_folder(e) and not _is_hidden(e) for e in entries(folder))


def holds_images(folder: Path) -> bool:
    """Return whether there is an image file anywhere below a folder."""
    return any(is_image_name(entry.name) for entry, _ in _walk(folder, Counter()))


def find_files(folder: Path) -> Files:
    """Find the image files below a folder, following links; a folder that is met again is not read twice."""
    found = Files()
    for entry, depth in _walk(folder, found.skipped):
        ending = os.path.splitext(entry.name)[1].lower()
        if is_image_name(entry.name):
            found.paths.append(entry.path)
            found.nested += depth > 0
        else:
            found.skipped[printable(ending) if ending else "no ending"] += 1
    # As paths are sorted, not as text is: 'a/1' comes before 'a-b/1'.
    found.paths.sort(key=lambda path: path.split(os.sep))
    return found


def _walk(folder: Path, skipped: Counter[str]) -> Iterator[tuple[os.DirEntry[str], int]]:
    """Yield the visible files below a folder and how many folders below it each lies."""
    # A link to a folder above leads in a circle.
    seen = {_identity(path) for path in (folder, *folder.resolve().parents)}
    waiting = [(folder, 0)]
    while waiting:
        current, depth = waiting.pop()
        for entry in entries(current):
            if _is_hidden(entry):
                skipped["hidden"] += 1
            elif not _is_folder(entry):
                yield entry, depth
            elif (identity := _identity(entry.path)) in seen:
                skipped["links to folders read already"] += 1
            else:
                seen.add(identity)
                waiting.append((Path(entry.path), depth + 1))


def _identity(path: str | Path) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError as error:
        raise DataError(f"folder {printable(path)} cannot be read ({error.strerror}); try again") from None
    return status.st_dev, status.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_hidden(entry: os.DirEntry[str]) -> bool:
    name = entry.name.lower()
    return name.startswith(".") or name in (_SYSTEM_FOLDERS if _is_folder(entry) else _SYSTEM_FILES)
