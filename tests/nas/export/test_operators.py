"""Every operator leaves in every format: readable source, torch.export program and ONNX file give its logits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nas.export.formats import FORMATS
from nas.export.writer import export_model
from search_spaces.operators import OPERATORS
from supernet.subnet import build_subnet
from tests.helpers.export_designs import design_with


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATORS)
def test_all_formats_give_the_subnets_logits(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    design = design_with(name)
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
