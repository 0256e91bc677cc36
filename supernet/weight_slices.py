"""Which part of a shared weight a static module uses, and how it is read.

A ``WeightSlice`` is a rule, not a tensor: it is made once for a design and evaluated at every step, where it
returns a view of the shared weight wherever that is possible.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from supernet.functional_module import TensorSlot, tensor_slots

Weights = dict[str, Tensor]
Select = Callable[[Tensor], Tensor]


class StridedPart(NamedTuple):
    """A part of a contiguous weight as one view: where in its memory the entries lie.

    Along however many dimensions a weight is cut, this is one node of the graph of a training step, and the gradient is
    written into zeros once.

    Args:
        size: Size of the view.
        stride: Entries of the weight from one entry of the view to the next, along each dimension.
        offset: Entries of the weight before the first of the view.
        shape: Shape of the part where dimensions of the view are merged, by a copy; None where it is the view.
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    shape: tuple[int, ...] | None

    def of(self, weight: Tensor) -> Tensor:
        """Return this part of a contiguous weight."""
        size, stride, offset, shape = self
        part = weight.as_strided(size, stride, weight.storage_offset() + offset)
        return part if shape is None else part.reshape(shape)


@dataclass(frozen=True, slots=True)
class WeightSlice:
    """A weight that is a part of a shared one.

    Args:
        slot: Where the shared weight is kept; it may be replaced there.
        select: ``(shared weight) -> its part``; all of it where it is left out.
        part: The same part of a contiguous weight, where that is a view or a copy of one.
    """

    slot: TensorSlot
    select: Select | None = None
    part: StridedPart | None = None

    def __call__(self) -> Tensor:
        """Return the weight, a view wherever ``select`` returns one."""
        table, name = self.slot
        value: Tensor = table[name]  # without a call, as every weight of every step is read here
        if self.select is None:
            return value
        if self.part is None or not value.is_contiguous():
            return self.select(value)
        return self.part.of(value)

    def then(self, select: Select) -> WeightSlice:
        """Return the slice that ``select`` makes of this full weight; itself where that is all of it."""
        assert self.select is None, "a weight is sliced once"
        shape = tuple(self.slot.read().shape)
        part = find_part(select, shape)
        # Decided here, so that it costs nothing at every step.
        is_all = part is not None and part.size == shape and part.shape is None
        return self if is_all else WeightSlice(self.slot, select, part)


def find_part(select: Select, shape: Sequence[int]) -> StridedPart | None:
    """Return where the entries that ``select`` selects of a contiguous weight lie; None if no view has them all.

    Args:
        select: What selects them.
        shape: The weight's shape.
    """
    weight = torch.empty(tuple(shape), device="meta")  # has strides, but no entries
    part, memory = select(weight), weight.untyped_storage()
    view = part
    if isinstance(select, Merge) and part.untyped_storage() is not memory:
        view = select.apart(weight)
    if view.untyped_storage() is not memory:
        return None
    merged = None if view is part else tuple(part.shape)
    return StridedPart(tuple(view.shape), view.stride(), int(view.storage_offset()), merged)


WeightSlices = dict[str, WeightSlice]


def full(module: nn.Module) -> WeightSlices:
    """Return slices that are all parameters and buffers of a module, each in full, by name."""
    return {name: WeightSlice(slot) for name, slot in tensor_slots(module).items()}


def materialize(weight_slices: Mapping[str, WeightSlice]) -> Weights:
    """Return the weights that slices stand for now."""
    return {name: weight_slice() for name, weight_slice in weight_slices.items()}


def state(module: nn.Module) -> Weights:
    """Return a module's parameters and buffers by name, as they are (not detached)."""
    return materialize(full(module))


Named = TypeVar("Named")


def prefixed(prefix: str, named: Mapping[str, Named]) -> dict[str, Named]:
    """Return slices or weights under ``prefix.``."""
    return {f"{prefix}.{name}": value for name, value in named.items()}


def narrow(count: int, start: int = 0, dim: int = 0) -> Select:
    """Return what selects ``count`` entries of a weight along ``dim``, from ``start`` on."""
    return lambda weight: weight if weight.shape[dim] == count else weight.narrow(dim, start, count)


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


def centred(height: int, width: int, dim: int = 0) -> Select:
    """Return what selects the ``centre`` of a weight."""
    return lambda weight: centre(weight, height, width, dim)


def first_entries(module: nn.Module, *counts: int) -> WeightSlices:
    """Return slices of a module of one weight, its bias and its statistics: the first entries along each dimension.

    Args:
        module: A linear layer, a convolution or a norm.
        counts: Entries to keep along the weight's first dimensions, all along the others; a bias or statistic has
            the first dimension alone.
    """
    return {name: weight_slice.then(first(*counts)) for name, weight_slice in full(module).items()}


def first(*counts: int) -> Select:
    """Return what selects the first entries along the first dimensions of a weight, as many as it has of them."""

    def select(weight: Tensor) -> Tensor:
        for dim, (count, size) in enumerate(zip(counts, weight.shape, strict=False)):
            if size != count:
                weight = weight.narrow(dim, 0, count)
        return weight

    return select


@dataclass(frozen=True, slots=True)
class Merge:
    """What selects a part whose entries along one dimension are not equally far apart, as those of groups: a copy.

    Args:
        apart: Returns a view in which they lie along several dimensions, a group along each.
        dim: The first of these dimensions.
        count: How many there are.
    """

    apart: Select
    dim: int
    count: int = 2

    def __call__(self, weight: Tensor) -> Tensor:
        """Return the part, these dimensions merged."""
        return self.apart(weight).flatten(self.dim, self.dim + self.count - 1)


def first_of_groups(count: int, groups: int, dim: int = 0) -> Merge:
    """Return what selects ``count`` entries along ``dim``: equally many, the first, of each of ``groups`` groups.

    This is how channels that belong to heads are narrowed: a head keeps its own channels at every width, and the
    first and the second half of the heads stay what they are.
    """
    return Merge(
        chain(lambda weight: weight.unflatten(dim, (groups, -1)), narrow(count // groups, dim=dim + 1)), dim
    )


def chain(*selects: Select) -> Select:
    """Return what selects a part of a part of a weight."""
    *before, last = selects
    if isinstance(last, Merge):
        return Merge(chain(*before, last.apart), last.dim, last.count)

    def select(weight: Tensor) -> Tensor:
        for each in selects:
            weight = each(weight)
        return weight

    return select
