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
from supernet.weight_slices import (
    Merge,
    WeightSlices,
    chain,
    first_of_groups,
    full,
    narrow,
    prefixed,
)


class Elastic(nn.Module):
    """Shared weights of every setting of one operator in one block of the supernet."""

    @abstractmethod
    def weight_slices(self, block: Block, feature_map: FeatureMap) -> WeightSlices:
        """Return the slices that ``block`` uses on ``feature_map``, by the names of the static module."""


class Projections(nn.Module):
    """Query, key, value and output projections of one operator, or shared by all operators of a block.

    A narrower map uses the first channels of what is read and written, and of queries, keys and values the first of
    each group of heads.

    Args:
        dim: Channels of the widest map.
        bias: Whether the query, key and value projections have a bias.
        head_groups: Equal groups into which the heads of every map can be divided (``WidthChoices.head_groups``).
    """

    def __init__(self, dim: int, bias: bool, head_groups: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim, bias=bias)
        self.proj = nn.Linear(dim, dim)
        self.head_groups = head_groups

    def joint(self, dim: int) -> WeightSlices:
        """Return them as one ``qkv`` layer and ``proj``, for maps of ``dim`` channels."""
        return self._rows("qkv", 0, 3, dim) | self._output(dim)

    def separate(self, dim: int) -> WeightSlices:
        """Return them as ``q``, ``kv`` and ``proj``, for maps of ``dim`` channels."""
        return self._rows("q", 0, 1, dim) | self._rows("kv", 1, 2, dim) | self._output(dim)

    def values(self, dim: int) -> WeightSlices:
        """Return the projection of the values alone, as ``v``, and ``proj``, for maps of ``dim`` channels."""
        return self._rows("v", 2, 1, dim) | self._output(dim)

    def channels(self, dim: int, axis: int = 0) -> Merge:
        """Return what selects the weights of ``dim`` channels of queries, keys or values along an axis."""
        return first_of_groups(dim, self.head_groups, axis)

    def heads(self, num_heads: int, axis: int = 0) -> Merge:
        """Return what selects the weights of ``num_heads`` heads along an axis."""
        return first_of_groups(num_heads, self.head_groups, axis)

    def value_channels(self, module: nn.Module, dim: int) -> WeightSlices:
        """Return slices of a module that has one weight, and a bias, for each channel of the values (LePE)."""
        return {name: value.then(self.channels(dim)) for name, value in full(module).items()}

    def _rows(self, name: str, start: int, count: int, dim: int) -> WeightSlices:
        """Return ``count`` of queries, keys and values, from the ``start``-th on, as a layer."""
        widest = self.proj.in_features
        rows = chain(
            narrow(count * widest, start * widest), first_of_groups(count * dim, count * self.head_groups)
        )
        selects = {"weight": chain(narrow(dim, dim=1), rows), "bias": rows}
        return prefixed(name, {own: value.then(selects[own]) for own, value in full(self.qkv).items()})

    def _output(self, dim: int) -> WeightSlices:
        selects = {"weight": chain(narrow(dim), self.channels(dim, 1)), "bias": narrow(dim)}
        return prefixed("proj", {own: value.then(selects[own]) for own, value in full(self.proj).items()})


class ElasticFactory(Protocol):
    """Makes the elastic layer of an operator for all blocks of that operator which a stage offers."""

    def __call__(self, blocks: Sequence[Block], feature_map: FeatureMap, projections: Projections) -> Elastic:
        """Return the elastic layer.

        Args:
            blocks: Every block of this operator that may be chosen.
            feature_map: As high, wide and deep, and with as many heads, as any map that they may run on; these heads
                need not divide its channels, as the widest map may have fewer.
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
