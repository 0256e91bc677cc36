"""LSA holds the contract of an operator."""

from __future__ import annotations

from search_spaces.architecture import Block
from tests.operator_contract import OperatorContract


class TestLSA(OperatorContract):
    operator = "lsa"
    settings = ({"window_size": 2}, {"window_size": 3}, {"window_size": 5})

    def whole(self, block: Block) -> tuple[int, int]:
        window = int(block.knob("window_size"))
        return 2 * window, 3 * window
