"""Operators are found by their files; a spec says everything that the rest needs to know."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import search_spaces.operators
from search_spaces.errors import SpaceError
from search_spaces.operators import (
    OPERATORS,
    AttentionTerms,
    FeatureMap,
    Knob,
    OperatorSpec,
    _registry,
    operator,
    operator_names,
)
from search_spaces.operators.lsa import OPERATOR as LSA
from tests.helpers.operator_packages import importable

FILES = Path(search_spaces.operators.__file__).parent


def test_every_file_is_an_operator_of_its_name() -> None:
    files = {path.stem for path in FILES.glob("*.py") if not path.stem.startswith("_")}
    assert set(OPERATORS) == files
    assert files == {"cswin", "dwconv", "gsa", "linear", "lsa", "outlook", "pool", "refiner", "swin"}
    assert list(OPERATORS) == sorted(OPERATORS)
    assert operator_names()[: len(OPERATORS)] == tuple(OPERATORS)
    for name, spec in OPERATORS.items():
        assert spec.name == name
        assert operator(name) is spec
        assert spec.implementation == f"supernet.operators.{name}"


def test_a_new_file_is_found_and_must_hold_an_operator_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (FILES / "lsa.py").read_text()
    (tmp_path / "local.py").write_text(text.replace('name="lsa"', 'name="local"'))
    monkeypatch.setattr(search_spaces.operators, "__path__", [str(FILES), str(tmp_path)])
    monkeypatch.setattr(_registry, "__file__", str(tmp_path / "_registry.py"))
    with importable(tmp_path):
        (spec,) = _registry._find_own().values()
        assert (spec.name, spec.implementation) == ("local", "supernet.operators.local")
        (tmp_path / "other.py").write_text(text)
        with pytest.raises(SpaceError, match="file of the operator 'other' holds an operator called 'lsa'"):
            _registry._find_own()
        (tmp_path / "empty.py").touch()
        with pytest.raises(SpaceError, match=r"OPERATOR of .*\.empty is not an OperatorSpec but NoneType"):
            _registry._find_own()


@pytest.mark.parametrize(
    "name", ["name", "summary", "paper", "knobs", "pos", "incompatibility", "cost", "attention_terms"]
)
def test_a_spec_needs_each_of_these(name: str) -> None:
    given = {f.name: getattr(LSA, f.name) for f in dataclasses.fields(OperatorSpec)}
    assert OperatorSpec(**given) == LSA
    del given[name]
    with pytest.raises(TypeError, match=f"missing 1 required positional argument: '{name}'"):
        OperatorSpec(**given)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"name": "my.operator"}, "must be an identifier, not 'my.operator'"),
        ({"knobs": {"pos": Knob()}}, "operator 'lsa' calls a knob 'pos', which every block has already"),
        ({"pos": ("none", "rope")}, "operator 'lsa' admits an unknown encoding 'rope'"),
    ],
)
def test_a_spec_refuses_what_blocks_cannot_hold(change: dict[str, object], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        dataclasses.replace(LSA, **change)  # type: ignore[arg-type]


REFINED = 49**2 * 4 * (9 + 2) + 49**2 * 2 * 4  # 3x3 in 4 hidden maps, reduced to 2 heads; expanded from them


@pytest.mark.parametrize(
    ("name", "knobs", "pos", "terms"),
    [
        # 7x7 positions of 12 channels, 2 heads; windows and stripes pad to 8.
        ("lsa", {"window_size": 4}, "lepe", AttentionTerms(2 * 64 * 16 * 12, 0, 9 * 64 * 12, 16)),
        ("swin", {"window_size": 4, "shift": "half"}, "rpe", AttentionTerms(2 * 64 * 16 * 12, 0, 0, 16)),
        ("gsa", {"sr_ratio": 2}, "none", AttentionTerms(0, 2 * 49 * 9 * 12, 0, None, 4)),
        ("cswin", {"stripe_width": 2}, "lepe", AttentionTerms(2 * 56 * 14 * 12, 0, 9 * 56 * 12, 14)),
        ("cswin", {"stripe_width": 7}, "lepe", AttentionTerms(0, 2 * 49**2 * 12, 9 * 49 * 12)),
        ("dwconv", {"kernel_size": 3, "dynamic": "none"}, "none", AttentionTerms(0, 0, 49 * 9 * 12)),
        (
            "refiner",
            {"maps": "refined", "expand_ratio": 2, "kernel_size": 3},
            "none",
            AttentionTerms(0, 2 * 49**2 * 12, REFINED),
        ),
        (
            "refiner",
            {"maps": "shared", "expand_ratio": 2, "kernel_size": 3},
            "none",
            AttentionTerms(0, 49**2 * 12, REFINED),
        ),
        ("refiner", {"maps": "plain"}, "none", AttentionTerms(0, 2 * 49**2 * 12)),
        # Every second position is a centre: 4x4 neighbourhoods of 9 x 9 weights.
        ("outlook", {"kernel_size": 3, "stride": 2}, "none", AttentionTerms(16 * 81 * 12)),
        # Keys with values, and queries with 6 x 6 numbers a head; 25 taps.
        ("linear", {"kernel_size": 5}, "none", AttentionTerms(0, 2 * 49 * 12 * 6, 49 * 25 * 12)),
        ("pool", {"pool_size": 3}, "none", AttentionTerms()),
    ],
    ids=str,
)
def test_attention_terms_by_hand(
    name: str, knobs: dict[str, int | str], pos: str, terms: AttentionTerms
) -> None:
    assert operator(name).validation_error(knobs) is None
    assert operator(name).attention_terms(knobs, pos, FeatureMap(12, 2, 7, 7)) == terms


@pytest.mark.parametrize("name", OPERATORS)
def test_no_operator_spends_more_on_attention_than_it_costs(name: str) -> None:
    spec, feature_map = OPERATORS[name], FeatureMap(24, 4, 9, 10)
    numbers = {knob: 3 if knob != "group_channels" else 4 for knob in spec.knobs}
    for words in _words(spec):
        for pos in spec.pos:
            knobs, pos = spec.canonical({**numbers, **words}, pos)
            if spec.incompatibility(knobs, feature_map) is None:
                terms = spec.attention_terms(knobs, pos, feature_map)
                counted = terms.local + terms.globally + terms.convolutions
                assert (name != "pool") <= counted <= spec.cost(knobs, pos, feature_map).macs


def _words(spec: OperatorSpec) -> list[dict[str, str]]:
    words: list[dict[str, str]] = [{}]
    for name, knob in spec.knobs.items():
        if knob.kind is str:
            words = [{**others, name: str(value)} for others in words for value in knob.allowed]
    return words


@pytest.mark.parametrize(
    ("knob", "value", "error"),
    [
        (Knob(), True, "must be an integer, not True"),
        (Knob(), 3.0, "must be an integer, not 3.0"),
        (Knob(), 0, "must be at least 1, not 0"),
        (Knob(odd=True), 4, "must be odd, not 4"),
        (Knob(kind=str), 3, "must be a word, not 3"),
        (Knob(kind=str, allowed=("a", "b")), "c", "must be one of a, b, not 'c'"),
    ],
)
def test_a_knob_says_what_is_wrong_with_a_value(knob: Knob, value: object, error: str) -> None:
    assert knob.validation_error(value) == error
