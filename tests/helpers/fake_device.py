"""A GPU that is not there: tensors without values that say they lie on one, to find what lies elsewhere.

Operations between devices that CUDA refuses are refused here too, with torch's own sentence. What CUDA does
silently but slowly is refused or counted on top of it: an index on the CPU into a tensor on the GPU, values that
the CPU waits for, copies from one side to the other.

Two devices are imitated, since neither can do all of it without hardware: on ``cuda`` everything but the backward
pass, whose engine asks the driver for a context (gradients are put there instead); on ``lazy`` the backward pass
too, but not mixed precision.

The file contains private names of torch: its fake tensors and the modes of dispatch have no public ones.
"""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._foreach_utils import _get_fused_kernels_supported_devices
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

FakeDevice = Literal["cuda", "lazy"]

aten = torch.ops.aten
_INDEXING = (aten.index, aten.index_put, aten.index_put_, aten._unsafe_index, aten._index_put_impl_)
#: Under inference mode the last two are not turned into the first.
_VALUES = (aten._local_scalar_dense, aten.item, aten.is_nonzero)
_COPIES = (aten._to_copy, aten.copy_)


class DeviceMismatch(RuntimeError):
    """Something lies on another device than what it works with."""


class Watch(TorchDispatchMode):
    """Refuses silent copies of indices and generators of another device; counts waits and copies.

    Attributes:
        waits: How often the CPU asked for a value of the device, by the name of the operation.
        uploads: Copies from the CPU to the device of tensors with a dimension, by their shape.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits, self.uploads = Counter[str](), Counter[tuple[int, ...]]()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func.overloadpacket in _VALUES:
            return self._value(args[0], func.overloadpacket)
        if func.overloadpacket in _INDEXING:
            self._check_indices(func, args)
        out = func(*args, **kwargs)
        if func.overloadpacket in _COPIES:
            source = args[1] if func.overloadpacket is aten.copy_ else args[0]
            self._count_copy(func, source, out)
        generator = kwargs.get("generator")
        if generator is not None:
            self._check_generator(func, generator, out)
        return out

    def _value(self, tensor: Tensor, asked: Any) -> bool | int | float:
        if tensor.device.type != "cpu":
            self.waits["item"] += 1
        if tensor.dtype == torch.bool or asked is aten.is_nonzero:
            return True
        return 1.0 if tensor.is_floating_point() else 1

    def _check_indices(self, func: Any, args: tuple[Any, ...]) -> None:
        table, indices = args[0], tree_leaves(args[1])
        for index in indices:
            if isinstance(index, Tensor) and index.device.type != table.device.type:
                raise DeviceMismatch(
                    f"{func}: an index {tuple(index.shape)} on {index.device} into a tensor on {table.device}"
                )

    def _count_copy(self, func: Any, source: Tensor, out: Tensor) -> None:
        before, after = source.device.type, out.device.type
        if before == after:
            return
        if after == "cpu":
            self.waits[str(func.overloadpacket)] += 1
        elif source.ndim:
            self.uploads[tuple(source.shape)] += 1

    def _check_generator(self, func: Any, generator: torch.Generator, out: Any) -> None:
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and tensor.device.type != generator.device.type:
                raise DeviceMismatch(
                    f"{func}: a generator on {generator.device} for a tensor on {tensor.device}"
                )


@contextlib.contextmanager
def fake_device(kind: FakeDevice = "cuda") -> Iterator[tuple[torch.device, Watch]]:
    """Imitate a device; every tensor made or moved while it lasts is without values.

    Modules and real tensors are moved as usual: ``module.to(device)``, ``tensor.to(device)``.
    """
    watch = Watch()
    with pytest.MonkeyPatch.context() as patch:
        _pretend(patch, kind)
        with FakeTensorMode(allow_non_fake_inputs=True), watch:
            yield torch.device(kind, 0), watch


def _pretend(patch: pytest.MonkeyPatch, kind: FakeDevice) -> None:
    """Let torch and the timing code believe that the device is there."""
    patch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    patch.setattr("torch.cuda.is_bf16_supported", lambda *_, **__: True)
    patch.setattr("torch.cuda.synchronize", lambda *_: None)
    patch.setattr("torch.cuda.get_device_name", lambda *_: "a GPU that is not there")
    patch.setattr("torch.cuda.mem_get_info", lambda *_: (2**34, 2**34))
    patch.setattr("torch.cuda.Event", FakeEvent)
    patch.setattr(nn.Module, "_apply", _apply)
    patch.setattr(FakeTensor, "__deepcopy__", _deepcopy, raising=False)
    if kind == "cuda":
        patch.setattr(Tensor, "backward", put_gradients)
    else:
        name = "_get_fused_kernels_supported_devices"
        devices = [*_get_fused_kernels_supported_devices(), kind]
        for module in list(sys.modules.values()):
            if name in getattr(
                module, "__dict__", ()
            ):  # asking the module would import what it imports lazily
                patch.setattr(module, name, lambda: devices)


def _apply(module: nn.Module, function: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """Replace all tensors of a module; torch's own way fills parameters anew, which cannot change their type."""
    for each in module.modules() if recurse else (module,):
        for name, parameter in each.named_parameters(recurse=False):
            with torch.no_grad():
                replacement = nn.Parameter(function(parameter), parameter.requires_grad)
            each.register_parameter(name, replacement)
        for name, buffer in each.named_buffers(recurse=False):
            if isinstance(buffer, FakeTensor):
                buffer.constant = None  # its value, which torch would move to the real device
            setattr(each, name, function(buffer))
    return module


def _deepcopy(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
    """Copy a tensor without values; torch's own copy asks for its address."""
    if id(tensor) not in memo:
        copy = torch.empty_like(tensor, requires_grad=False)
        memo[id(tensor)] = (
            nn.Parameter(copy, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else copy
        )
    return memo[id(tensor)]  # type: ignore[no-any-return]


class FakeEvent:
    """An event after which no time passes: every span takes a millisecond."""

    def __init__(self, enable_timing: bool = False, **_: Any) -> None:
        self.timing = enable_timing

    def record(self, *_: Any) -> None:
        """Do nothing."""

    def synchronize(self) -> None:
        """Do nothing."""

    def query(self) -> bool:
        """Return that it has passed."""
        return True

    def elapsed_time(self, other: FakeEvent) -> float:
        """Return milliseconds."""
        return 1.0


def put_gradients(loss: Tensor, *_: Any, **__: Any) -> None:
    """Give every parameter that a loss depends on a gradient, as its backward pass would."""
    seen, waiting = set[Any](), [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        waiting.extend(following for following, _ in node.next_functions)
        leaf = getattr(node, "variable", None)
        if leaf is not None and leaf.grad is None:
            leaf.grad = torch.empty_like(leaf)


def require_on(device: torch.device, module: nn.Module) -> None:
    """Fail if a parameter, gradient or buffer of a module lies elsewhere."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        for each in (tensor, tensor.grad):
            if each is not None and each.device.type != device.type:
                raise DeviceMismatch(f"{name} is on {each.device}, not on {device}")
