"""Same weights in, same numbers out: our modules against outputs of the papers' own code.

Every case of ``NAS_REFERENCE_DIR`` (see the README.md there) is loaded into the module that implements it
and compared to ``max(1e-5, 3 * float64_max_abs_diff)``, three times what float32 itself loses. A kind of
case is one function of ``RUNNERS``: it gets the case, makes our module from the original's constructor
arguments, and returns ours beside each of the original's outputs.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.reference.cases import Case
from tests.reference.runners import RUNNERS

DEFAULT = Path(__file__).parents[3] / "shared" / "reference"
FOLDER = Path(os.environ.get("NAS_REFERENCE_DIR") or DEFAULT)

if not (FOLDER / "index.json").is_file():
    pytest.skip(
        f"no reference cases: {FOLDER / 'index.json'} is absent; set NAS_REFERENCE_DIR to their folder",
        allow_module_level=True,
    )

INDEX: list[dict[str, Any]] = json.loads((FOLDER / "index.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("about", INDEX, ids=[about["name"] for about in INDEX])
@torch.no_grad()
def test_case_equals_the_original(about: dict[str, Any]) -> None:
    assert about["kind"] in RUNNERS, f"no runner for cases of kind '{about['kind']}'"
    case = Case(about, load_file(FOLDER / about["file"]))
    ours = RUNNERS[about["kind"]](case)
    assert ours.keys() == about["outputs"].keys()
    tolerance = max(1e-5, 3 * about["float64_max_abs_diff"])
    for name, value in ours.items():
        expected = case.tensors[name]
        assert value.shape == expected.shape, f"{name}: {value.shape}, the original's is {expected.shape}"
        difference = (value - expected).abs().max().item()
        assert difference <= tolerance, f"{name} differs by {difference:.2e}, allowed are {tolerance:.2e}"
