"""One reference case: what the papers' own code was given and what it returned."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isqrt
from typing import Any

from torch import Tensor, nn

from tests.reference import names


@dataclass(frozen=True)
class Case:
    """One run of the original: its description, tensors and weights."""

    about: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def arguments(self) -> dict[str, Any]:
        return self.about["arguments"]

    @property
    def input(self) -> Tensor:
        return self.tensors["input"]

    @property
    def weights(self) -> dict[str, Tensor]:
        prefix = "weights."
        return {key.removeprefix(prefix): v for key, v in self.tensors.items() if key.startswith(prefix)}

    @property
    def qkv_bias(self) -> bool:
        return bool(self.arguments.get("qkv_bias", False))

    def size(self, length: int) -> tuple[int, int]:
        """Return H and W of ``length`` tokens: those of the layout, or a square's."""
        if found := re.search(r"H=(\d+), W=(\d+)", self.about["input_layout"]):
            return int(found[1]), int(found[2])
        side = isqrt(length)
        assert side * side == length, f"{length} tokens are no square and the layout tells no H and W"
        return side, side

    def map(self) -> Tensor:
        """Return tokens ``(B, H * W, C)`` as a map ``(B, H, W, C)``."""
        return self.input.unflatten(1, self.size(self.input.shape[1]))

    def load(self, module: nn.Module, table: names.Names | None = None) -> nn.Module:
        """Give a module the original's weights, every one, and no other."""
        module.load_state_dict(names.translate(self.weights, table or {}))
        return module.eval()
