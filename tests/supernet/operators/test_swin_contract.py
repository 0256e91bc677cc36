"""Swin holds the contract of an operator, shifted and not."""

from __future__ import annotations

from search_spaces.architecture import Block
from tests.operator_contract import OperatorContract


class TestSwin(OperatorContract):
    operator = "swin"
    settings = (
        {"window_size": 2, "shift": "none"},
        {"window_size": 3, "shift": "half"},
        {"window_size": 5, "shift": "half"},
    )

    def whole(self, block: Block) -> tuple[int, int]:
        window = int(block.knob("window_size"))
        return 2 * window, 3 * window
