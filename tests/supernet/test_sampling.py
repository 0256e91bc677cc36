"""Path policies: pure in seed and step, and as fair as they say."""

from __future__ import annotations

import math
import pickle
from collections import Counter
from random import Random

import pytest

from search_spaces.cost import costs
from search_spaces.declaration import load_declaration, parse_declaration
from search_spaces.errors import SpaceError
from search_spaces.space import Space
from search_spaces.walk import walk_blocks
from supernet.path_draws import DRAWS
from supernet.sampling import POLICIES, SampledPath, fair, policy, sandwich, uniform

# Stages of two, three and one operators: a round takes six steps.
UNEVEN = """
name: uneven
blocks:
  mlp_ratio: [1, 2]
  operators:
    lsa: {window_size: [2, 4], pos: [none, rpe]}
    gsa: {sr_ratio: [1, 2]}
    cswin: {stripe_width: 1, pos: lepe}
scales:
  one:
    images: 32
    stem: patch4x4
    stages:
      - {dim: 8, num_heads: 2, depth: [1, 3], operators: {cswin: null}}
      - {dim: 8, num_heads: 2, depth: [2, 3], downsample: [conv2x2, merging]}
      - {dim: 8, num_heads: 2, depth: 1, downsample: conv3x3, operators: {lsa: null, cswin: null}}
"""


def uneven() -> Space:
    return parse_declaration(UNEVEN, "uneven").space()


# Widths by which the smallest and the largest design are far apart.
WIDE = """
name: wide
blocks:
  mlp_ratio: [1, 4]
  operators:
    lsa: {window_size: 2}
    dwconv: {kernel_size: [3, 5], dynamic: none}
scales:
  one:
    images: [24, 32]
    image_size: [16, 24]
    stem: patch2x2
    stages:
      - {dim: [8, 16, 32], head_dim: 8, depth: [1, 2, 4]}
      - {dim: [16, 32, 64], head_dim: 8, depth: [1, 2, 4], downsample: conv2x2}
"""

SPACES = {"uneven": uneven(), "nano": load_declaration("twins_cswin").space("nano", 28, 1, 10)}
every_space = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
every_policy = pytest.mark.parametrize("name", POLICIES)


@every_policy
def test_a_policy_is_a_pure_function_of_seed_and_step(name: str) -> None:
    draw = policy(name)
    steps = [(seed, step) for seed in (0, 1) for step in range(40)]
    forward = {key: draw(SPACES["uneven"], *key) for key in steps}
    backward = {key: draw(uneven(), *key) for key in reversed(steps)}
    assert forward == backward


@every_policy
def test_seeds_and_steps_draw_different_paths(name: str) -> None:
    def drawn(seed: int, first: int) -> list[list[SampledPath]]:
        return [policy(name)(SPACES["nano"], seed, step) for step in range(first, first + 20)]

    assert drawn(0, 0) != drawn(1, 0)
    assert drawn(0, 0) != drawn(0, 20)
    assert len({path.architecture.digest for paths in drawn(0, 0) for path in paths}) > 15


@every_space
@every_policy
def test_every_path_lies_in_the_space(space: Space, name: str) -> None:
    for step in range(30):
        for path in policy(name)(space, 3, step):
            assert space.contains(path.architecture)


@every_space
def test_fair_deals_every_operator_equally_often_in_every_round(space: Space) -> None:
    length = math.lcm(*(len(stage.operators) for stage in space.stages))
    for round_number in range(12):
        dealt: Counter[tuple[str, str]] = Counter()
        skeletons = set()
        for step in range(round_number * length, (round_number + 1) * length):
            (path,) = fair(space, 7, step)
            dealt.update((part.name, part.block.operator) for part in walk_blocks(path.architecture))
            skeletons.add(tuple(len(stage.blocks) for stage in path.architecture.stages))
        (depths,) = skeletons
        expected = {
            (f"stage{index}.block{number}", operator.name): length // len(stage.operators)
            for index, (stage, depth) in enumerate(zip(space.stages, depths, strict=True), start=1)
            for number in range(1, depth + 1)
            for operator in stage.operators
        }
        assert dealt == expected


def test_fair_visits_every_depth_and_every_other_choice() -> None:
    space = SPACES["uneven"]
    paths = [fair(space, 0, step)[0].architecture for step in range(360)]
    for index, stage in enumerate(space.stages):
        assert {len(path.stages[index].blocks) for path in paths} == set(stage.depths)
        assert {block for path in paths for block in path.stages[index].blocks} == set(stage.blocks)
    assert {path.stages[1].downsample for path in paths} == {"conv2x2", "merging"}


def test_uniform_draws_every_option_about_equally_often() -> None:
    space, steps = SPACES["uneven"], 1500
    counts = {choice.name: Counter[object]() for choice in space.choices}
    for step in range(steps):
        (path,) = uniform(space, 0, step)
        assert path.learns_from == "labels"
        counts["stage1.depth"][len(path.architecture.stages[0].blocks)] += 1
        counts["stage2.block1.operator"][path.architecture.stages[1].blocks[0].operator] += 1
    for name in ("stage1.depth", "stage2.block1.operator"):
        options = next(choice.options for choice in space.choices if choice.name == name)
        for option in options:
            assert abs(counts[name][option] / steps - 1 / len(options)) < 0.05


@every_space
def test_sandwich_is_largest_and_smallest_with_the_largest_as_teacher(space: Space) -> None:
    teacher, *students = sandwich(space, 0, 5)
    assert teacher == SampledPath(space.largest, learns_from="labels")
    assert students[0].architecture == space.smallest
    assert len(students) == 3
    assert {student.learns_from for student in students} == {"teacher"}


def test_an_unknown_policy_is_named_with_its_nearest() -> None:
    with pytest.raises(SpaceError, match=r"unknown sampling policy 'sandwhich'.*did you mean 'sandwich'"):
        policy("sandwhich")


@pytest.mark.parametrize("name", ["uniform", "sandwich"])
@pytest.mark.parametrize("paths", DRAWS)
def test_a_way_to_draw_is_pure_and_stays_inside(name: str, paths: str) -> None:
    space = parse_declaration(WIDE, "wide").space()
    draw = policy(name, paths)
    steps = [draw(space, 3, step) for step in range(30)]
    assert steps == [
        policy(name, paths)(parse_declaration(WIDE, "wide").space(), 3, step) for step in range(30)
    ]
    assert all(space.contains(path.architecture) for step in steps for path in step)
    assert len({path.architecture.digest for step in steps for path in step}) > 20


@pytest.mark.parametrize("name", POLICIES)
def test_all_paths_of_a_step_have_images_of_one_size(name: str) -> None:
    space = parse_declaration(WIDE, "wide").space()
    sizes = [{path.architecture.image_size for path in policy(name)(space, 0, step)} for step in range(60)]
    assert all(len(step) == 1 for step in sizes)
    counts = Counter(next(iter(step)) for step in sizes)
    # Of 60 even draws between two, 12 or fewer of one happen once in 3 million seeds.
    assert set(counts) == {(16, 16), (24, 24)} and min(counts.values()) > 12


def test_by_cost_draws_macs_evenly() -> None:
    space = parse_declaration(WIDE, "wide").space().at_image_size((24, 24))
    low, high = costs(space.smallest).macs, costs(space.largest).macs
    assert high / low > 10

    def shares(paths: str) -> list[float]:
        """Return how many of 300 paths lie in each fifth of the range."""
        drawn = [costs(DRAWS[paths](space, Random(seed))).macs for seed in range(300)]
        fifths = Counter(min(4, 5 * (macs - low) // (high - low)) for macs in drawn)
        return [fifths[fifth] / 300 for fifth in range(5)]

    # A fifth of 300 even draws has a standard deviation of 2.3 points.
    assert all(0.1 < share < 0.3 for share in shares("by-cost"))
    assert max(shares("by-choice")) > 0.4


@pytest.mark.parametrize(("scale", "side"), [("nano", 28), ("tiny", 224)])
def test_by_cost_is_even_on_the_named_scales(scale: str, side: int) -> None:
    """Chi-squared of ten parts: beyond 21.7 once in a hundred seeds. At tiny few designs lie between the extremes."""
    space = load_declaration("twins_cswin").space(scale, side, 3, 10)
    low, high = costs(space.smallest).macs, costs(space.largest).macs
    drawn = [costs(policy("uniform", "by-cost")(space, 0, step)[0].architecture).macs for step in range(1000)]
    tenths = Counter(min(9, 10 * (macs - low) // (high - low)) for macs in drawn)
    assert sum((tenths[tenth] - 100) ** 2 / 100 for tenth in range(10)) < 21.7


def test_a_space_that_drew_by_cost_can_be_sent() -> None:
    """Workers are sent spaces and supernets that may have drawn before."""
    space = parse_declaration(WIDE, "wide").space()
    part = space.at_image_size((24, 24))  # kept with the space, so that it goes with it
    drawn = [DRAWS["by-cost"](each, Random(5)) for each in (space, part)]
    sent: Space = pickle.loads(pickle.dumps(space))
    assert sent == space
    assert [DRAWS["by-cost"](each, Random(5)) for each in (sent, sent.at_image_size((24, 24)))] == drawn


def test_fair_draws_by_choice_alone() -> None:
    with pytest.raises(SpaceError, match="'fair' gives operators their turns and cannot draw paths by-cost"):
        policy("fair", "by-cost")
    with pytest.raises(SpaceError, match="unknown way to draw paths 'by-macs'"):
        policy("uniform", "by-macs")
