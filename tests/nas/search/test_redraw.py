"""Repeats: every proposal of a search is a new design while there is one, at the cost of no evaluation."""

from __future__ import annotations

from random import Random

import pytest

from nas.search.limits import Limits
from nas.search.loop import analytic_costs
from nas.search.objectives import Goal
from nas.search.redraw import Redrawer
from nas.search.samplers import create_proposer
from search_spaces.architecture import Architecture
from search_spaces.space import Space
from tests.helpers.searches import FakeEvaluations, MemoryStore, run_search, small_space

SPACE = small_space()


def revise(designs: list[Architecture], known: set[str], **limited: float) -> list[Architecture]:
    """Return what the proposals ``designs`` become."""
    goal = Goal(("top1", "macs"), tuple(limited.items()))
    limits = Limits(SPACE, goal, analytic_costs)
    trials = create_proposer("random", limits, 4).ask(0, len(designs))
    for trial, design in zip(trials, designs, strict=True):
        trial.params = SPACE.values(design)
    Redrawer(limits).revise(trials, known, Random(0))
    return [SPACE.assemble(trial.params) for trial in trials]


def count_changes(space: Space, one: Architecture, other: Architecture) -> int:
    first, second = space.values(one), space.values(other)
    return sum(first[name] != second[name] for name in first)


def test_a_repeat_in_a_batch_becomes_a_design_like_it() -> None:
    one = SPACE.smallest
    found = revise([one] * 8, set())
    assert found[0] == one and len({design.digest for design in found}) == 8
    assert min(count_changes(SPACE, one, design) for design in found[1:]) == 1


@pytest.mark.parametrize("left", [1, 3])
def test_of_a_space_that_is_nearly_known_what_is_left_is_found(left: int) -> None:
    designs = list(SPACE.enumerate())
    Random(left).shuffle(designs)
    unknown = {design.digest for design in designs[:left]}
    known = {design.digest for design in designs[left:]}
    found = revise([designs[-1]] * left, known)
    assert {design.digest for design in found} == unknown
    # One proposal more than there are designs stays what it was.
    assert revise([designs[-1]] * (left + 1), known)[-1] == designs[-1]


def test_what_is_left_within_a_limit_is_found() -> None:
    sizes = sorted(analytic_costs(design)["macs"] for design in SPACE.enumerate())
    limit = sizes[30]
    within = [design for design in SPACE.enumerate() if analytic_costs(design)["macs"] <= limit]
    for last in within[::5]:
        known = {design.digest for design in within if design != last}
        assert revise([within[0] if within[0] != last else within[1]], known, macs=limit) == [last]


@pytest.mark.parametrize("sampler", ["nsga2", "random"])
@pytest.mark.parametrize("seed", range(3))
def test_a_search_of_nearly_all_designs_proposes_each_once(sampler: str, seed: int) -> None:
    # With mutants alone 71 designs in batches of 5 took 85 proposals.
    rows = run_search(MemoryStore(), SPACE, fake := FakeEvaluations(), trials=70, sampler=sampler, seed=seed)
    assert len(rows) == len(set(fake.seen)) == 70
