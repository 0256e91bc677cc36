"""Operations that make the CPU wait for a GPU, counted while they run on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

#: Operations whose result, or its shape, the CPU needs: ``item``, ``if tensor:``, sizes that depend on values.
WAITING = {
    "_local_scalar_dense", "nonzero", "nonzero_static", "masked_select", "is_nonzero", "equal", "unique_dim",
    "_unique", "_unique2", "unique_consecutive", "bincount", "repeat_interleave", "allclose",
}  # fmt: skip
#: What never reaches the operations of a CPU.
WAITING_METHODS = {"tolist", "numpy", "cpu", "__array__"}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}


class SynchronisationCount:
    """A context that collects the names of such operations in ``found``."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._modes = (_Operations(self.found), _Methods(self.found))

    def __enter__(self) -> SynchronisationCount:
        for mode in self._modes:
            mode.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(*error)


class _Operations(TorchDispatchMode):
    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in WAITING or (name in INDEXING and any(is_mask(index) for index in args[1])):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


class _Methods(TorchFunctionMode):
    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in WAITING_METHODS:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


def is_mask(index: Tensor | None) -> bool:
    """Return whether an index is a mask, for which a GPU looks for what is true in it."""
    return index is not None and index.dtype in (torch.bool, torch.uint8)
