"""Outlook attention holds the contract of an operator, strided and not."""

from __future__ import annotations

from tests.operator_contract import OperatorContract


class TestOutlook(OperatorContract):
    operator = "outlook"
    settings = (
        {"kernel_size": 3, "stride": 1},
        {"kernel_size": 3, "stride": 2},
        {"kernel_size": 5, "stride": 2},
    )
