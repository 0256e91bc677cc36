"""What the tests of training share: tiny images, settings, and sums that are added in one order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from nas.data.dataset import Data, load_data
from nas.study.settings import Settings
from tests.helpers.training import RECIPE


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Sums are then added in one order, so that equality can mean equal bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(images: Path) -> Data:
    return load_data(f"folder:{images}")


@pytest.fixture(scope="module")
def settings() -> Settings:
    return Settings(recipe=RECIPE, batch=4)
