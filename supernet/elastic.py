"""Elastic layers: shared weights, and how one static module takes its own from them.

An elastic layer never computes. It answers ``weight_slices(...)``: for each parameter of the static module, which
shared weight it is cut from, and how. The static module is applied to what the cuts give, views of the shared
weights. The mathematics of an operator is therefore written once, in its static module, and ``supernet path
== extracted subnet`` holds by construction. Cuts are found once for a design and place; a step only takes them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from torch import Tensor, nn

from search_spaces.architecture import Block
from search_spaces.operators import FeatureMap
from search_spaces.skeleton import Style
from supernet.blueprint import Call

Weights = dict[str, Tensor]
Take = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class WeightSlice:
    """A weight to be taken from a shared one.

    Args:
        store: The table of a module that holds the shared one, which others may put in its place.
        name: Its name there.
        take: What is taken of it; all of it where left out.
    """

    store: dict[str, Any]
    name: str
    take: Take | None = None

    def __call__(self) -> Tensor:
        """Return the weight, a view wherever ``take`` returns one."""
        value: Tensor = self.store[self.name]
        return value if self.take is None else self.take(value)

    def then(self, take: Take) -> WeightSlice:
        """Return a cut of this whole weight."""
        assert self.take is None, "a cut is made in one"
        return WeightSlice(self.store, self.name, take)


WeightSlices = dict[str, WeightSlice]


def full(module: nn.Module) -> WeightSlices:
    """Return all parameters and buffers of a module by name, each whole."""
    weight_slices: WeightSlices = {}
    for prefix, narrow in module.named_modules():
        for store in (narrow._parameters, narrow._buffers):
            for name, value in store.items():
                if value is not None:
                    weight_slices[f"{prefix}.{name}" if prefix else name] = WeightSlice(store, name)
    return weight_slices


def materialize(weight_slices: Mapping[str, WeightSlice]) -> Weights:
    """Return what cuts give."""
    return {name: cut() for name, cut in weight_slices.items()}


def state(module: nn.Module) -> Weights:
    """Return a module's parameters and buffers by name, as they are (not detached)."""
    return materialize(full(module))


def narrow(count: int, start: int = 0, dim: int = 0) -> Take:
    """Return what takes ``count`` of a weight along ``dim``, from ``start`` on."""
    return lambda weight: weight if weight.shape[dim] == count else weight.narrow(dim, start, count)


class Elastic(nn.Module):
    """Weights of every setting of one operator at one place."""

    @abstractmethod
    def weight_slices(self, block: Block, feature_map: FeatureMap) -> WeightSlices:
        """Return how ``block`` takes its weights at ``feature_map``, by the static module's names."""


class Projections(nn.Module):
    """Query, key, value and output projections of attention, own or shared by a block's operators.

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

    def apart(self) -> WeightSlices:
        """Return them as ``q``, ``kv`` and ``proj``."""
        dim = self.proj.in_features
        return self._rows("q", 0, dim) | self._rows("kv", dim, 2 * dim) | prefixed("proj", full(self.proj))

    def values(self) -> WeightSlices:
        """Return those of the values alone, as ``v``, and ``proj``."""
        dim = self.proj.in_features
        return self._rows("v", 2 * dim, dim) | prefixed("proj", full(self.proj))

    def _rows(self, name: str, start: int, count: int) -> WeightSlices:
        rows = {key: cut.then(narrow(count, start)) for key, cut in full(self.qkv).items()}
        return prefixed(name, rows)


Named = TypeVar("Named")


def prefixed(prefix: str, named: Mapping[str, Named]) -> dict[str, Named]:
    """Return cuts or weights under ``prefix.``."""
    return {f"{prefix}.{name}": value for name, value in named.items()}


def centre(weight: Tensor, height: int, width: int, dim: int = 0) -> Tensor:
    """Return the middle of a weight: a smaller kernel, the bias of a smaller window.

    Args:
        weight: A weight with rows along ``dim`` and columns along the next dimension.
        height: Rows to keep.
        width: Columns to keep.
        dim: The dimension of the rows.
    """
    top, left = (weight.shape[dim] - height) // 2, (weight.shape[dim + 1] - width) // 2
    return weight.narrow(dim, top, height).narrow(dim + 1, left, width)


def centred(height: int, width: int, dim: int = 0) -> Take:
    """Return what takes the ``centre`` of a weight."""
    return lambda weight: centre(weight, height, width, dim)


def batch_norm(module: nn.Module, channels: int) -> WeightSlices:
    """Return the first ``channels`` of a BatchNorm's weights and statistics, and its count of batches."""
    weight_slices = full(module)
    return {
        name: cut if cut().ndim == 0 else cut.then(narrow(channels)) for name, cut in weight_slices.items()
    }


class FunctionalModule:
    """A static module without weights of its own, to be run on weights given with every call.

    ``torch.func.functional_call`` does the same at some 20 us a parameter, a tenth of a small block's time;
    assigning to the module's own tables costs a tenth of that.

    Args:
        module: The static module, on the meta device.
        method: What of the module to apply; left out, all of it.
    """

    def __init__(self, module: nn.Module, method: str | None = None) -> None:
        self.module = module
        self._apply: Callable[..., Any] = module if method is None else getattr(module, method)
        self.slots = {name: (cut.store, cut.name) for name, cut in full(module).items()}

    def run(self, weights: Weights, training: bool, *inputs: Tensor | None) -> Any:
        """Apply the module to ``inputs`` with ``weights``, every one of its parameters and buffers.

        Raises:
            KeyError: If ``weights`` are not exactly the module's.
        """
        self.check(weights)
        for name, value in weights.items():
            store, key = self.slots[name]
            store[key] = value
        return self.applied(training, *inputs)

    def applied(self, training: bool, *inputs: Tensor | None) -> Any:
        """Apply the module to ``inputs`` with the weights it has."""
        if self.module.training != training:
            self.module.train(training)
        return self._apply(*inputs)

    def check(self, given: Mapping[str, object]) -> None:
        """Raise a KeyError if what is given is not named exactly as the module's parameters and buffers."""
        if given.keys() != self.slots.keys():
            odd = sorted(given.keys() ^ self.slots.keys())
            raise KeyError(f"weights do not match {type(self.module).__name__}: {', '.join(odd)}")


class BoundModule:
    """A static module that takes its weights anew from shared ones whenever it runs.

    Args:
        template: The static module.
        cuts: How it takes them, every one of its parameters and buffers.

    Raises:
        KeyError: If ``weight_slices`` are not exactly the module's.
    """

    def __init__(self, build_on_meta: FunctionalModule, weight_slices: WeightSlices) -> None:
        build_on_meta.check(weight_slices)
        self.build_on_meta = build_on_meta
        self.wires = [(*build_on_meta.slots[name], cut) for name, cut in weight_slices.items()]

    def run(self, training: bool, *inputs: Tensor | None) -> Any:
        """Apply the module to ``inputs``."""
        for store, key, cut in self.wires:
            store[key] = cut()
        return self.build_on_meta.applied(training, *inputs)


class Operator(Protocol):
    """Makes the elastic layer of an operator from every block that may choose it at one place."""

    def __call__(self, blocks: Sequence[Block], feature_map: FeatureMap, projections: Projections) -> Elastic:
        """Return the elastic layer."""


@dataclass(frozen=True)
class Mixer:
    """The two shells of an operator.

    Args:
        plan: ``(block, feature_map, style) -> Call`` of the static module.
        elastic: Makes the elastic layer.
    """

    blueprint: Callable[[Block, FeatureMap, Style], Call]
    elastic: Operator
