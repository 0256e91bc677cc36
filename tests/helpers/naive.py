"""Pieces of naive references that several operators have in common, written out value by value."""

from __future__ import annotations

import torch
from torch import Tensor


def relative_bias(table: Tensor, height: int, width: int) -> Tensor:
    """Look up the bias ``(heads, N, N)`` of every pair of positions, one by one.

    Offsets are query minus key; those beyond the table take its edge.
    """
    rows, columns, heads = table.shape
    positions = [(y, x) for y in range(height) for x in range(width)]
    bias = table.new_zeros(heads, len(positions), len(positions))
    for i, (yq, xq) in enumerate(positions):
        for j, (yk, xk) in enumerate(positions):
            row = min(max(yq - yk + (rows - 1) // 2, 0), rows - 1)
            column = min(max(xq - xk + (columns - 1) // 2, 0), columns - 1)
            bias[:, i, j] = table[row, column]
    return bias


def convolve_window(v: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve one window's values ``(b, y, x, c)`` with kernels ``(c, 3, 3)``, tap by tap."""
    height, width = v.shape[1:3]
    out = torch.zeros_like(v) + bias
    for y in range(height):
        for x in range(width):
            for dy in range(-1, 2):
                for dx in range(-1, 2):
                    if 0 <= y + dy < height and 0 <= x + dx < width:
                        out[:, y, x] += v[:, y + dy, x + dx] * weight[:, dy + 1, dx + 1]
    return out
