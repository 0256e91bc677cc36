"""Positional encodings: absolute (APE), relative (RPE), conditional (CPE, by PEG), locally enhanced (LePE)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.cached_tensors import cached_by_size
from supernet.kernels import is_symbolic


class AbsolutePosition(nn.Module):
    """A learned vector for every position, added to the map (APE; ViT, arXiv 2010.11929, section 3.1).

    Args:
        height: Rows of the map it is declared for.
        width: Columns of that map.
        dim: Channels.
    """

    def __init__(self, height: int, width: int, dim: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(1, height, width, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Add the positions to ``(B, H, W, C)``; the table is interpolated to maps of other sizes."""
        table: Tensor = self.table
        if is_symbolic(*x.shape[1:3]) or table.shape[1:3] != x.shape[1:3]:
            table = F.interpolate(table.permute(0, 3, 1, 2), size=x.shape[1:3], mode="bilinear")
            table = table.permute(0, 2, 3, 1)
        return x + table


class PositionalEncodingGenerator(nn.Module):
    """PEG: a depth-wise 3x3 convolution of the map, added to it (CPVT, arXiv 2102.10882, section 3.3).

    Args:
        dim: Channels.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, H, W, C)`` to the same shape; the zeros beyond the border give positions away."""
        return x + self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class RelativePositionBias(nn.Module):
    """A learned bias of the logits for every offset between query and key (Swin, arXiv 2103.14030, eq. 4).

    Args:
        height: Rows of the window.
        width: Columns of the window.
        num_heads: Heads, each with biases of its own.
    """

    def __init__(self, height: int, width: int, num_heads: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(2 * height - 1, 2 * width - 1, num_heads))

    def forward(self, height: int, width: int) -> Tensor:
        """Return the bias ``(heads, N, N)`` of all pairs of ``N = height * width`` positions.

        Offsets are query minus key; those beyond the table use its outermost entry.
        """
        rows, columns, heads = self.table.shape
        index = relative_index(self.table.device, height, width, rows, columns)
        # Selected from a row for each head: on CPUs twice as fast, both ways, as by a table's two indices.
        return self.table.flatten(0, 1).t().index_select(1, index).view(heads, height * width, -1)


@cached_by_size
def relative_index(device: torch.device, height: int, width: int, rows: int, columns: int) -> Tensor:
    """Return the entry of a flattened table of ``rows`` x ``columns`` offsets for every query and key.

    Args:
        device: Where the index is needed.
        height: Rows of the window.
        width: Columns of the window.
        rows: Rows of the table.
        columns: Columns of the table.

    Returns:
        ``(N * N,)``, all keys of the first of ``N = height * width`` queries first.
    """
    row, column = (
        (positions[:, None] - positions + span // 2).clamp(0, span - 1)
        for positions, span in (
            (torch.arange(height, device=device), rows),
            (torch.arange(width, device=device), columns),
        )
    )
    return (row[:, None, :, None] * columns + column[:, None]).flatten()


class LocallyEnhancedPosition(nn.Conv2d):
    """A depth-wise 3x3 convolution of the values inside every window (CSWin, arXiv 2107.00652, section 3.3).

    Args:
        dim: Channels, each with a kernel and a bias of its own.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim, 3, padding=1, groups=dim)

    def forward(  # type: ignore[override]
        self, values: Tensor, height: int, width: int, part: int = 0, parts: int = 1
    ) -> Tensor:
        """Convolve each window by itself; beyond its border are zeros.

        Args:
            values: Values V of all windows, ``(B * windows, height * width, C)``.
            height: Rows of a window.
            width: Columns of a window.
            part: Which of ``parts`` equal shares of the channels the values have, from 0.
            parts: Shares of the channels.

        Returns:
            ``(B * windows, height * width, C)``, to be added to the output of attention.
        """
        weight, bias = self.weight, self.bias
        if parts > 1 and bias is not None:
            weight, bias = weight.chunk(parts)[part], bias.chunk(parts)[part]
        x = values.unflatten(1, (height, width)).permute(0, 3, 1, 2)
        return F.conv2d(x, weight, bias, padding=1, groups=weight.shape[0]).flatten(2).transpose(1, 2)
