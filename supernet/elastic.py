"""Elastic layers: shared weights, and the views of them that one static module needs.

An elastic layer never computes. It answers ``weights(...)`` with views of what it holds, named as the
static module's own parameters; ``run`` applies the static module to them. The mathematics of an
operator is therefore written once, in its static module, and ``supernet path == extracted subnet``
holds by construction.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from search_spaces.architecture import Block
from search_spaces.operators import Site
from search_spaces.skeleton import Style
from supernet.calls import Call

Weights = dict[str, Tensor]


class Elastic(nn.Module):
    """Weights of every setting of one operator at one place."""

    @abstractmethod
    def weights(self, block: Block, site: Site) -> Weights:
        """Return views of the weights that ``block`` needs at ``site``, by the static module's names."""


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

    def joint(self) -> Weights:
        """Return them as one ``qkv`` layer and ``proj``."""
        return prefixed("qkv", state(self.qkv)) | prefixed("proj", state(self.proj))

    def apart(self) -> Weights:
        """Return them as ``q``, ``kv`` and ``proj``."""
        dim = self.proj.in_features
        q = {name: value[:dim] for name, value in state(self.qkv).items()}
        kv = {name: value[dim:] for name, value in state(self.qkv).items()}
        return prefixed("q", q) | prefixed("kv", kv) | prefixed("proj", state(self.proj))

    def values(self) -> Weights:
        """Return those of the values alone, as ``v``, and ``proj``."""
        dim = self.proj.in_features
        v = {name: value[2 * dim :] for name, value in state(self.qkv).items()}
        return prefixed("v", v) | prefixed("proj", state(self.proj))


def state(module: nn.Module) -> Weights:
    """Return a module's parameters and buffers by name, as they are (not detached)."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def prefixed(prefix: str, weights: Mapping[str, Tensor]) -> Weights:
    """Return ``weights`` under ``prefix.``."""
    return {f"{prefix}.{name}": value for name, value in weights.items()}


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


def batch_norm(module: nn.Module, channels: int) -> Weights:
    """Return the first ``channels`` of a BatchNorm's weights and statistics."""
    return {name: value if value.ndim == 0 else value[:channels] for name, value in state(module).items()}


class Template:
    """A static module without weights of its own, to be run on weights given with every call.

    Args:
        module: The static module, on the meta device.
        method: What of the module to apply; left out, all of it.
    """

    def __init__(self, module: nn.Module, method: str | None = None) -> None:
        self.module = module
        self._apply: Callable[..., Any] = module if method is None else getattr(module, method)
        self.slots: dict[str, tuple[dict[str, Any], str]] = {}
        for prefix, part in module.named_modules():
            for store in (part._parameters, part._buffers):
                for name, value in store.items():
                    if value is not None:
                        self.slots[f"{prefix}.{name}" if prefix else name] = (store, name)

    def run(self, weights: Weights, training: bool, *inputs: Tensor | None) -> Any:
        """Apply the module to ``inputs`` with ``weights``, every one of its parameters and buffers.

        ``torch.func.functional_call`` does the same at some 20 us a parameter, a tenth of a small
        block's time; assigning to the module's own tables costs a tenth of that.

        Raises:
            KeyError: If ``weights`` are not exactly the module's.
        """
        if weights.keys() != self.slots.keys():
            odd = sorted(weights.keys() ^ self.slots.keys())
            raise KeyError(f"weights do not match {type(self.module).__name__}: {', '.join(odd)}")
        for name, value in weights.items():
            store, key = self.slots[name]
            store[key] = value
        if self.module.training != training:
            self.module.train(training)
        return self._apply(*inputs)


class Operator(Protocol):
    """Makes the elastic layer of an operator from every block that may choose it at one place."""

    def __call__(self, blocks: Sequence[Block], site: Site, projections: Projections) -> Elastic:
        """Return the elastic layer."""


@dataclass(frozen=True)
class Mixer:
    """The two shells of an operator.

    Args:
        plan: ``(block, site, style) -> Call`` of the static module.
        elastic: Makes the elastic layer.
    """

    plan: Callable[[Block, Site, Style], Call]
    elastic: Operator
