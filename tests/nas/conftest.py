"""What the tests of ``nas`` share: a tiny space and tiny images."""

from __future__ import annotations

from pathlib import Path

import pytest

from search_spaces.declaration import parse_declaration
from search_spaces.space import Space
from tests.helpers.command_line import TINY_SPACE, paint_folder


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
