"""Depth-wise convolution holds the contract of an operator in its static and both dynamic forms."""

from __future__ import annotations

from tests.operator_contract import OperatorContract


class TestDepthwiseConvolution(OperatorContract):
    operator = "dwconv"
    settings = (
        {"kernel_size": 3, "dynamic": "none"},
        {"kernel_size": 5, "dynamic": "none"},
        {"kernel_size": 3, "dynamic": "homogeneous"},
        {"kernel_size": 5, "dynamic": "homogeneous"},
        {"kernel_size": 3, "dynamic": "inhomogeneous", "group_channels": 1},
        {"kernel_size": 5, "dynamic": "inhomogeneous", "group_channels": 4},
        {"kernel_size": 3, "dynamic": "inhomogeneous", "group_channels": 4},
    )
