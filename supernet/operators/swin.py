"""Swin: shifted windows with relative position bias (arXiv 2103.14030, sections 3.2 and 3.3).

Blocks alternate between windows that start at the map's corner and windows moved by ``shift_size`` s
(of M x M positions), so that neighbours on two sides of a border meet in the next block. The shift is
cyclic: positions that it brings together from opposite sides of the map are masked from one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

from search_spaces.architecture import Block
from search_spaces.operators import FeatureMap
from search_spaces.operators.swin import shift_size
from search_spaces.skeleton import Style
from supernet.blueprint import Call, call
from supernet.cached_tensors import cached_by_size
from supernet.elastic import Elastic, Mixer, Projections
from supernet.kernels import MASK_LOGIT, attention, pad_to_multiple, window_merge, window_partition
from supernet.pos import RelativePositionBias
from supernet.weight_slices import WeightSlices, centred, chain, full


class ShiftedWindowAttention(nn.Module):
    """Attention inside windows of a cyclically shifted map, ``softmax(Q K^T / sqrt(d) + B) V`` (eq. 4).

    Args:
        dim: Channels C.
        num_heads: Heads.
        window_size: Side M of the windows.
        shift_size: Rows and columns s by which the map is moved up and left, 0 for none. An axis that one
            window covers is not moved.
        qkv_bias: Whether query, key and value projections have a bias.
    """

    def __init__(
        self, dim: int, num_heads: int, window_size: int, shift_size: int = 0, *, qkv_bias: bool = True
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window_size = window_size
        self.shift_size = shift_size
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.rpe = RelativePositionBias(window_size, window_size, num_heads)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, H, W, C)`` to the same shape, for any H and W.

        Zeros fill up the windows at the right and bottom after the shift; they are not masked, as in the
        paper's code.
        """
        H, W, C = x.shape[1:]
        size = self.window_size
        rows, columns = (0 if side <= size else self.shift_size for side in (H, W))
        if rows or columns:
            x = x.roll((-rows, -columns), (1, 2))
        x = pad_to_multiple(x, size, size)
        padded_H, padded_W = x.shape[1:3]
        windows = window_partition(self.qkv(x), size, size)
        q, k, v = windows.view(-1, size * size, 3, self.num_heads, C // self.num_heads).permute(2, 0, 3, 1, 4)
        bias = self.rpe(size, size)
        if rows or columns:
            table = self.rpe.table
            bias = bias + shift_mask(table.device, table.dtype, padded_H, padded_W, size, rows, columns)
        out = attention(q, k, v, bias).transpose(1, 2).reshape(-1, size * size, C)
        x = self.proj(window_merge(out, size, size, padded_H, padded_W)[:, :H, :W])
        return x.roll((rows, columns), (1, 2)) if rows or columns else x


@cached_by_size
def shift_mask(
    device: torch.device, dtype: torch.dtype, H: int, W: int, size: int, rows: int, columns: int
) -> Tensor:
    """Return what keeps pairs of different regions of a shifted map apart.

    Args:
        device: Where the mask is needed.
        dtype: Of the logits.
        H: Rows of the map, a multiple of ``size``.
        W: Columns of the map, likewise.
        size: Side M of the windows.
        rows: Rows that the map was moved up.
        columns: Columns that it was moved left.

    Returns:
        ``(windows, 1, M * M, M * M)``, to be added to the logits.
    """
    row_regions, column_regions = (
        shift_regions(device, side, size, shift) for side, shift in ((H, rows), (W, columns))
    )
    region = 3 * row_regions[:, None] + column_regions
    windows = window_partition(region[None, :, :, None], size, size)
    return -MASK_LOGIT * (windows != windows.transpose(1, 2)).unsqueeze(1).to(dtype)


def shift_regions(device: torch.device, side: int, size: int, shift: int) -> Tensor:
    """Return regions of rows or columns ``(side,)``: 1 in the last window, 2 if moved there, else 0."""
    positions = torch.arange(side, device=device)
    return (positions >= side - size).long() + (positions >= side - shift).long()


def blueprint(block: Block, feature_map: FeatureMap, style: Style) -> Call:
    """Return what makes the static module of ``block``."""
    return call(
        ShiftedWindowAttention,
        feature_map.dim,
        feature_map.num_heads,
        block.knob("window_size"),
        shift_size=shift_size(block.settings) or None,
        qkv_bias=None if style.qkv_bias else False,
    )


class ElasticSwin(Elastic):
    """Weights of Swin at every window size: smaller windows use the middle of the largest bias table."""

    def __init__(self, blocks: Sequence[Block], feature_map: FeatureMap, projections: Projections) -> None:
        super().__init__()
        self.projections = projections
        largest = max(int(block.knob("window_size")) for block in blocks)
        self.rpe = RelativePositionBias(largest, largest, feature_map.num_heads)

    def weight_slices(self, block: Block, feature_map: FeatureMap) -> WeightSlices:
        """Return slices named as ``ShiftedWindowAttention`` names its parameters."""
        span, heads = 2 * int(block.knob("window_size")) - 1, self.projections.heads(feature_map.num_heads, 2)
        table = full(self.rpe)["table"].then(chain(centred(span, span), heads))
        return {**self.projections.joint(feature_map.dim), "rpe.table": table}


def plain(m: ShiftedWindowAttention, x: Tensor) -> Tensor:
    """Compute Swin's attention as its authors' repository does; the mask of a shifted map is computed once."""
    B, H, W, C = x.shape
    size = m.window_size
    shift = m.shift_size if H > size else 0  # one window covers the map
    if shift:
        x = torch.roll(x, (-shift, -shift), (1, 2))
    windows = window_partition(x, size, size)
    split = m.qkv(windows).reshape(-1, size * size, 3, m.num_heads, C // m.num_heads).permute(2, 0, 3, 1, 4)
    q, k, v = split[0] * split.shape[-1] ** -0.5, split[1], split[2]
    logits = q @ k.transpose(-2, -1) + m.rpe(size, size).contiguous()
    if shift:
        mask = _plain_mask(H, W, size, shift, x.device)
        logits = (logits.unflatten(0, (B, -1)) + mask).flatten(0, 1)
    out = (logits.softmax(-1) @ v).transpose(1, 2).reshape(-1, size * size, C)
    x = window_merge(m.proj(out), size, size, H, W)
    return torch.roll(x, (shift, shift), (1, 2)) if shift else x


@lru_cache(maxsize=8)
def _plain_mask(H: int, W: int, size: int, shift: int, device: torch.device) -> Tensor:
    """Return what the paper's code adds to the logits ``(windows, 1, M * M, M * M)``: -100 for masked pairs."""
    regions = torch.zeros(1, H, W, 1, device=device)
    spans = (slice(0, -size), slice(-size, -shift), slice(-shift, None))
    for number, (rows, columns) in enumerate((r, c) for r in spans for c in spans):
        regions[:, rows, columns] = number
    windows = window_partition(regions, size, size)
    return torch.where(windows != windows.transpose(1, 2), -100.0, 0.0).unsqueeze(1)


MIXER = Mixer(blueprint, ElasticSwin, plain)
