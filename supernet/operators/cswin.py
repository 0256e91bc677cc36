"""CSWin: cross-shaped window attention with LePE (arXiv 2107.00652, sections 3.2 and 3.3).

Half of the heads attend inside vertical stripes, full height x ``stripe_width`` columns, the other half
inside horizontal ones; together they see a cross. LePE adds a depth-wise convolution of the values
inside each stripe (eq. 7).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.architecture import Block
from search_spaces.operators import FeatureMap
from search_spaces.operators.cswin import covers
from search_spaces.skeleton import Style
from supernet.blueprint import Call, call
from supernet.elastic import Elastic, Mixer, Projections, WeightSlices, centre, centred, full, prefixed
from supernet.kernels import attention, window_merge
from supernet.pos import RelativePositionBias, depthwise3x3, windowed_lepe


class CrossShapedWindowAttention(nn.Module):
    """Attention inside a cross of stripes.

    Args:
        dim: Channels C.
        num_heads: Heads of both directions together.
        stripe_width: Width of the stripes; None for one branch of all heads over the whole map.
        qkv_bias: Whether query, key and value projections have a bias.
        lepe: Add LePE.
        rpe_size: Height and width of the map that a relative position bias is declared for.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        stripe_width: int | None,
        *,
        qkv_bias: bool = True,
        lepe: bool = True,
        rpe_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.stripe_width = stripe_width
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        # One filter a channel: the first half serves the vertical stripes, the second the horizontal ones.
        self.lepe = depthwise3x3(dim) if lepe else None
        self.rpe = self.rpe_columns = self.rpe_rows = None
        if rpe_size is not None and stripe_width is None:
            self.rpe = RelativePositionBias(*rpe_size, num_heads)
        elif rpe_size is not None and stripe_width is not None:
            self.rpe_columns = RelativePositionBias(rpe_size[0], stripe_width, num_heads // 2)
            self.rpe_rows = RelativePositionBias(stripe_width, rpe_size[1], num_heads // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, H, W, C)`` to the same shape, for any H and W."""
        H, W = x.shape[1:3]
        qkv, width = self.qkv(x), self.stripe_width
        if width is None:
            return self.proj(self.stripes(qkv.unflatten(-1, (3, -1)), H, W, self.lepe_of(0, 1), self.rpe))
        # Taken apart and put together whole, so that gradients are stacked and not added up in zeros.
        first, second = qkv.unflatten(-1, (3, 2, -1)).unbind(4)
        columns = self.stripes(first, H, width, self.lepe_of(0, 2), self.rpe_columns)
        rows = self.stripes(second, width, W, self.lepe_of(1, 2), self.rpe_rows)
        return self.proj(torch.cat([columns, rows], dim=-1))

    def lepe_of(self, narrow: int, parts: int) -> tuple[Tensor, Tensor] | None:
        """Return LePE's kernels and biases of one of equal parts of the channels, or None."""
        if self.lepe is None or self.lepe.bias is None:
            return None
        return self.lepe.weight.chunk(parts)[narrow], self.lepe.bias.chunk(parts)[narrow]

    def stripes(
        self,
        qkv: Tensor,
        height: int,
        width: int,
        lepe: tuple[Tensor, Tensor] | None,
        rpe: RelativePositionBias | None,
    ) -> Tensor:
        """Attend inside stripes.

        Args:
            qkv: Queries, keys and values of C channels, ``(B, H, W, 3, C)``.
            height: Rows of a stripe.
            width: Columns of a stripe.
            lepe: Kernels ``(C, 1, 3, 3)`` and biases ``(C,)`` of LePE, if any.
            rpe: Relative position bias, if any.

        Returns:
            ``(B, H, W, C)``. Maps are padded with zeros on all sides to whole stripes after the projection,
            as the paper's dense-prediction code does; the padding is not masked.
        """
        H, W, C = qkv.shape[1], qkv.shape[2], qkv.shape[4]
        tokens = height * width
        below, right = -H % height, -W % width
        if below or right:
            sides = (right // 2, right - right // 2, below // 2, below - below // 2)
            qkv = F.pad(qkv, (0, 0, 0, 0, *sides))
        stripes = qkv.unflatten(1, (-1, height)).unflatten(3, (-1, width)).permute(5, 0, 1, 3, 2, 4, 6)
        # One copy, after which queries, keys and values lie each by itself, as LePE's convolution wants them.
        apart = stripes.reshape(3, -1, tokens, C)
        q, k, v = apart.unflatten(-1, (-1, self.head_dim)).transpose(2, 3)
        bias = None if rpe is None else rpe(height, width)
        out = attention(q, k, v, bias).transpose(1, 2).reshape(-1, tokens, C)
        if lepe is not None:
            out = out + windowed_lepe(v.transpose(1, 2).flatten(2), height, width, *lepe)
        merged = window_merge(out, height, width, H + below, W + right)
        return merged[:, below // 2 : below // 2 + H, right // 2 : right // 2 + W]


def blueprint(block: Block, feature_map: FeatureMap, style: Style) -> Call:
    """Return what makes the static module of ``block``."""
    width = int(block.knob("stripe_width"))
    return call(
        CrossShapedWindowAttention,
        feature_map.dim,
        feature_map.num_heads,
        None if covers(width, feature_map) else width,
        qkv_bias=None if style.qkv_bias else False,
        lepe=None if block.pos == "lepe" else False,
        rpe_size=(feature_map.height, feature_map.width) if block.pos == "rpe" else None,
    )


class ElasticCSWin(Elastic):
    """Weights of CSWin at every stripe width; only the bias depends on it.

    One table holds the bias of the whole map. Stripes use the middle of it: the vertical ones that of the
    first half of the heads, the horizontal ones that of the second.
    """

    def __init__(self, blocks: Sequence[Block], feature_map: FeatureMap, projections: Projections) -> None:
        super().__init__()
        self.projections = projections
        self.lepe = depthwise3x3(feature_map.dim) if any(block.pos == "lepe" for block in blocks) else None
        stripes = [int(block.knob("stripe_width")) for block in blocks if block.pos == "rpe"]
        self.rpe: RelativePositionBias | None = None
        if stripes:
            # A stripe may be wider than the shorter side of its map.
            height, width = max(feature_map.height, *stripes), max(feature_map.width, *stripes)
            self.rpe = RelativePositionBias(height, width, feature_map.num_heads)

    def weight_slices(self, block: Block, feature_map: FeatureMap) -> WeightSlices:
        """Return cuts named as ``CrossShapedWindowAttention`` names its parameters."""
        weight_slices, stripe = self.projections.joint(), int(block.knob("stripe_width"))
        if block.pos == "lepe" and self.lepe is not None:
            weight_slices |= prefixed("lepe", full(self.lepe))
        if block.pos == "rpe" and self.rpe is not None:
            rows, columns, span = 2 * feature_map.height - 1, 2 * feature_map.width - 1, 2 * stripe - 1
            table, half = full(self.rpe)["table"], feature_map.num_heads // 2
            if covers(stripe, feature_map):
                weight_slices["rpe.table"] = table.then(centred(rows, columns))
            else:
                weight_slices["rpe_columns.table"] = table.then(
                    lambda full: centre(full[..., :half], rows, span)
                )
                weight_slices["rpe_rows.table"] = table.then(
                    lambda full: centre(full[..., half:], span, columns)
                )
        return weight_slices


MIXER = Mixer(blueprint, ElasticCSWin)
