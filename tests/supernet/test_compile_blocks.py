"""Blocks compiled by region compute what they compute as written, and are compiled once a kind."""

from __future__ import annotations

import copy
import pickle
from random import Random

import pytest
import torch
from torch import Tensor, nn

from search_spaces.architecture import Architecture
from search_spaces.declaration import load_declaration, parse_declaration
from search_spaces.space import Space
from search_spaces.walk import walk_blocks
from supernet.block import Block
from supernet.compile_blocks import compilations, compile_blocks
from supernet.subnet import build_subnet
from supernet.supernet import Supernet

# torch hides this warning of its own from people, but not from the filter that makes errors of warnings.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning"),
    pytest.mark.usefixtures("nothing_compiled"),
]

#: Few kinds to wait for a compiler: two of operators, two of MLPs.
FEW_KINDS = parse_declaration(
    """
name: few
blocks:
  mlp_ratio: [1, 2]
  operators:
    lsa: {window_size: [2], pos: [none, ape, cpe]}
    dwconv: {kernel_size: [3], dynamic: [none], pos: [none, cpe]}
scales:
  one:
    images: [8, 16]
    stem: conv3x3_s2
    stages:
      - {dim: 8, num_heads: 2, depth: [2, 3]}
""",
    "few.yaml",
).space("one", 12, 1, 3)


def kinds(*architectures: Architecture) -> int:
    """Return how many kinds of operators and MLPs architectures have, by stage and width."""
    found = set()
    for architecture in architectures:
        for index, stage in enumerate(architecture.stages):
            for block in stage.blocks:
                inside = block.pos if block.pos in ("rpe", "lepe") else ""
                width = index, stage.dim, stage.num_heads
                found |= {(width, block.operator, block.knobs, inside), (index, stage.dim, block.mlp_ratio)}
    return len(found)


def step(network: nn.Module, images: Tensor, *path: Architecture) -> tuple[Tensor, dict[str, Tensor]]:
    """Return logits, and the gradients of a loss by name; nothing stays behind but BatchNorm statistics."""
    logits = network(images, *path)
    nn.functional.cross_entropy(logits, torch.arange(len(images)) % logits.shape[1]).backward()
    gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    network.zero_grad(set_to_none=True)
    return logits.detach(), gradients


def assert_equal_steps(plain: nn.Module, regional: nn.Module, images: Tensor, *path: Architecture) -> None:
    (logits, gradients), (expected, wanted) = step(regional, images, *path), step(plain, images, *path)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    assert gradients.keys() == wanted.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-3, atol=1e-5, msg=name)
    for (name, one), (_, other) in zip(regional.named_buffers(), plain.named_buffers(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5, msg=name)


def pair(space: Space) -> tuple[Supernet, Supernet]:
    """Return a supernet, and its copy compiled by region."""
    torch.manual_seed(0)
    plain = Supernet(space)
    regional = copy.deepcopy(plain)
    regional.compile_blocks()
    return plain.train(), regional.train()


def test_a_path_that_ran_before_is_compiled_too() -> None:
    supernet, images, path = Supernet(FEW_KINDS), torch.randn(4, 1, 12, 12), FEW_KINDS.sample(Random(0))
    expected = supernet(images, path)
    supernet.compile_blocks()
    runs: list[nn.Module] = []
    for part in walk_blocks(path):
        bound = supernet.block(part.stage, part.index).bound(part.block, part.feature_map)
        bound.function.module.register_forward_hook(lambda module, *_: runs.append(module))
    with torch.compiler.set_stance("force_eager"):
        torch.testing.assert_close(supernet(images, path), expected)
    assert len(runs) == len(walk_blocks(path))


@pytest.mark.slow
def test_paths_are_equal_and_each_kind_is_compiled_once() -> None:
    plain, regional = pair(FEW_KINDS)
    images, rng, before = torch.randn(4, 1, 12, 12), Random(0), compilations()
    chosen = [FEW_KINDS.sample(rng) for _ in range(12)]
    for architecture in chosen:
        assert_equal_steps(plain, regional, images, architecture)
    assert compilations() - before == kinds(*chosen) == 4
    with torch.compiler.set_stance("fail_on_recompile"):
        for _ in range(12):
            assert_equal_steps(plain, regional, images, FEW_KINDS.sample(rng))


@pytest.mark.usefixtures("captured")
def test_every_operator_is_one_graph_and_serves_every_place() -> None:
    space = load_declaration("twins_cswin").space("nano", 28, 1, 10)
    plain, regional = pair(space)
    images, rng, before = torch.randn(2, 1, 28, 28), Random(0), compilations()
    chosen = [space.sample(rng) for _ in range(5)]
    for architecture in chosen:
        assert_equal_steps(plain, regional, images, architecture)
    assert compilations() - before == kinds(*chosen)


@pytest.mark.usefixtures("captured")
def test_blocks_of_a_network_share_compilations() -> None:
    architecture = FEW_KINDS.largest
    plain = build_subnet(architecture).train()
    regional = copy.deepcopy(plain)
    compile_blocks(regional)
    before, images = compilations(), torch.randn(4, 1, 12, 12)
    assert_equal_steps(plain, regional, images)
    assert compilations() - before == kinds(architecture) < 2 * len(architecture.stages[0].blocks)
    # Stochastic depth differs from block to block, and is no part of a region.
    for number, block in enumerate(part for part in regional.modules() if isinstance(part, Block)):
        block.drop_path = 0.1 * number
    with torch.compiler.set_stance("fail_on_recompile"):
        step(regional, images)


def test_copies_and_extracted_networks_are_not_compiled() -> None:
    plain, regional = pair(FEW_KINDS)
    architecture, images, before = FEW_KINDS.sample(Random(0)), torch.randn(4, 1, 12, 12), compilations()
    assert regional.state_dict().keys() == plain.state_dict().keys()
    network = build_subnet(architecture).train()
    compile_blocks(network)
    for one in (copy.deepcopy(regional), pickle.loads(pickle.dumps(regional))):
        step(one, images, architecture)
    for one in (copy.deepcopy(network), pickle.loads(pickle.dumps(network)), regional.extract(architecture)):
        step(one, images)
    assert compilations() == before
    assert network.state_dict().keys() == build_subnet(architecture).state_dict().keys()
