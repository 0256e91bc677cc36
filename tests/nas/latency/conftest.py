"""A space whose skeleton has choices."""

from __future__ import annotations

import pytest

from search_spaces.declaration import parse_declaration
from search_spaces.space import Space
from tests.helpers.latency import FORKED


@pytest.fixture(scope="module")
def forked() -> Space:
    return parse_declaration(FORKED, "forked.yaml").space("one", 16, 3, 5)
