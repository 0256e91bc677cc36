"""What the tests of data share: the digits and a folder of colours, read once."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.data.dataset import Data, load_data
from tests.helpers.image_folders import paint_classes


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def digits(cache: Path) -> Data:
    return load_data("mnist5k", cache_dir=cache)


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Data:
    root = paint_classes(tmp_path_factory.mktemp("coloured"), {"ant": 40, "bee": 30, "cat": 30})
    return load_data(f"folder:{root}", cache_dir=cache)
