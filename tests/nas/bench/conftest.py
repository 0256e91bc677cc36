"""Quick setups of benches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nas.bench.setup import Setup
from tests.helpers.bench import QUICK


@pytest.fixture
def tiny(space_file: Path) -> Setup:
    return replace(QUICK, space=str(space_file))
