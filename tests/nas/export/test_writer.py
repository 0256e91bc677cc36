"""Export folders: traceable at any batch size, self-contained, and written whole or not at all."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from nas.export import verification
from nas.export.source_module import load_source
from nas.export.writer import export_model
from search_spaces.errors import WorkError
from search_spaces.operators import OPERATORS
from supernet.subnet import build_subnet
from tests.helpers.export_designs import BLOCKS, design_with


def export(name: str, folder: Path) -> nn.Module:
    """Export a small design with the blocks of one operator; return its subnet."""
    torch.manual_seed(0)
    design = design_with(name)
    network = build_subnet(design)
    export_model(
        network,
        design,
        folder,
        name=name,
        mean=(0.5,) * 3,
        std=(0.2,) * 3,
        class_names=(),
        metrics={},
        provenance={},
        formats=(),
    )
    return network


# Deprecated in torch, but still how many deploy a network.
@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # height and width are fixed by the trace
@pytest.mark.parametrize("name", OPERATORS)
def test_the_exported_source_is_traced_at_one_batch_size_and_run_at_others(name: str, tmp_path: Path) -> None:
    network = export(name, tmp_path / "model")
    model = load_source(tmp_path / "model").load_model()
    images = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        traced = torch.jit.trace(model, images[:2])
        for count in (1, 5):
            assert (traced(images[:count]) - network(images[:count])).abs().max() <= 1e-5


@pytest.mark.parametrize("name", OPERATORS)
def test_the_exported_source_defines_nothing_that_it_does_not_use(name: str, tmp_path: Path) -> None:
    export(name, tmp_path / "model")
    tree = ast.parse((tmp_path / "model" / "model.py").read_text())
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    model = load_source(tmp_path / "model").load_model()
    built = {cls.__name__ for module in model.modules() for cls in type(module).__mro__}
    modules = {
        node.name
        for node in tree.body
        if isinstance(node, ast.ClassDef) and any("Module" in ast.unparse(base) for base in node.bases)
    }
    assert modules <= built
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert defined <= used | {"load_model", "normalise", "predict"}


def test_an_export_runs_without_this_project(tmp_path: Path) -> None:
    export("lsa", tmp_path / "model")
    program = (
        "import sys, torch; from model import load_model, normalise; "
        "print(tuple(load_model()(normalise(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))).shape), "
        "sorted({name.split('.')[0] for name in sys.modules} & {'nas', 'supernet', 'search_spaces'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path / "model",
        env={"PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "(2, 5) []"


def test_an_export_that_differs_is_refused_and_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export("lsa", tmp_path / "model")
    before = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    monkeypatch.setattr(verification, "TOLERANCE", -1.0)
    with pytest.raises(WorkError, match=r"model\.py differs from the subnet .* nothing was exported"):
        export("gsa", tmp_path / "model")
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_every_operator_has_a_design() -> None:
    assert set(BLOCKS) == set(OPERATORS)


def test_the_exported_loader_notices_a_flipped_bit(tmp_path: Path) -> None:
    network = export("lsa", tmp_path / "model")
    weights, module = tmp_path / "model" / "model.safetensors", load_source(tmp_path / "model")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match="the file of weights is damaged"):
        module.load_model()
    # What others saved has no checksum.
    safetensors.torch.save_file(network.state_dict(), tmp_path / "other")
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.equal(module.load_model(tmp_path / "other")(images), network(images))


def test_what_a_killed_export_left_is_swept_by_the_next_one(tmp_path: Path) -> None:
    program = """
import os, sys
from pathlib import Path
from nas.runtime.files import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "model").mkdir()
    os.kill(os.getpid(), 9)
"""
    command = [sys.executable, "-c", program, str(tmp_path / "model")]
    assert subprocess.run(command, cwd=Path(__file__).parents[3], check=False).returncode == -9
    assert len(list(tmp_path.iterdir())) == 1
    export("lsa", tmp_path / "model")
    export("lsa", tmp_path / "model")  # in place of the former one
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
