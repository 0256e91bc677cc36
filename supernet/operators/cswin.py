"""CSWin: cross-shaped window attention with LePE (arXiv 2107.00652, sections 3.2 and 3.3).

Half of the heads attend inside vertical stripes, full height x ``stripe_width`` columns, the other half
inside horizontal ones; together they see a cross. LePE adds a depth-wise convolution of the values
inside each stripe (eq. 7).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.architecture import Block
from search_spaces.operators import FeatureMap
from search_spaces.operators.cswin import covers
from search_spaces.skeleton import Style
from supernet.blueprint import Call, call
from supernet.elastic import Elastic, Mixer, Projections
from supernet.kernels import attention, plain_attention, window_merge, window_partition
from supernet.pos import LocallyEnhancedPosition, RelativePositionBias
from supernet.weight_slices import WeightSlices, centred, chain, full, narrow, prefixed


class CrossShapedWindowAttention(nn.Module):
    """Attention inside a cross of stripes.

    Args:
        dim: Channels C.
        num_heads: Heads of both directions together.
        stripe_width: Width of the stripes; None for one branch of all heads over the whole map.
        qkv_bias: Whether query, key and value projections have a bias.
        lepe: LePE of all channels, if any: the first half of its kernels is for the vertical stripes.
        rpe: The relative position bias of a single branch, if any.
        rpe_columns: That of the vertical stripes, if any.
        rpe_rows: That of the horizontal stripes, if any.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        stripe_width: int | None,
        *,
        qkv_bias: bool = True,
        lepe: nn.Module | None = None,
        rpe: nn.Module | None = None,
        rpe_columns: nn.Module | None = None,
        rpe_rows: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.stripe_width = stripe_width
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.lepe = lepe
        self.rpe = rpe
        self.rpe_columns = rpe_columns
        self.rpe_rows = rpe_rows

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, H, W, C)`` to the same shape, for any H and W."""
        H, W = x.shape[1:3]
        qkv, width = self.qkv(x), self.stripe_width
        if width is None:
            return self.proj(self.attend(qkv.unflatten(-1, (3, -1)), H, W, self.rpe))
        # Split at once with unbind, so that the backward pass stacks the gradients instead of adding zeros.
        first, second = qkv.unflatten(-1, (3, 2, -1)).unbind(4)
        columns = self.attend(first, H, width, self.rpe_columns, 0, 2)
        rows = self.attend(second, width, W, self.rpe_rows, 1, 2)
        return self.proj(torch.cat([columns, rows], dim=-1))

    def attend(
        self,
        qkv: Tensor,
        height: int,
        width: int,
        rpe: Callable[[int, int], Tensor] | None,
        branch: int = 0,
        branches: int = 1,
    ) -> Tensor:
        """Attend inside stripes.

        Args:
            qkv: Queries, keys and values of a branch's channels C, ``(B, H, W, 3, C)``.
            height: Rows of a stripe.
            width: Columns of a stripe.
            rpe: Relative position bias, if any.
            branch: Index of the branch, which says the channels of LePE.
            branches: Branches that share the channels.

        Returns:
            ``(B, H, W, C)``. Maps are padded with zeros on all sides to full stripes after the projection,
            as the paper's dense-prediction code does; the padding is not masked.
        """
        H, W, C = qkv.shape[1], qkv.shape[2], qkv.shape[4]
        tokens = height * width
        below, right = -H % height, -W % width
        if below or right:
            sides = (right // 2, right - right // 2, below // 2, below - below // 2)
            qkv = F.pad(qkv, (0, 0, 0, 0, *sides))
        stripes = qkv.unflatten(1, (-1, height)).unflatten(3, (-1, width)).permute(5, 0, 1, 3, 2, 4, 6)
        # One copy, after which queries, keys and values are contiguous each, as LePE's convolution needs.
        separate = stripes.reshape(3, -1, tokens, C)
        q, k, v = separate.unflatten(-1, (-1, self.head_dim)).transpose(2, 3)
        bias = None if rpe is None else rpe(height, width)
        out = attention(q, k, v, bias).transpose(1, 2).reshape(-1, tokens, C)
        if self.lepe is not None:
            out = out + self.lepe(v.transpose(1, 2).flatten(2), height, width, branch, branches)
        merged = window_merge(out, height, width, H + below, W + right)
        return merged[:, below // 2 : below // 2 + H, right // 2 : right // 2 + W]


def blueprint(block: Block, feature_map: FeatureMap, style: Style) -> Call:
    """Return what makes the static module of ``block``."""
    width, heads = int(block.knob("stripe_width")), feature_map.num_heads
    biases: dict[str, Call] = {}
    if block.pos == "rpe" and covers(width, feature_map):
        biases["rpe"] = call(RelativePositionBias, feature_map.height, feature_map.width, heads)
    elif block.pos == "rpe":
        biases["rpe_columns"] = call(RelativePositionBias, feature_map.height, width, heads // 2)
        biases["rpe_rows"] = call(RelativePositionBias, width, feature_map.width, heads // 2)
    return call(
        CrossShapedWindowAttention,
        feature_map.dim,
        heads,
        None if covers(width, feature_map) else width,
        qkv_bias=None if style.qkv_bias else False,
        lepe=call(LocallyEnhancedPosition, feature_map.dim) if block.pos == "lepe" else None,
        **biases,
    )


class ElasticCSWin(Elastic):
    """Weights of CSWin at every stripe width; only the bias depends on it.

    One table holds the bias of the whole map. Stripes use the middle of it: the vertical ones that of the
    first half of the heads, the horizontal ones that of the second.
    """

    def __init__(self, blocks: Sequence[Block], feature_map: FeatureMap, projections: Projections) -> None:
        super().__init__()
        self.projections = projections
        with_lepe = any(block.pos == "lepe" for block in blocks)
        self.lepe = LocallyEnhancedPosition(feature_map.dim) if with_lepe else None
        stripes = [int(block.knob("stripe_width")) for block in blocks if block.pos == "rpe"]
        self.rpe: RelativePositionBias | None = None
        if stripes:
            # A stripe may be wider than the shorter side of its map.
            height, width = max(feature_map.height, *stripes), max(feature_map.width, *stripes)
            self.rpe = RelativePositionBias(height, width, feature_map.num_heads)

    def weight_slices(self, block: Block, feature_map: FeatureMap) -> WeightSlices:
        """Return slices named as ``CrossShapedWindowAttention`` names its parameters."""
        projections, dim, heads = self.projections, feature_map.dim, feature_map.num_heads
        weight_slices, stripe = projections.joint(dim), int(block.knob("stripe_width"))
        if block.pos == "lepe" and self.lepe is not None:
            weight_slices |= prefixed("lepe", projections.value_channels(self.lepe, dim))
        if block.pos == "rpe" and self.rpe is not None:
            rows, columns, span = 2 * feature_map.height - 1, 2 * feature_map.width - 1, 2 * stripe - 1
            table, chosen, half = full(self.rpe)["table"], projections.heads(heads, 2), heads // 2
            if covers(stripe, feature_map):
                weight_slices["rpe.table"] = table.then(chain(centred(rows, columns), chosen))
            else:
                first, second = narrow(half, dim=2), narrow(half, half, dim=2)
                weight_slices |= {
                    "rpe_columns.table": table.then(chain(chosen, first, centred(rows, span))),
                    "rpe_rows.table": table.then(chain(chosen, second, centred(span, columns))),
                }
        return weight_slices


def plain(m: CrossShapedWindowAttention, x: Tensor) -> Tensor:
    """Compute CSWin's attention as its authors' repository does: one direction after the other, with copies."""
    H, W, C = x.shape[1:]
    qkv = m.qkv(x).chunk(3, dim=-1)
    if m.stripe_width is None:
        return m.proj(_plain_stripes(m, qkv, H, W, m.rpe))
    columns = _plain_stripes(m, [t[..., : C // 2] for t in qkv], H, m.stripe_width, m.rpe_columns, 0, 2)
    rows = _plain_stripes(m, [t[..., C // 2 :] for t in qkv], m.stripe_width, W, m.rpe_rows, 1, 2)
    return m.proj(torch.cat([columns, rows], dim=-1))


def plain_by_stripe(m: CrossShapedWindowAttention, x: Tensor) -> Tensor:
    """Compute CSWin's attention by its definition, one stripe after the other."""
    H, W, C = x.shape[1:]
    qkv, width = m.qkv(x).chunk(3, dim=-1), m.stripe_width
    if width is None:
        return m.proj(_plain_stripes(m, qkv, H, W, m.rpe))
    first, second = [t[..., : C // 2] for t in qkv], [t[..., C // 2 :] for t in qkv]
    columns = [
        _plain_stripes(m, [t[:, :, start : start + width] for t in first], H, width, m.rpe_columns, 0, 2)
        for start in range(0, W, width)
    ]
    rows = [
        _plain_stripes(m, [t[:, start : start + width] for t in second], width, W, m.rpe_rows, 1, 2)
        for start in range(0, H, width)
    ]
    return m.proj(torch.cat([torch.cat(columns, dim=2), torch.cat(rows, dim=1)], dim=-1))


def _plain_stripes(
    m: CrossShapedWindowAttention,
    qkv: Sequence[Tensor],
    height: int,
    width: int,
    rpe: Callable[[int, int], Tensor] | None,
    branch: int = 0,
    branches: int = 1,
) -> Tensor:
    """Attend inside stripes of ``height`` x ``width`` with the queries, keys and values of one branch."""
    H, W = qkv[0].shape[1:3]
    stripes = [window_partition(t.contiguous(), height, width) for t in qkv]
    heads = m.num_heads // branches
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2).contiguous() for t in stripes)
    bias = None if rpe is None else rpe(height, width)
    out = plain_attention(q, k, v, bias).transpose(1, 2).flatten(2)
    if isinstance(m.lepe, LocallyEnhancedPosition) and m.lepe.bias is not None:
        weight, shift = m.lepe.weight.chunk(branches)[branch], m.lepe.bias.chunk(branches)[branch]
        maps = stripes[2].transpose(1, 2).contiguous().unflatten(2, (height, width))
        local = F.conv2d(maps, weight, shift, padding=1, groups=maps.shape[1])
        out = out + local.flatten(2).transpose(1, 2).contiguous()
    return window_merge(out, height, width, H, W)


MIXER = Mixer(blueprint, ElasticCSWin, plain)
