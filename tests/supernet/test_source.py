"""The exported ``model.py``: a file of its own, of what the network needs and nothing else."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.declaration import load_declaration
from search_spaces.operators import KnobValue, import_operator
from search_spaces.skeleton import Style
from search_spaces.walk import walk_blocks
from supernet.blueprint import call
from supernet.operators.cswin import CrossShapedWindowAttention
from supernet.source import model_source, render
from supernet.subnet import network_blueprint
from tests.helpers.modules import executed, randomised
from tests.helpers.operator_cases import trace
from tests.helpers.operator_packages import importable

# What may stand in a file: the name of every operator's class, and its block.
CLASSES = {
    "lsa": "LocallyGroupedAttention",
    "gsa": "GlobalSubsampledAttention",
    "cswin": "CrossShapedWindowAttention",
    "dwconv": "DepthwiseConvolution",
    "refiner": "RefinedAttention",
    "swin": "ShiftedWindowAttention",
    "outlook": "OutlookAttention",
    "linear": "LinearAttention",
    "pool": "Pooling",
}
KNOBS: dict[str, dict[str, KnobValue]] = {
    "lsa": {"window_size": 3},
    "gsa": {"sr_ratio": 2},
    "cswin": {"stripe_width": 2},
    "dwconv": {"kernel_size": 3, "dynamic": "inhomogeneous", "group_channels": 4},
    "refiner": {"expand_ratio": 2, "kernel_size": 3},
    "swin": {"window_size": 4, "shift": "half"},
    "outlook": {"kernel_size": 3, "stride": 2},
    "linear": {"kernel_size": 3},
    "pool": {"pool_size": 3},
}
POS = {"lsa": "rpe", "gsa": "cpe", "cswin": "lepe", "dwconv": "ape", "refiner": "rpe"}
POS |= {"swin": "rpe", "outlook": "cpe", "linear": "cpe", "pool": "ape"}
MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)

#: Runs in a process of its own: what an export may not need is refused to whoever asks for it.
STRANGER = """
import importlib.util, sys
from pathlib import Path

REFUSED = {"nas", "supernet", "search_spaces", "timm", "einops", "numpy"}


class Refusal:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in REFUSED:
            raise ModuleNotFoundError(f"{name} is refused here", name=name)


sys.meta_path.insert(0, Refusal())

import torch

torch.set_num_threads(1)
for folder in map(Path, sys.argv[1:]):
    spec = importlib.util.spec_from_file_location("model", folder / "model.py")
    model = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(model)
    network = model.load_model()
    assert not network.training
    with torch.inference_mode():
        torch.save(network(model.normalise(torch.load(folder / "images.pt"))), folder / "logits.pt")
assert not REFUSED & {name.partition(".")[0] for name in sys.modules}
"""


def made(*operators: str, repeat: int = 1, style: Style | None = None, **more: object) -> Architecture:
    """Return an architecture with one stage, of ``repeat`` blocks, for each operator."""
    stages = tuple(
        Stage(
            8,
            2,
            (Block(name, tuple(KNOBS[name].items()), POS[name], 2),) * repeat,
            None if index == 0 else ("conv2x2", "conv3x3", "merging")[index % 3],
        )
        for index, name in enumerate(operators)
    )
    return Architecture(stages, (64, 64), num_classes=5, style=style or Style(), **more)  # type: ignore[arg-type]


# Blocks that hand attention maps on, a class token and a classifier of every position.
SHARING = Architecture(
    (
        Stage(
            12,
            3,
            (
                Block("refiner", (("maps", "plain"),)),
                Block("refiner", (("maps", "shared"), ("expand_ratio", 2), ("kernel_size", 3))),
                Block("refiner", (("maps", "plain_previous"),)),
            ),
        ),
    ),
    (64, 48),
    num_classes=5,
    stem="refiner16x16",
    style=Style(mlp_scale=True, residual_scale=0.5, stem_norm=False, head="dense_token"),
)
# Operators without anything that they may have: encodings, dynamic kernels, refinement.
BARE = Architecture(
    tuple(
        Stage(8, 2, (Block(name, tuple(knobs.items())),), "conv2x2" if index else None)
        for index, (name, knobs) in enumerate(
            (
                ("lsa", {"window_size": 3}),
                ("cswin", {"stripe_width": 2}),
                ("dwconv", {"kernel_size": 3, "dynamic": "none"}),
                ("refiner", {"maps": "plain"}),
            )
        )
    ),
    (64, 64),
    num_classes=5,
)
DWNET_LIKE = Style(mixer_norm="none", mlp_norm="batch")
DESIGNS = {
    **{name: made(name) for name in CLASSES},
    "all": made("lsa", "cswin", "dwconv", style=DWNET_LIKE, stem="conv7x7_s4"),
    "sharing": SHARING,
    "bare": BARE,
    "deep": made("gsa", "dwconv", repeat=24),
    "nano": load_declaration("twins_cswin").space("nano", 28, 3, 10).sample(Random(5)),
}
every_design = pytest.mark.parametrize("name", DESIGNS)


def source(name: str, title: str = "A test: an image classifier.") -> str:
    return model_source(DESIGNS[name], MEAN, STD, title)


def definitions(text: str) -> list[str]:
    kinds = (ast.ClassDef, ast.FunctionDef)
    return [node.name for node in ast.parse(text).body if isinstance(node, kinds)]


@every_design
def test_only_the_operators_of_the_network_are_in_it(name: str) -> None:
    used = {CLASSES[part.block.operator] for part in walk_blocks(DESIGNS[name])}
    assert used == set(CLASSES.values()) & set(definitions(source(name)))


@every_design
def test_every_class_is_of_the_network(name: str) -> None:
    """Classes that a design might have used but does not are left out: only those of its modules and their bases."""
    namespace = executed(source(name))
    used = {
        kind.__name__ for module in namespace["create_model"]().modules() for kind in type(module).__mro__
    }
    classes = {node.name for node in ast.parse(source(name)).body if isinstance(node, ast.ClassDef)}
    assert classes <= used


@pytest.mark.parametrize("form", ["none", "homogeneous", "inhomogeneous"])
def test_a_depthwise_convolution_brings_its_own_form_alone(form: str) -> None:
    knobs: dict[str, KnobValue] = {"kernel_size": 3, "dynamic": form}
    if form == "inhomogeneous":
        knobs["group_channels"] = 4
    stage = Stage(8, 2, (Block("dwconv", tuple(knobs.items())),))
    found = definitions(model_source(Architecture((stage,), (64, 64), num_classes=5), MEAN, STD, "One block"))
    assert ("DynamicDepthwise" in found) == (form == "homogeneous")
    assert ("InhomogeneousDepthwise" in found) == (form == "inhomogeneous")


def test_classes_of_another_package_are_copied_with_what_they_import_from_it(tmp_path: Path) -> None:
    package = tmp_path / "halving"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "tensors.py").write_text("FACTOR = 0.5\n\n\ndef halve(x):\n    return FACTOR * x\n")
    (package / "spec.py").write_text(
        "from dataclasses import replace\nfrom search_spaces.operators.outlook import OPERATOR as OUTLOOK\n"
        "OPERATOR = replace(OUTLOOK, name='halving', implementation='halving.mixer')\n"
    )
    (package / "mixer.py").write_text(
        "from torch import nn\nfrom supernet.blueprint import call\nfrom supernet.elastic import Mixer\n"
        "from .tensors import halve\n\n\nclass Halving(nn.Module):\n    def forward(self, x):\n"
        "        return halve(x)\n\n\nMIXER = Mixer(lambda *_: call(Halving), None, None)\n"
    )
    with importable(tmp_path):
        import_operator("halving.spec:OPERATOR")
        stage = Stage(8, 2, (Block("halving", (("kernel_size", 3), ("stride", 1))),))
        text = model_source(Architecture((stage,), (64, 64), num_classes=5), MEAN, STD, "Halving")
    assert {"halve", "Halving"} <= set(definitions(text))
    assert "FACTOR = 0.5" in text and "import halving" not in text and "from halving" not in text
    x = torch.ones(1, 2, 2, 8)
    mixer = executed(text)["create_model"]().stages[0].blocks[0].mixer
    assert type(mixer).__name__ == "Halving" and torch.equal(mixer(x), x / 2)


@every_design
def test_it_calls_nothing_private_and_no_operator_by_its_registry(name: str) -> None:
    for node in ast.walk(ast.parse(source(name))):
        if isinstance(node, ast.Attribute):
            assert not node.attr.startswith("_") or node.attr.startswith("__"), ast.unparse(node)
            assert not ast.unparse(node).startswith("torch.ops"), ast.unparse(node)


@every_design
@torch.no_grad()
def test_a_traced_network_runs_at_any_batch_size(name: str) -> None:
    network = randomised(executed(source(name))["create_model"]()).eval()
    images = torch.randn(5, 3, *DESIGNS[name].image_size)
    traced = trace(network, images[:2])
    for batch in (1, 5):
        expected = network(images[:batch])
        scale = max(1.0, float(expected.abs().max()))
        torch.testing.assert_close(traced(images[:batch]), expected, rtol=0, atol=1e-5 * scale)


@every_design
def test_every_definition_is_used_and_stands_once(name: str) -> None:
    text = source(name)
    found = definitions(text)
    assert len(found) == len(set(found))
    for definition in set(found) - {"load_model", "normalise", "predict"}:
        assert text.count(definition) > 1, definition


def test_parts_stand_before_the_whole_and_helpers_before_their_users() -> None:
    found = definitions(source("all"))
    for earlier, later in [
        ("attention", "LocallyGroupedAttention"),
        ("window_merge", "CrossShapedWindowAttention"),
        ("RelativePositionBias", "LocallyGroupedAttention"),
        ("InhomogeneousDepthwise", "DepthwiseConvolution"),
        ("ConvStem", "Network"),
        ("FeedForward", "Block"),
        ("CrossShapedWindowAttention", "Block"),
        ("MapBatchNorm", "Block"),
        ("Block", "Stage"),
        ("Stage", "Network"),
        ("Network", "create_model"),
        ("create_model", "load_model"),
    ]:
        assert found.index(earlier) < found.index(later), (earlier, later)


@every_design
def test_it_imports_torch_and_the_standard_library_alone(name: str) -> None:
    imported, inside = set(), set()
    tree = ast.parse(source(name))
    for node in ast.walk(tree):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
        (imported if node in tree.body else inside).update(names)
    assert {name.partition(".")[0] for name in imported} <= {*sys.stdlib_module_names, "torch"}
    assert inside == {"safetensors.torch", "PIL"}


@every_design
def test_it_is_clean_and_fits_the_line(name: str, tmp_path: Path) -> None:
    text = source(name)
    assert max(map(len, text.splitlines())) <= 110
    assert text.endswith("\n") and not text.endswith("\n\n")
    assert not any(line != line.rstrip() for line in text.splitlines())
    compile(text, "model.py", "exec")
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent)) or shutil.which("ruff")
    if ruff is None:
        pytest.skip("ruff is not installed: lint is left unchecked")
    (tmp_path / "model.py").write_text(text)
    options = ["--isolated", "--no-cache", "--line-length", "110"]
    for command in (["check", "--select", "E,F,I"], ["format", "--diff"]):
        done = subprocess.run(
            [ruff, *command, *options, "model.py"], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_stranger_gets_the_same_logits(tmp_path: Path) -> None:
    expected = {}
    for name, architecture in DESIGNS.items():
        folder = tmp_path / name
        folder.mkdir()
        network: nn.Module = randomised(network_blueprint(architecture).build()).eval()
        pixels = torch.randint(0, 256, (2, 3, *architecture.image_size), dtype=torch.uint8)
        (folder / "model.py").write_text(source(name))
        save_file(network.state_dict(), folder / "model.safetensors")
        torch.save(pixels, folder / "images.pt")
        x = (pixels / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
        with torch.inference_mode():
            expected[name] = network(x)
    command = [sys.executable, "-W", "ignore", "-c", STRANGER, *(str(tmp_path / name) for name in DESIGNS)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name, logits in expected.items():
        torch.testing.assert_close(torch.load(tmp_path / name / "logits.pt"), logits, rtol=1e-5, atol=1e-5)


def test_a_title_cannot_leave_its_docstring() -> None:
    title = 'My """study""" of C:\\new things \\'
    module = ast.parse(source("lsa", title))
    assert str(ast.get_docstring(module)).splitlines()[0] == title


def test_long_titles_and_designs_are_broken_over_lines() -> None:
    text = source("deep", "A title that goes on " * 10)
    head = str(ast.get_docstring(ast.parse(text)))
    assert "stage 1: 24 x gsa(s2)+cpe·2" in head
    assert max(map(len, head.splitlines())) <= 110


def test_equal_neighbours_are_written_as_a_loop() -> None:
    text = source("deep")
    assert text.count("for _ in range(24)") == 2
    assert text.count("mixer=GlobalSubsampledAttention(") == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e-6, "1e-6"),
        (0.5, "0.5"),
        ((0.5,), "(0.5,)"),
        ((3, 4), "(3, 4)"),
        (["a", 1], '["a", 1]'),
        (call(nn.LayerNorm, 8, eps=1e-6), "nn.LayerNorm(8, eps=1e-6)"),
        (
            call(CrossShapedWindowAttention, 8, 2, None, qkv_bias=False, rpe=call(nn.Identity)),
            "CrossShapedWindowAttention(dim=8, num_heads=2, stripe_width=None, qkv_bias=False, rpe=nn.Identity())",
        ),
        ([call(nn.Identity)] * 3, "[\n    *(\n        nn.Identity()\n        for _ in range(3)\n    ),\n]"),
    ],
)
def test_rendering(value: object, text: str) -> None:
    assert render(value) == text
