"""An operator of another package, the example of the README, holds the same contract as the project's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from search_spaces.operators import import_operator
from tests.helpers.operator_packages import EXAMPLE, importable, write_distribution
from tests.operator_contract import OperatorContract


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what pip leaves of the installed package beside its modules."""
    folder = tmp_path_factory.mktemp("site")
    return write_distribution(folder, "axial_pool", "axial_pool = axial_pool.spec:OPERATOR")


class TestAxialPool(OperatorContract):
    operator = "axial_pool"
    settings = ({"pool_length": 3}, {"pool_length": 7})
    uses_fused_attention = False

    def naive(self, module: Any, x: Tensor) -> Tensor:
        """Average the neighbours on the map one position after the other."""
        H, W = x.shape[1:3]
        v, half = module.v(x), module.pool_length // 2
        out = torch.zeros_like(v)
        for y in range(H):
            for c in range(W):
                column = [v[:, i, c] for i in range(H) if abs(i - y) <= half]
                row = [v[:, y, j] for j in range(W) if abs(j - c) <= half]
                out[:, y, c] += module.scale[0] * sum(column) / len(column)
                out[:, y, c] += module.scale[1] * sum(row) / len(row)
        return module.proj(out)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        with importable(EXAMPLE):  # cases are listed before any fixture
            import_operator("axial_pool.spec:OPERATOR")
            super().pytest_generate_tests(metafunc)

    @pytest.fixture(autouse=True)
    def installed(self, site: Path) -> Iterator[None]:
        with importable(site, EXAMPLE):
            yield
