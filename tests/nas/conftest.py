"""What the tests of ``nas`` share: a tiny space, tiny images, and the command line run in this process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from search_spaces.declaration import parse_declaration
from search_spaces.space import Space
from tests.helpers.command_line import TINY_SPACE, Nas, Outcome, paint_folder


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


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of twelve RGB images of 16 px; not to be changed."""
    return paint_folder(tmp_path_factory.mktemp("images") / "set")


@pytest.fixture
def nas(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Nas:
    """Run the real command line in this process."""
    from nas.cli.main import main

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["nas", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return Outcome(end.value.code if isinstance(end.value.code, int) else 1, out, err)

    return run
