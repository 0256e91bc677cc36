"""The contract itself: every operator has a test class of it, and what an operator lacks or gets wrong is reported."""

from __future__ import annotations

import importlib
import pkgutil
import types
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import supernet.operators
from search_spaces.cost import block_cost
from search_spaces.errors import SpaceError
from search_spaces.operators import OPERATORS, AttentionTerms, Cost, OperatorSpec
from supernet.elastic import Mixer
from supernet.operators import mixer
from tests import operator_contract
from tests.helpers.operator_cases import Case, MixerCase
from tests.operator_contract import OperatorContract
from tests.supernet import operators as tests_of_operators
from tests.supernet.operators import test_lsa


def contracts() -> dict[str, type[OperatorContract]]:
    """Return the test class of every operator in ``tests/supernet/operators``."""
    found = {}
    for module in pkgutil.iter_modules(tests_of_operators.__path__, f"{tests_of_operators.__name__}."):
        for value in vars(importlib.import_module(module.name)).values():
            if (
                isinstance(value, type)
                and issubclass(value, OperatorContract)
                and value is not OperatorContract
            ):
                found[value.operator] = value
    return found


def test_every_operator_has_a_contract() -> None:
    assert OPERATORS.keys() <= contracts().keys()


def test_every_file_of_an_operator_is_found() -> None:
    files = {module.name for module in pkgutil.iter_modules(supernet.operators.__path__)}
    assert files == set(OPERATORS)


def test_an_operator_without_a_naive_reference_is_reported() -> None:
    class Incomplete(OperatorContract):
        operator = "lsa"
        settings = ({"window_size": 2},)

    with pytest.raises(TypeError, match="naive"):
        Incomplete()  # type: ignore[abstract]


def test_an_operator_without_a_plain_formulation_is_reported() -> None:
    whole = mixer("lsa")
    with pytest.raises(TypeError, match="plain"):
        Mixer(whole.blueprint, whole.elastic)  # type: ignore[call-arg]


@pytest.mark.parametrize("lacking", ["cost", "attention_terms", "incompatibility"])
def test_an_operator_without_its_declared_costs_is_reported(lacking: str) -> None:
    spec = OPERATORS["lsa"]
    fields = {name: getattr(spec, name) for name in OperatorSpec.__dataclass_fields__ if name != lacking}
    with pytest.raises(TypeError, match=lacking):
        OperatorSpec(**fields)


@pytest.mark.parametrize(
    ("implementation", "sentence"),
    [
        ("supernet.operators.nowhere", "cannot be imported from 'supernet.operators.nowhere'"),
        ("supernet.kernels", "the module 'supernet.kernels' of operator 'lsa' defines no MIXER"),
    ],
)
def test_a_torch_half_that_is_missing_or_wrong_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch, implementation: str, sentence: str
) -> None:
    monkeypatch.setitem(OPERATORS, "lsa", replace(OPERATORS["lsa"], implementation=implementation))
    with pytest.raises(SpaceError, match=sentence):
        mixer("lsa")


# -- each test of the contract fails for an operator that is wrong there ---------------------------------


class Contract(test_lsa.TestLSA):
    """That of LSA, on one setting."""

    __test__ = False
    settings = ({"window_size": 3},)
    variants = ()


CASE = next(Contract.cases())
MIXER_CASE = next(Contract().mixer_cases())


class FixedBatch(nn.Module):
    """Right at the batch size of its trace alone."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x.reshape(int(x.shape[0]), *x.shape[1:]))


class MixedBatch(FixedBatch):
    """Adds the mean over the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x) + x.mean(dim=0)


def with_mixer(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    """Give LSA another torch half."""
    monkeypatch.setattr(operator_contract, "mixer", lambda name: replace(mixer(name), **fields))


def with_spec(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    """Give LSA another half without torch, whose costs are not those that were kept of its own."""
    monkeypatch.setattr(operator_contract, "block_cost", block_cost.__wrapped__)
    monkeypatch.setitem(OPERATORS, "lsa", replace(OPERATORS["lsa"], **fields))


def wrapped(wrapper: Callable[[nn.Module], nn.Module]) -> tuple[Case, MixerCase]:
    """Return the cases of a module that something is wrong with."""

    class Wrapped(Case):
        def static(self) -> nn.Module:
            return wrapper(super().static())

    return Wrapped(CASE.block, CASE.feature_map), replace(
        MIXER_CASE, build=lambda: wrapper(MIXER_CASE.build())
    )


def test_the_contract_passes_a_right_operator() -> None:
    contract = Contract()
    contract.test_naive_reference_equals_the_module(MIXER_CASE)
    contract.test_plain_formulation_equals_the_module(MIXER_CASE, training=False)
    contract.test_declared_cost_equals_the_counted_one(CASE)
    contract.test_attention_terms_are_what_torch_counts_in_attention(CASE)
    contract.test_a_trace_runs_at_any_batch_size(CASE)
    contract.test_a_trace_of_the_module_runs_at_any_batch_size(MIXER_CASE)
    contract.test_each_image_is_independent_of_its_batch_mates(CASE)


def test_a_wrong_plain_formulation_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    with_mixer(monkeypatch, plain=lambda module, x: module(x) + 1e-3)
    with pytest.raises(AssertionError):
        Contract().test_plain_formulation_equals_the_module(MIXER_CASE, training=False)


def test_a_wrong_naive_reference_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    contract = Contract()
    monkeypatch.setattr(contract, "naive", lambda module, x: module(x) + 1e-3)
    with pytest.raises(AssertionError):
        contract.test_naive_reference_equals_the_module(MIXER_CASE)


@pytest.mark.parametrize("error", [Cost(macs=1), Cost(params=1)])
def test_a_wrong_cost_is_reported(monkeypatch: pytest.MonkeyPatch, error: Cost) -> None:
    right = OPERATORS["lsa"].cost
    with_spec(monkeypatch, cost=lambda knobs, pos, feature_map: right(knobs, pos, feature_map) + error)
    with pytest.raises(AssertionError):
        Contract().test_declared_cost_equals_the_counted_one(CASE)


@pytest.mark.parametrize("terms", [AttentionTerms(), AttentionTerms(local=1)])
def test_wrong_attention_terms_are_reported(monkeypatch: pytest.MonkeyPatch, terms: AttentionTerms) -> None:
    with_spec(monkeypatch, attention_terms=lambda knobs, pos, feature_map: terms)
    with pytest.raises(AssertionError):
        Contract().test_attention_terms_are_what_torch_counts_in_attention(CASE)


def test_a_module_whose_trace_fixes_the_batch_is_reported() -> None:
    case, mixer_case = wrapped(FixedBatch)
    for run in (
        lambda: Contract().test_a_trace_runs_at_any_batch_size(case),
        lambda: Contract().test_a_trace_of_the_module_runs_at_any_batch_size(mixer_case),
    ):
        with pytest.raises((AssertionError, RuntimeError)):
            run()


def test_a_module_that_mixes_images_is_reported() -> None:
    case, mixer_case = wrapped(MixedBatch)
    with pytest.raises(AssertionError):
        Contract().test_each_image_is_independent_of_its_batch_mates(case)
    with pytest.raises(AssertionError):
        Contract().test_the_module_treats_each_image_by_itself(mixer_case)


def test_an_operator_that_hides_its_attention_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    contract = Contract()
    monkeypatch.setattr(operator_contract.importlib, "import_module", lambda name: types.ModuleType(name))
    with torch.no_grad(), pytest.raises(AssertionError):
        contract.test_fused_attention_equals_plain(MIXER_CASE, monkeypatch)
