"""The torch half of axial pooling: the module of a subnet, and which shared weights of a supernet it uses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.architecture import Block
from search_spaces.operators import FeatureMap
from search_spaces.skeleton import Style
from supernet.blueprint import Call, call
from supernet.elastic import Elastic, Mixer, Projections
from supernet.weight_slices import WeightSlices, full


class AxialPooling(nn.Module):
    """Averages of the values along columns and rows, each scaled by channel, summed and projected.

    Args:
        dim: Channels C.
        pool_length: Positions in an average, odd; at the border only those on the map count.
        qkv_bias: Whether the value projection has a bias.
    """

    def __init__(self, dim: int, pool_length: int, *, qkv_bias: bool = True) -> None:
        super().__init__()
        self.pool_length = pool_length
        self.v = nn.Linear(dim, dim, bias=qkv_bias)
        self.scale = nn.Parameter(torch.ones(2, dim))
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, H, W, C)`` to the same shape, for any H and W."""
        v = self.v(x).permute(0, 3, 1, 2)
        columns = self.average(v, self.pool_length, 1).permute(0, 2, 3, 1)
        rows = self.average(v, 1, self.pool_length).permute(0, 2, 3, 1)
        return self.proj(columns * self.scale[0] + rows * self.scale[1])

    def average(self, v: Tensor, height: int, width: int) -> Tensor:
        """Return the means over ``height`` x ``width`` positions around each of ``(B, C, H, W)``."""
        padding = (height // 2, width // 2)
        return F.avg_pool2d(v, (height, width), 1, padding, count_include_pad=False)


def blueprint(block: Block, feature_map: FeatureMap, style: Style) -> Call:
    """Return what builds the static module of ``block``."""
    return call(
        AxialPooling,
        feature_map.dim,
        block.knob("pool_length"),
        qkv_bias=None if style.qkv_bias else False,
    )


class ElasticAxialPooling(Elastic):
    """Weights of axial pooling at every length, which shares all of them with the others."""

    def __init__(self, blocks: Sequence[Block], feature_map: FeatureMap, projections: Projections) -> None:
        super().__init__()
        self.projections = projections  # the supernet may share them among a block's operators
        self.scale = nn.Parameter(torch.ones(2, feature_map.dim))

    def weight_slices(self, block: Block, feature_map: FeatureMap) -> WeightSlices:
        """Return slices named as ``AxialPooling`` names its parameters."""
        dim = feature_map.dim  # a narrower map's channels are the first of each group of heads
        scale = full(self)["scale"].then(self.projections.channels(dim, 1))
        return self.projections.values(dim) | {"scale": scale}


def plain(m: AxialPooling, x: Tensor) -> Tensor:
    """Compute axial pooling by products with a matrix of averages for each axis."""

    def averages(size: int) -> Tensor:
        position = torch.arange(size, device=x.device)
        near = (position[:, None] - position[None, :]).abs() <= m.pool_length // 2
        return (near / near.sum(dim=1, keepdim=True)).to(x.dtype)

    H, W = x.shape[1:3]
    v = m.v(x)
    columns = torch.einsum("hi,biwc->bhwc", averages(H), v)
    rows = torch.einsum("wj,bhjc->bhwc", averages(W), v)
    return m.proj(columns * m.scale[0] + rows * m.scale[1])


MIXER = Mixer(blueprint, ElasticAxialPooling, plain)
