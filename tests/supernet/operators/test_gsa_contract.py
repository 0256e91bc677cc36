"""GSA holds the contract of an operator."""

from __future__ import annotations

from search_spaces.architecture import Block
from tests.operator_contract import OperatorContract


class TestGSA(OperatorContract):
    operator = "gsa"
    settings = ({"sr_ratio": 1}, {"sr_ratio": 2}, {"sr_ratio": 3})

    def whole(self, block: Block) -> tuple[int, int]:
        ratio = int(block.knob("sr_ratio"))
        return 2 * ratio, 3 * ratio
