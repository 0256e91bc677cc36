"""Refiner holds the contract of an operator, with and without its expansion."""

from __future__ import annotations

from tests.operator_contract import OperatorContract


class TestRefiner(OperatorContract):
    operator = "refiner"
    settings = (
        {"expand_ratio": 1, "kernel_size": 3},
        {"expand_ratio": 2, "kernel_size": 1},
        {"expand_ratio": 3, "kernel_size": 3},
    )
