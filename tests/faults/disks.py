"""A small disk of a test's own, an ext4 in a file, which can be filled, emptied and made to fail."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


class SmallDisk:
    """A mounted disk.

    Args:
        image: The file that holds it.
        root: Where it is mounted.
    """

    def __init__(self, image: Path, root: Path) -> None:
        self.root, self._image, self._ballast = root, image, root / ".ballast"

    def fill(self, left: int = 0) -> None:
        """Fill the disk but for ``left`` bytes."""
        self.empty()
        _run("sync", "-f", str(self.root))  # what files that are gone took is free from then on
        with open(self._ballast, "wb") as file:
            size = 0
            for step in (2**20, 2**16, 2**12, 2**10):  # blocks of a small disk have 1 KiB
                with contextlib.suppress(OSError):
                    while True:
                        os.posix_fallocate(file.fileno(), size, step)
                        size += step
            file.truncate(max(0, size - left))

    def empty(self) -> None:
        """Make room again."""
        self._ballast.unlink(missing_ok=True)

    def fail(self) -> None:
        """Refuse every write from now on, as a disk does after an error: also of files that are open."""
        _run("mount", "-o", "remount,abort", str(self.root))

    def repair(self) -> None:
        """Put a sound disk with the same content in its place, as a check at the next start does."""
        _run("umount", "--lazy", str(self.root))  # this process may have files open there
        copy = self._image.with_suffix(".repaired")
        shutil.copyfile(self._image, copy)
        self._image = copy
        subprocess.run([_find("fsck.ext4"), "-fy", str(copy)], capture_output=True)  # not 0 where it repairs
        _run("mount", "-o", "loop", str(copy), str(self.root))


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[SmallDisk]:
    """Yield a disk of this size; the test is skipped where nothing may be mounted."""
    image, root = folder / "disk.img", folder / "disk"
    root.mkdir()
    with open(image, "wb") as file:
        file.truncate(megabytes * 2**20)
    _run(_find("mkfs.ext4"), "-q", "-m", "0", str(image))
    done = subprocess.run(["mount", "-o", "loop", str(image), str(root)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    try:
        yield SmallDisk(image, root)
    finally:
        _run("umount", "--lazy", str(root))


def _find(program: str) -> str:
    found = shutil.which(program) or shutil.which(program, path=_SBIN)
    if found is None:
        pytest.skip(f"no program {program}; type: apt-get install e2fsprogs")
    return found


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
