"""Small designs that use each operator in its variants, for tests of the export."""

from __future__ import annotations

from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.skeleton import Style

BLOCKS = {
    "lsa": [Block("lsa", (("window_size", 3),), "rpe")],
    "gsa": [Block("gsa", (("sr_ratio", 2),), "cpe")],
    "cswin": [Block("cswin", (("stripe_width", 2),), "lepe")],
    "dwconv": [
        Block("dwconv", (("dynamic", "homogeneous"), ("kernel_size", 3))),
        Block("dwconv", (("dynamic", "inhomogeneous"), ("group_channels", 4), ("kernel_size", 5))),
    ],
    "refiner": [
        Block("refiner", (("maps", "plain"),)),
        Block("refiner", (("expand_ratio", 2), ("kernel_size", 3), ("maps", "shared"))),
    ],
    "swin": [Block("swin", (("shift", "half"), ("window_size", 3)), "rpe")],
    "outlook": [Block("outlook", (("kernel_size", 3), ("stride", 2)), "ape")],
    "linear": [Block("linear", (("kernel_size", 5),), "cpe")],
    "pool": [Block("pool", (("pool_size", 3),), "cpe")],
}
_REFINER_STYLE = Style(mlp_scale=True, residual_scale=0.5, stem_norm=False, head="dense_token")


def design_with(operator: str) -> Architecture:
    """Return a design for images ``(3, 32, 32)`` and 5 classes whose blocks are those of one operator."""
    stage = Stage(16, 4, tuple(BLOCKS[operator]))
    style = _REFINER_STYLE if operator == "refiner" else Style()
    # Windows of 3 leave a rest on maps of 8 positions a side.
    return Architecture((stage,), (32, 32), num_classes=5, stem="patch4x4", style=style)
