"""Drawings of the operators: on which positions of its map the output at one position depends, by the modules.

The gradient of the output at a query with respect to every position of the input, over random weights and inputs:
where it is zero for all of them, the operator does not look; the others are the darker, the more it matters.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from search_spaces.architecture import Block
from search_spaces.operators import FeatureMap
from search_spaces.skeleton import Style
from supernet.operators import mixer
from tests.helpers.modules import randomised

SIDE, QUERY, DRAWS = 14, (5, 6), 8
FOLDER = Path(__file__).parents[2] / "docs" / "images" / "operators"
#: An example of each operator, as it is drawn.
EXAMPLES = {
    "lsa": Block("lsa", (("window_size", 7),)),
    "gsa": Block("gsa", (("sr_ratio", 7),)),
    "cswin": Block("cswin", (("stripe_width", 2),)),
    "dwconv": Block("dwconv", (("kernel_size", 5), ("dynamic", "none"))),
    "refiner": Block("refiner", (("maps", "refined"), ("expand_ratio", 2), ("kernel_size", 3))),
    "swin": Block("swin", (("window_size", 7), ("shift", "half")), "rpe"),
    "outlook": Block("outlook", (("kernel_size", 3), ("stride", 1))),
    "linear": Block("linear", (("kernel_size", 5),)),
    "pool": Block("pool", (("pool_size", 3),)),
}
_CELL, _EDGE = 12, 1


def measure_influence(block: Block) -> Tensor:
    """Return how much each position matters for the output at the query, from 0 to 1: ``(SIDE, SIDE)``."""
    feature_map = FeatureMap(16, 4, SIDE, SIDE)
    module = mixer(block.operator).blueprint(block, feature_map, Style()).build().eval()
    total = torch.zeros(SIDE, SIDE)
    for seed in range(DRAWS):
        randomised(module, seed)
        x = torch.randn(1, SIDE, SIDE, 16, generator=torch.Generator().manual_seed(seed)).requires_grad_()
        out = module(x)
        (gradient,) = torch.autograd.grad(out[0, QUERY[0], QUERY[1]].square().sum(), x)
        influence = gradient[0].abs().sum(dim=-1)
        total += influence / influence.max()
    return total / total.max()


def draw(influence: Tensor) -> str:
    """Return the picture: a square for every position, the query framed."""
    size = SIDE * _CELL + 2 * _EDGE
    squares = []
    for row in range(SIDE):
        for column in range(SIDE):
            value = float(influence[row, column])
            opacity = 0.0 if value == 0 else round(0.3 + 0.7 * value, 1)
            place = f'x="{column * _CELL + _EDGE}" y="{row * _CELL + _EDGE}"'
            fill = f'fill="#0969da" fill-opacity="{opacity}"' if opacity else 'fill="none"'
            squares.append(f'<rect {place} width="{_CELL}" height="{_CELL}" {fill}/>')
    frame = f'x="{QUERY[1] * _CELL + _EDGE}" y="{QUERY[0] * _CELL + _EDGE}" width="{_CELL}" height="{_CELL}"'
    lines = "\n".join(squares)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size}" height="{size}" viewBox="0 0 {size} {size}">\n'
        f'<g stroke="#8c959f" stroke-width="0.5">\n{lines}\n</g>\n'
        f'<rect {frame} fill="none" stroke="#cf222e" stroke-width="2.5"/>\n</svg>\n'
    )


def write_drawings() -> None:
    """Write a picture for every operator."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, block in EXAMPLES.items():
        (FOLDER / f"{name}.svg").write_text(draw(measure_influence(block)), encoding="utf-8")


if __name__ == "__main__":
    write_drawings()
