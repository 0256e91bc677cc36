"""Scores of designs evaluated together are those of each design by itself, to the last bit."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
import torch

from nas.evaluation.accuracy import Evaluator
from nas.evaluation.population import group_by_prefix
from nas.evaluation.prefix_cache import (
    ActivationCache,
    PrefixCacheEvaluator,
    StepOutput,
    order_by_prefix,
    prefix_chain,
)
from nas.runtime.device import compute_dtype
from search_spaces.architecture import Architecture, Block
from search_spaces.declaration import load_declaration
from search_spaces.space import Space
from supernet.steps import StepRunner, steps
from supernet.supernet import Supernet

SPACES = ("twins_cswin", "local_vit_ablation", "refiner_vit")


def space(name: str) -> Space:
    return load_declaration(name).space("nano", 28, 1, 10)


def generation(chosen: Space, seed: int, parents: int = 2, each: int = 3) -> list[Architecture]:
    rng = Random(seed)
    drawn = [chosen.sample(rng) for _ in range(parents)]
    return [chosen.mutate(drawn[n % parents], rng, 0.05) for n in range(parents * each)]


def images(sizes: tuple[int, ...]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    made = torch.Generator().manual_seed(0)
    return [
        (torch.randn(n, 1, 28, 28, generator=made), torch.randint(0, 10, (n,), generator=made)) for n in sizes
    ]


@pytest.mark.parametrize("keep", [0, 300_000, 2**28])
@pytest.mark.parametrize("name", SPACES)
def test_scores_are_those_of_every_design_by_itself(name: str, keep: int) -> None:
    torch.manual_seed(0)
    chosen = space(name)
    supernet = Supernet(chosen).eval()
    for module in supernet.modules():
        if (
            isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d)
            and module.running_mean is not None
        ):
            module.running_mean.normal_()  # statistics that calibration must not use
    validation, calibration = images((5, 5, 3)), [x for x, _ in images((6, 4))]
    alone = Evaluator(supernet, validation, calibration)
    together = PrefixCacheEvaluator(supernet, validation, calibration, keep)
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    for seed in range(2):  # a second generation meets what is cached of the first
        designs = generation(chosen, seed)
        scores = together.score([designs[place] for place in order_by_prefix(designs)])
        for place, found in zip(order_by_prefix(designs), scores, strict=True):
            expected = alone.score(designs[place])
            assert {**found, "seconds": 0} == {**expected, "seconds": 0}
            assert found["seconds"] > 0
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())


def test_a_common_beginning_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = space("twins_cswin")
    designs = list(dict.fromkeys(generation(chosen, 3, 2, 4)))
    runs = []
    run = StepRunner.run
    monkeypatch.setattr(
        StepRunner, "run", lambda self, step, *rest: (runs.append(step), run(self, step, *rest))[1]
    )
    evaluator = PrefixCacheEvaluator(Supernet(chosen), images((4,)), [x for x, _ in images((4,))], 2**28)
    evaluator.score([designs[place] for place in order_by_prefix(designs)])
    prefixes = {steps(design)[: n + 1] for design in designs for n in range(len(steps(design)))}
    assert len(runs) == len(prefixes) < sum(len(steps(design)) for design in designs)
    runs.clear()
    evaluator.score([designs[place] for place in order_by_prefix(designs)])
    assert len(runs) == len(designs)  # all is cached but the outputs of the last steps


def test_designs_that_differ_in_their_mlp_share_the_mixer() -> None:
    drawn = space("twins_cswin").sample(Random(0))
    *before, last = drawn.stages
    plain, wider, encoded = (
        replace(last, blocks=(Block("gsa", (("sr_ratio", 1),), pos, ratio),))
        for pos, ratio in (("none", 2.0), ("none", 4.0), ("cpe", 2.0))
    )
    paths = [prefix_chain(replace(drawn, stages=(*before, stage))) for stage in (plain, wider, encoded)]
    keys = [{begun.key for begun in path} for path in paths]
    assert len(keys[0] & keys[1]) == len(paths[0]) - 1 == len(paths[1]) - 1
    assert len(keys[0] & keys[2]) == len(paths[0]) == len(paths[2]) - 1


def made(count: int) -> StepOutput:
    return StepOutput([(torch.zeros(count), None)], {})


def test_memory_is_kept_within_its_limit() -> None:
    cache, one = ActivationCache(100), made(10)
    for name in "abc":
        cache.put(name, one)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (None, one, one) and cache.bytes == 80
    cache.get("b")
    cache.put("d", one)
    assert (cache.get("b"), cache.get("c"), cache.get("d")) == (one, None, one)
    cache.put("inside", made(5), inside_block=True)
    cache.put("e", made(5))  # what is inside a block leaves first
    assert cache.get("inside") is None and cache.get("b") and cache.get("d") and cache.get("e")
    cache.put("large", made(1000))
    assert cache.get("large") is None and cache.get("e") and cache.bytes == 100


@pytest.mark.parametrize("keep", [0, 2**20, 2**28])
def test_memory_of_all_activations_is_within_what_was_given(keep: int) -> None:
    chosen = space("twins_cswin")
    evaluator = PrefixCacheEvaluator(Supernet(chosen), images((40, 40)), [x for x, _ in images((9,))], keep)
    evaluator.score(generation(chosen, 0))
    assert evaluator.cache.bytes <= evaluator.cache.limit <= keep


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_groups_hold_every_design_once(workers: int) -> None:
    designs = generation(space("twins_cswin"), 1, 8, 4)
    groups = group_by_prefix(designs, workers)
    assert sorted(place for _, places in groups for place in places) == list(range(len(designs)))
    assert all(0 <= home < workers and places for home, places in groups)
    preferred_workers: dict[object, set[int]] = {}
    for home, places in groups:
        for place in places:
            preferred_workers.setdefault(steps(designs[place])[:3], set()).add(home)
    assert all(len(found) == 1 for found in preferred_workers.values())


@pytest.mark.parametrize("name", SPACES)
def test_images_may_be_kept_in_the_precision_of_convolutions(name: str) -> None:
    supernet, given = Supernet(space(name)).eval(), images((3,))[0][0]
    for stem in supernet.stems.values():
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(stem(given), stem(given.bfloat16()))
    assert compute_dtype(torch.device("cuda")) == torch.bfloat16
    assert compute_dtype(torch.device("cpu")) == torch.float32
