"""A seed gives what it gave in version 0.1.0: `values.py` says how the stored values are made."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.golden import values


def stored(name: str) -> Any:
    return json.loads(values.golden_file(name).read_text(encoding="utf-8"))


def test_named_spaces_sample_the_same_designs() -> None:
    expected, computed = stored("spaces"), values.compute_spaces()
    assert {name: computed[name] for name in expected} == expected  # more spaces may be added


@pytest.mark.parametrize("name", values.SEARCHES)
def test_searches_propose_the_same_designs(name: str) -> None:
    assert values.propose(*values.SEARCHES[name]) == stored("proposals")[name]


@pytest.mark.parametrize("name", ["nsga2", "random", "tpe"])
def test_proposals_before_the_first_repeat_are_those_of_the_first_version(name: str) -> None:
    first = stored("before_repeats")[name]
    assert len(first) >= 24 and stored("proposals")[name][: len(first)] == first


def test_a_supernet_begins_and_trains_the_same() -> None:
    expected, computed = stored("supernet"), values.compute_supernet()
    assert computed["layout"] == expected["layout"]
    # Normal and truncated normal numbers differ in their last float32 bits between processors.
    assert computed["weights"] == pytest.approx(expected["weights"], rel=1e-5, abs=1e-6)
    assert computed["paths"] == expected["paths"]
    assert computed["losses"] == pytest.approx(expected["losses"], rel=1e-9)


def test_trainings_lose_the_same() -> None:
    expected, computed = stored("training"), values.compute_training()
    for policy, found in expected["supernets"].items():
        assert computed["supernets"][policy]["losses"] == pytest.approx(found["losses"], rel=1e-3), policy
        assert computed["supernets"][policy]["average"] == pytest.approx(found["average"], rel=1e-3), policy
    assert computed["designs"] == pytest.approx(expected["designs"], rel=1e-3)
