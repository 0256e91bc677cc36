"""Elastic layers: the shared weights of an operator, and which of them each of its settings uses.

An elastic layer never computes. Its ``weight_slices(block, feature_map)`` says, for each parameter of the static
module, which part of which shared weight it is. The static module then runs on those parts, views of the shared
weights. The mathematics of an operator is therefore written once, in its static module, and ``supernet path ==
extracted subnet`` holds by construction.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from search_spaces.architecture import Block
from search_spaces.operators import FeatureMap
from search_spaces.skeleton import Style
from supernet.blueprint import Call
from supernet.weight_slices import WeightSlices, full, narrow, prefixed


class Elastic(nn.Module):
    """Shared weights of every setting of one operator in one block of the supernet."""

    @abstractmethod
    def weight_slices(self, block: Block, feature_map: FeatureMap) -> WeightSlices:
        """Return the slices that ``block`` uses on ``feature_map``, by the names of the static module."""


class Projections(nn.Module):
    """Query, key, value and output projections of one operator, or shared by all operators of a block.

    Args:
        dim: Channels.
        bias: Whether the query, key and value projections have a bias.
    """

    def __init__(self, dim: int, bias: bool) -> None:
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim, bias=bias)
        self.proj = nn.Linear(dim, dim)

    def joint(self) -> WeightSlices:
        """Return them as one ``qkv`` layer and ``proj``."""
        return full(self)

    def separate(self) -> WeightSlices:
        """Return them as ``q``, ``kv`` and ``proj``."""
        dim = self.proj.in_features
        return self._rows("q", 0, dim) | self._rows("kv", dim, 2 * dim) | prefixed("proj", full(self.proj))

    def values(self) -> WeightSlices:
        """Return the projection of the values alone, as ``v``, and ``proj``."""
        dim = self.proj.in_features
        return self._rows("v", 2 * dim, dim) | prefixed("proj", full(self.proj))

    def _rows(self, name: str, start: int, count: int) -> WeightSlices:
        rows = {key: value.then(narrow(count, start)) for key, value in full(self.qkv).items()}
        return prefixed(name, rows)


class ElasticFactory(Protocol):
    """Makes the elastic layer of an operator for all blocks of that operator which a stage offers."""

    def __call__(self, blocks: Sequence[Block], feature_map: FeatureMap, projections: Projections) -> Elastic:
        """Return the elastic layer.

        Args:
            blocks: Every block of this operator that may be chosen.
            feature_map: The largest map that they may run on.
            projections: Their query, key, value and output projections.
        """


@dataclass(frozen=True)
class Mixer:
    """The torch half of an operator, a token mixer.

    Args:
        blueprint: ``(block, feature_map, style) -> Call`` of the static module, ``(B, H, W, C)`` to the same shape.
        elastic: Makes the elastic layer.
        plain: ``(static module, x) -> output``: the formulation of the paper's own code with the module's weights,
            for maps that windows divide. ``nas bench operators`` measures the static module against it.
    """

    blueprint: Callable[[Block, FeatureMap, Style], Call]
    elastic: ElasticFactory
    plain: Callable[[Any, Tensor], Tensor]
