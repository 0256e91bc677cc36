"""Spaces: what is drawn lies inside, counts are exact, and the parameters of a trial never change."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.architecture import Architecture
from search_spaces.cost import costs
from search_spaces.declaration import load_declaration
from search_spaces.errors import SpaceError
from tests.helpers.space_examples import TEXTS, all_architectures, mixed, space

TINY = sorted(TEXTS)
MIXED = mixed()
seeds = st.integers(0, 2**32)
relaxed = settings(deadline=None, max_examples=40)  # a loaded machine may take its time


class Recorder:
    """A trial that notes what it was asked and answers at random."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.asked: list[tuple[str, tuple[Any, ...]]] = []

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        self.asked.append((name, tuple(choices)))
        return self.rng.choice(choices)


# -- every draw lies inside -------------------------------------------------------------------------


@relaxed
@given(seeds, st.sampled_from(["choices", "architectures"]))
def test_samples_lie_inside_and_survive_json(seed: int, uniform_over: str) -> None:
    architecture = MIXED.sample(Random(seed), uniform_over)
    assert MIXED.contains(architecture)
    again = Architecture.from_json(architecture.to_json())
    assert (again, again.digest) == (architecture, architecture.digest)


@relaxed
@given(seeds, st.floats(0, 1))
def test_mutants_lie_inside_and_differ(seed: int, rate: float) -> None:
    rng = Random(seed)
    parent = MIXED.sample(rng)
    mutant = MIXED.mutate(parent, rng, rate)
    assert MIXED.contains(mutant)
    assert mutant.digest != parent.digest


@relaxed
@given(seeds)
def test_children_lie_inside_and_take_blocks_apart(seed: int) -> None:
    rng = Random(seed)
    one, other = MIXED.sample(rng), MIXED.sample(rng)
    child = MIXED.crossover(one, other, rng)
    assert MIXED.contains(child)
    assert MIXED.crossover(one, one, rng) == one
    for stage, first, second in zip(child.stages, one.stages, other.stages, strict=True):
        assert len(stage.blocks) in (len(first.blocks), len(second.blocks))
        both = min(len(first.blocks), len(second.blocks))
        for block, x, y in zip(stage.blocks[:both], first.blocks, second.blocks, strict=False):
            assert block.operator in (x.operator, y.operator)
            assert block.mlp_ratio in (x.mlp_ratio, y.mlp_ratio)


@relaxed
@given(seeds)
def test_suggested_lie_inside(seed: int) -> None:
    assert MIXED.contains(MIXED.suggest(Recorder(seed)))


@relaxed
@given(seeds)
def test_neighbours_lie_inside_and_differ_in_one_stage(seed: int) -> None:
    architecture = MIXED.sample(Random(seed))
    found = MIXED.neighbours(architecture)
    digests = {neighbour.digest for neighbour in found}
    assert len(digests) == len(found) > 0
    assert architecture.digest not in digests
    here = MIXED.values(architecture)
    for neighbour in Random(seed).sample(found, 5):
        assert MIXED.contains(neighbour)
        there = MIXED.values(neighbour)
        # A choice takes with it those that it makes inactive, all of its own stage.
        assert len({name.split(".")[0] for name in here if here[name] != there[name]}) == 1


def test_a_new_block_is_not_always_the_first_option() -> None:
    shallow = MIXED.smallest
    mutants = [MIXED.mutate(shallow, Random(seed), 0.3) for seed in range(200)]
    grown = Counter(m.stages[1].blocks[2].operator for m in mutants if len(m.stages[1].blocks) > 2)
    assert set(grown) == {"lsa", "gsa", "cswin", "dwconv", "refiner"}
    assert max(grown.values()) < grown.total() / 2


def test_a_space_of_one_cannot_mutate() -> None:
    single = replace(
        space("shared"), stages=(replace(space("shared").stages[0], depths=(1,), operators=ONLY),)
    )
    assert single.size == 1
    assert single.choices == ()
    assert single.suggest(Recorder(0)) == single.smallest == single.largest
    assert single.neighbours(single.smallest) == ()
    with pytest.raises(SpaceError, match="single architecture"):
        single.mutate(single.smallest, Random(0))


ONLY = (
    replace(space("shared").stages[0].operators[0], knobs=(("kernel_size", (3,)), ("dynamic", ("none",)))),
)


# -- counting ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TINY)
def test_size_is_exact(name: str) -> None:
    assert space(name).size == len(all_architectures(name))


def test_size_of_the_named_space_is_a_big_integer() -> None:
    tiny = load_declaration("twins_cswin").space("tiny")
    per_stage = (
        max(1, len(stage.downsamples))
        * len(stage.widths.dims)
        * sum(len(stage.blocks) ** depth for depth in stage.depths)
        for stage in tiny.stages
    )
    assert isinstance(tiny.size, int)
    assert tiny.size == len(tiny.stems) * math.prod(per_stage) > 10**50


@pytest.mark.parametrize("name", TINY)
def test_sampling_over_architectures_is_uniform(name: str) -> None:
    kinds, draws = space(name).size, 20 * space(name).size
    rng = Random(3)
    counts = Counter(space(name).sample(rng, "architectures").digest for _ in range(draws))
    assert set(counts) == set(all_architectures(name))
    expected = draws / kinds
    chi_square = sum((count - expected) ** 2 / expected for count in counts.values())
    # Mean kinds - 1, variance twice that: five standard deviations.
    assert chi_square < kinds - 1 + 5 * math.sqrt(2 * (kinds - 1))


def test_sampling_over_choices_favours_operators_with_few_knobs() -> None:
    rng, draws = Random(3), 1500
    first = Counter(space("conditional").sample(rng).stages[0].blocks[0].operator for _ in range(draws))
    assert abs(first["lsa"] / draws - 1 / 2) < 0.05
    first = Counter(
        space("conditional").sample(rng, "architectures").stages[0].blocks[0].operator for _ in range(draws)
    )
    assert abs(first["lsa"] / draws - 2 / 6) < 0.05


def test_unknown_way_of_sampling() -> None:
    with pytest.raises(SpaceError, match="'choices' or 'architectures', not 'blocks'"):
        MIXED.sample(Random(0), "blocks")


@pytest.mark.parametrize("name", TINY)
def test_smallest_and_largest_are_the_extremes(name: str) -> None:
    def weight(architecture: Architecture) -> tuple[int, int]:
        found = costs(architecture)
        return found.macs, found.params

    weights = [weight(architecture) for architecture in all_architectures(name).values()]
    assert weight(space(name).smallest) == min(weights)
    assert weight(space(name).largest) == max(weights)
    assert space(name).contains(space(name).smallest)
    assert space(name).contains(space(name).largest)


# -- parameters -------------------------------------------------------------------------------------


@relaxed
@given(seeds)
def test_every_trial_draws_the_same_list(seed: int) -> None:
    trial = Recorder(seed)
    MIXED.suggest(trial)
    assert trial.asked == [(choice.name, choice.options) for choice in MIXED.choices]
    assert len({name for name, _ in trial.asked}) == len(trial.asked)


def test_parameter_names_read_well() -> None:
    names = [choice.name for choice in MIXED.choices]
    form = re.compile(r"stem|stage\d+\.(depth|downsample|block\d+\.([a-z]+\.)?[a-z_]+)")
    assert all(form.fullmatch(name) for name in names)
    block = [name for name in names if name.startswith("stage2.block3.")]
    assert "stage2.block3.operator" in block
    assert "stage2.block3.window_size" in block
    # kernel_size differs between dwconv and refiner, which has one option only and is not drawn.
    assert "stage2.block3.dwconv.kernel_size" in block
    assert "stage2.block3.refiner.kernel_size" not in block
    assert [c.options for c in MIXED.choices if c.name == "stage2.block3.window_size"] == [(4, 7)]


def test_a_knob_with_the_same_options_is_drawn_once() -> None:
    names = [choice.name for choice in space("shared").choices]
    assert names == [
        "stage1.depth",
        *(f"stage1.block{n}.{c}" for n in (1, 2, 3) for c in ("operator", "kernel_size")),
    ]


@pytest.mark.parametrize("name", TINY)
def test_values_invert_assemble(name: str) -> None:
    for architecture in all_architectures(name).values():
        values = space(name).values(architecture)
        assert list(values) == [choice.name for choice in space(name).choices]
        assert space(name).assemble(values) == architecture
        assert space(name).assemble(space(name).values(architecture, Random(1))) == architecture


@relaxed
@given(seeds)
def test_inactive_choices_have_no_effect(seed: int) -> None:
    rng = Random(seed)
    architecture = MIXED.sample(rng)
    assert MIXED.assemble(MIXED.values(architecture, rng)).digest == architecture.digest


def test_assemble_refuses_what_is_no_option() -> None:
    values = MIXED.values(MIXED.smallest)
    with pytest.raises(SpaceError, match=r"'stage1\.block1\.operator' must be one of lsa, .*, not 'conv'"):
        MIXED.assemble({**values, "stage1.block1.operator": "conv"})
    with pytest.raises(SpaceError, match=r"'stage1\.depth' must be one of 1, 2, not None"):
        MIXED.assemble({name: value for name, value in values.items() if name != "stage1.depth"})


# -- membership and identity ------------------------------------------------------------------------


def test_other_skeletons_lie_outside() -> None:
    inside = MIXED.smallest
    stages = inside.stages
    outside = [
        replace(inside, num_classes=11),
        replace(inside, in_channels=3),
        replace(inside, image_size=(32, 32)),
        replace(inside, stem="conv3x3_s1"),
        replace(inside, style=replace(inside.style, qkv_bias=False)),
        replace(inside, stages=stages[:1]),
        replace(inside, stages=(replace(stages[0], dim=64), *stages[1:])),
        replace(inside, stages=(replace(stages[0], blocks=stages[0].blocks * 3), *stages[1:])),
        replace(inside, stages=(stages[0], replace(stages[1], downsample="conv3x3"))),
        replace(
            inside,
            stages=(replace(stages[0], blocks=(replace(stages[0].blocks[0], mlp_ratio=3),)), stages[1]),
        ),
        replace(inside, stages=(*stages, replace(stages[1], dim=128))),
    ]
    for architecture in outside:
        assert not MIXED.contains(architecture)
        with pytest.raises(SpaceError, match=rf"{architecture.digest} is not in space 'mixed' \(small\)"):
            MIXED.values(architecture)


def test_digest_follows_choices_and_skeleton_not_names() -> None:
    def digest(**changes: Any) -> str:
        return replace(MIXED, **changes).digest

    same, first = replace(MIXED, name="other", scale="else"), MIXED.stages[0]
    assert same.digest == MIXED.digest
    others = [
        digest(num_classes=100),
        digest(in_channels=3),
        digest(image_sizes=((32, 32),)),
        digest(stages=(replace(first, depths=(1,)), MIXED.stages[1])),
        digest(stages=(replace(first, mlp_ratios=(2.0,)), MIXED.stages[1])),
        digest(stages=(replace(first, operators=first.operators[1:]), MIXED.stages[1])),
    ]
    assert len({MIXED.digest, *others}) == len(others) + 1


@pytest.mark.parametrize("side", [28, 32, 48, 64])
def test_the_images_make_the_maps(side: int) -> None:
    smallest, largest = costs(mixed(side).smallest), costs(mixed(side).largest)
    assert smallest.macs < largest.macs
    assert smallest.params < largest.params
    assert [feature_map.height for feature_map in mixed(side).feature_maps()] == [side // 2, side // 4]


def test_text_says_size_and_images() -> None:
    assert str(MIXED) == "mixed/small: about 10^10 architectures, 63 choices, 2 stages, 28x28 px"
    assert str(space("shared")).startswith("shared/one: 68 architectures")
