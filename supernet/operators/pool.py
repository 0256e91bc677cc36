"""Pooling, the token mixer of PoolFormer that learns nothing (MetaFormer, arXiv 2111.11418, section 3.2).

Every position takes the mean of its neighbourhood, less itself, since the residual around the operator adds it
(eq. 4). It has no parameters and no multiply-adds that are counted: what a network reaches with it is what norms,
MLPs and the skeleton reach, and the control for every other operator.

PoolFormer itself is not among the published designs: its blocks have a GroupNorm of one group and a learned scale
on both branches, which no ``Style`` has.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.architecture import Block
from search_spaces.operators import FeatureMap
from search_spaces.skeleton import Style
from supernet.blueprint import Call, call
from supernet.elastic import Elastic, Mixer, Projections
from supernet.weight_slices import WeightSlices


class Pooling(nn.Module):
    """Mean of a neighbourhood less its centre.

    Args:
        pool_size: Side of a neighbourhood, odd; at the border only positions on the map count.
    """

    def __init__(self, pool_size: int) -> None:
        super().__init__()
        self.pool_size = pool_size

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, H, W, C)`` to the same shape, for any H and W."""
        padding = self.pool_size // 2
        means = F.avg_pool2d(x.permute(0, 3, 1, 2), self.pool_size, 1, padding, count_include_pad=False)
        return means.permute(0, 2, 3, 1) - x


def blueprint(block: Block, feature_map: FeatureMap, style: Style) -> Call:
    """Return what makes the static module of ``block``."""
    return call(Pooling, block.knob("pool_size"))


class ElasticPooling(Elastic):
    """Pooling has no weights to share."""

    def __init__(self, blocks: Sequence[Block], feature_map: FeatureMap, projections: Projections) -> None:
        super().__init__()

    def weight_slices(self, block: Block, feature_map: FeatureMap) -> WeightSlices:
        """Return no slices."""
        return {}


def plain(m: Pooling, x: Tensor) -> Tensor:
    """Compute pooling as PoolFormer does, on a channels-first copy of the map."""
    x = x.permute(0, 3, 1, 2).contiguous()
    pool = nn.AvgPool2d(m.pool_size, stride=1, padding=m.pool_size // 2, count_include_pad=False)
    return (pool(x) - x).permute(0, 2, 3, 1).contiguous()


MIXER = Mixer(blueprint, ElasticPooling, plain)
