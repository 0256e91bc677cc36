"""What the tests of ``nas`` share: a tiny space, tiny images, and the command line run in this process."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search_spaces.declaration import parse_declaration
from search_spaces.space import Space

TINY_SPACE = """\
name: tiny
summary: two stages for images of 16 to 32 px
blocks:
  mlp_ratio: [1, 2]
  operators:
    lsa: {window_size: [2, 4], pos: [none, rpe]}
    gsa: {sr_ratio: [2], pos: [none]}
    dwconv: {kernel_size: [3, 5], dynamic: [none], pos: [none]}
scales:
  nano:
    images: [16, 32]
    stem: conv3x3_s2
    stages:
      - {dim: 8, num_heads: 2, depth: [1, 2]}
      - {dim: 16, num_heads: 2, depth: [1], downsample: conv2x2}
"""


@pytest.fixture(scope="session", autouse=True)
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of this session alone, in which the embedded digits are parsed once."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAS_CACHE_DIR", str(folder))
        # Ray makes its workers nicer than all else, and then they wait for tests that run beside them.
        patch.setenv("RAY_worker_niceness", "0")
        yield folder


@pytest.fixture(autouse=True)
def no_foreign_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests off a Ray cluster that happens to run on this machine."""
    monkeypatch.setenv("RAY_ADDRESS", "local")


@pytest.fixture(scope="session")
def space() -> Space:
    """The tiny space for RGB images of 16 px and 3 classes."""
    return parse_declaration(TINY_SPACE, "tiny.yaml").space("nano", 16, 3, 3)


@pytest.fixture(scope="session")
def space_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny space's declaration."""
    path = tmp_path_factory.mktemp("space") / "tiny.yaml"
    path.write_text(TINY_SPACE)
    return path


def paint_folder(root: Path, classes: int = 3, images: int = 12, side: int = 16) -> Path:
    """Write noise of a mean that tells the class; return the folder."""
    rng = np.random.default_rng(0)
    for label in range(classes):
        folder = root / f"class{label}"
        folder.mkdir(parents=True)
        for number in range(images):
            pixels = rng.integers(0, 90, (side, side, 3)) + 80 * label
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:02}.png")
    return root


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of twelve RGB images of 16 px; not to be changed."""
    return paint_folder(tmp_path_factory.mktemp("images") / "set")


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str


Nas = Callable[..., Outcome]


@pytest.fixture
def nas(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Nas:
    """Run the real command line in this process."""
    from nas.cli import main

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["nas", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return Outcome(end.value.code if isinstance(end.value.code, int) else 1, out, err)

    return run


def tree(root: Path) -> dict[str, int]:
    """Return every file and folder below ``root`` with its time of change."""
    return {
        os.path.join(place, name): os.lstat(os.path.join(place, name)).st_mtime_ns
        for place, folders, files in os.walk(root)
        for name in (*folders, *files)
    }
