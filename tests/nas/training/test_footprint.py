"""The memory of a training: counted by hand, equal to what real networks save, near what a real step takes."""

from __future__ import annotations

import itertools
from pathlib import Path
from random import Random

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.bench.memory import measure_memory_peak
from nas.runtime.resources import GIB, MIB
from nas.training.footprint import count_worst_path, measure_worst_path, training_memory
from nas.training.saved_memory import SavedBytes, SavedMemory, recording_saved
from nas.training.worst_path import find_worst_path
from search_spaces.declaration import parse_declaration
from search_spaces.space import Space
from supernet.subnet import build_subnet
from supernet.supernet import Supernet
from supernet.weight_slices import state

ROOT = Path(__file__).parents[2]

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def count_real(network: nn.Module, images: Tensor, *arguments: object) -> int:
    """Return the bytes that a real forward pass saves."""
    with recording_saved(list(state(network).values())) as saved:
        network.train()(images, *arguments)
    return sum(saved.sizes)


def test_a_chain_counted_by_hand() -> None:
    chain = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 4), nn.ReLU())
    x = torch.zeros(5, 8, requires_grad=True)
    # LayerNorm: its input, a mean and a deviation a row. The first product: its input, the norm's output. GELU: its
    # input. The second product: its input. ReLU: its output. Weights are not among them.
    numbers = 5 * (8 + 1 + 1) + 5 * 8 + 5 * 16 + 5 * 16 + 5 * 4
    assert count_real(chain, x) == 4 * numbers == 1080


def test_a_storage_that_is_saved_twice_counts_once() -> None:
    x = torch.zeros(3, 4, requires_grad=True)
    with recording_saved([]) as saved:
        y = x.exp()  # saves its output
        (y * y.view(-1).view(3, 4)).sum()  # saves it twice more
    assert saved.sizes == [48] and saved.holds(y) and not saved.holds(x)


@pytest.fixture(scope="module", params=["tiny", "refiner"])
def small_space(request: pytest.FixtureRequest, space: Space) -> Space:
    """A space of several stages, and one in which blocks use the attention maps of the block before."""
    return (
        space if request.param == "tiny" else parse_declaration(REFINER, "maps.yaml").space("nano", 16, 3, 5)
    )


REFINER = """\
name: maps
blocks:
  mlp_ratio: [1, 2]
  operators:
    refiner: {maps: [plain, refined, previous, shared], expand_ratio: [1, 2], kernel_size: [1, 3]}
scales:
  nano:
    images: [16, 32]
    stem: [patch8x8, refiner8x8]
    style: {mlp_scale: true, residual_scale: 0.5, stem_norm: false, head: dense_token}
    stages:
      - {dim: 8, num_heads: 2, depth: [1, 2]}
"""


def test_the_parts_of_a_network_save_what_the_network_saves(small_space: Space) -> None:
    memory = SavedMemory(CPU, torch.float32)
    for number in range(6):
        design = small_space.sample(Random(number))
        images = torch.zeros(7, small_space.in_channels, *small_space.image_size)
        assert memory.of_network(design).of(7) == count_real(build_subnet(design), images)


def test_a_path_saves_what_its_network_saves_and_weights_that_are_computed(small_space: Space) -> None:
    memory, supernet = SavedMemory(CPU, torch.float32), Supernet(small_space)
    for number in range(6):
        path = small_space.sample(Random(number))
        extra = [
            count_real(supernet, torch.zeros(images, small_space.in_channels, *small_space.image_size), path)
            - memory.of_network(path).of(images)
            for images in (2, 8)
        ]
        weights = sum(parameter.numel() * 4 for parameter in build_subnet(path).parameters())
        assert extra[0] == extra[1] and 0 <= extra[0] <= weights


def test_the_worst_path_is_the_worst_of_all(small_space: Space) -> None:
    memory = SavedMemory(CPU, torch.float32)
    designs = list(itertools.islice(small_space.enumerate(), 4000))
    assert len(designs) == small_space.size
    worst, saved = find_worst_path(small_space, memory, 8)
    assert small_space.contains(worst)
    assert saved.of(8) == max(memory.of_network(design).of(8) for design in designs)
    assert saved == memory.of_network(worst)


def test_a_narrower_map_of_more_heads_may_save_most() -> None:
    text = REFINER.replace("[patch8x8, refiner8x8]", "patch2x2").replace("previous, shared]", "shared]")
    text = text.replace("dim: 8, num_heads: 2", "width: [{dim: 8, num_heads: 8}, {dim: 12, num_heads: 2}]")
    space, memory = (
        parse_declaration(text, "maps.yaml").space("nano", 16, 3, 5),
        SavedMemory(CPU, torch.float32),
    )
    worst, saved = find_worst_path(space, memory, 8)
    assert (worst.stages[0].dim, worst.stages[0].num_heads) == (8, 8)
    assert saved.of(8) == max(memory.of_network(design).of(8) for design in space.enumerate())


def test_activations_grow_with_the_images_and_nothing_else() -> None:
    one, two = (training_memory(1000, SavedBytes(0, 10 * MIB), n, "cpu", in_turn=False) for n in (8, 16))
    assert two.saved == 2 * one.saved == 160 * MIB
    assert (one.weights, one.gradients, one.optimizer, one.average) == (4000, 4000, 8000, 4000)
    assert two.total - one.total == round(1.1 * 80 * MIB)
    in_turn = training_memory(1000, SavedBytes(0, 10 * MIB), 8, "cpu", in_turn=True)
    assert in_turn.total - one.total == 4000  # the sum of the shards before
    taught = training_memory(1000, SavedBytes(0, 10 * MIB), 8, "cpu", in_turn=False, teacher=7 * MIB)
    assert (taught.teacher, taught.total - one.total) == (7 * MIB, 7 * MIB)


def test_a_step_takes_what_was_counted_and_a_little(space: Space) -> None:
    memory, supernet = SavedMemory(CPU, torch.float32), Supernet(space).train()
    path, saved = find_worst_path(space, memory, 32)
    images, labels = torch.zeros(32, 3, 16, 16), torch.zeros(32, dtype=torch.long)

    def step() -> None:
        F.cross_entropy(supernet(images, path), labels).backward()

    step()
    supernet.zero_grad(set_to_none=True)
    peak = measure_memory_peak(step) + images.nbytes  # which the stem saves
    assert saved.of(32) < peak < 1.1 * saved.of(32) + 4 * sum(p.numel() for p in supernet.parameters())


def test_types_of_a_gpu_without_one() -> None:
    """By hand: a norm computes in float32, a product saves its input in bfloat16, as CUDA's autocast says."""
    space = parse_declaration(REFINER, "maps.yaml").space("nano", 16, 3, 5)
    half, full = SavedMemory(GPU, torch.bfloat16), SavedMemory(GPU, torch.float32)
    design = space.sample(Random(0))
    assert (
        0.4 * full.of_network(design).of(64)
        < half.of_network(design).of(64)
        < 0.9 * full.of_network(design).of(64)
    )


@pytest.mark.slow
def test_the_largest_path_of_tiny_in_bfloat16() -> None:
    """What was counted by hand on whole networks of fake tensors: 50.05 GiB for 128 images, where widths were fixed."""
    text = (ROOT / "golden" / "twins_cswin_fixed_width.yaml").read_text()
    space = parse_declaration(text, "twins_cswin_fixed_width.yaml").space("tiny", 224, 3, 10)
    saved = SavedMemory(GPU, torch.bfloat16).of_network(space.largest)
    assert saved.of(128) / GIB == pytest.approx(50.05, abs=0.01)


@pytest.mark.slow
def test_a_gpu_is_counted_in_another_process(space: Space) -> None:
    elsewhere = measure_worst_path(space, 16, "cuda")
    here = count_worst_path(space, 16, "cuda")
    assert elsewhere == here and here.dtype == "bfloat16" and here.device_bytes is None
