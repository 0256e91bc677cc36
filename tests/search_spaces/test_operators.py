"""Operators are found by their files; a spec says everything that the rest needs to know."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import search_spaces.operators
from search_spaces.errors import SpaceError
from search_spaces.operators import (
    OPERATORS,
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
    assert set(OPERATORS) == files == {"cswin", "dwconv", "gsa", "lsa", "outlook", "refiner", "swin"}
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
                assert 0 < counted <= spec.cost(knobs, pos, feature_map).macs


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
