"""Every operator leaves in every format: readable source, torch.export program and ONNX file give its logits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nas.export.writer import FORMATS, export_model
from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.operators import OPERATORS
from search_spaces.skeleton import Style
from supernet.subnet import build_subnet

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
}
REFINER = Style(mlp_scale=True, residual_scale=0.5, stem_norm=False, head="dense_token")


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATORS)
def test_all_formats_give_the_subnets_logits(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    stage = Stage(16, 4, tuple(BLOCKS[name]))
    style = REFINER if name == "refiner" else Style()
    # Windows of 3 leave a rest on maps of 8 positions a side.
    design = Architecture((stage,), (32, 32), num_classes=5, stem="patch4x4", style=style)
    differences = export_model(
        build_subnet(design),
        design,
        tmp_path / name,
        name=name,
        mean=(0.5,) * 3,
        std=(0.2,) * 3,
        class_names=(),
        metrics={},
        provenance={},
        formats=FORMATS,
    )
    assert differences.keys() == {"model.py", "model.pt2", "model.onnx"}
    assert max(differences.values()) <= 1e-5
