"""CSWin holds the contract of an operator: narrow stripes, wide ones, and one that covers the map."""

from __future__ import annotations

from search_spaces.architecture import Block
from search_spaces.operators import FeatureMap
from tests.operator_contract import OperatorContract


class TestCSWin(OperatorContract):
    operator = "cswin"
    settings = ({"stripe_width": 1}, {"stripe_width": 3}, {"stripe_width": 6})
    # 6 covers the first map; on the second it is wider than the map is high.
    feature_maps = (FeatureMap(16, 4, 6, 6), FeatureMap(24, 4, 5, 7, qkv_bias=False))

    def whole(self, block: Block) -> tuple[int, int]:
        stripe = int(block.knob("stripe_width"))
        return stripe, 2 * stripe
