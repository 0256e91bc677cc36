"""Running a module on weights given with the call, without copying them into it.

This file contains the private names of torch that the supernet needs: ``nn.Module._parameters`` and
``nn.Module._buffers``, the tables in which a module looks up its tensors. ``torch.func.functional_call`` does the
same in public, at some 20 us a parameter, which is a tenth of a small block's time; assigning to the tables
directly costs a tenth of that. ``tests/supernet/test_functional_module.py`` compares the two, so that a torch which
keeps its tensors elsewhere is noticed there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn


class TensorSlot(NamedTuple):
    """Where a module keeps one of its parameters or buffers.

    Args:
        table: The module's table of parameters or of buffers.
        name: The tensor's name in it.
    """

    table: dict[str, Any]
    name: str

    def read(self) -> Tensor:
        """Return the tensor that the module has now."""
        value: Tensor = self.table[self.name]
        return value


def tensor_slots(module: nn.Module) -> dict[str, TensorSlot]:
    """Return the slots of all parameters and buffers of a module and its submodules, by their dotted names."""
    slots: dict[str, TensorSlot] = {}
    for prefix, submodule in module.named_modules():
        for table in (submodule._parameters, submodule._buffers):
            for name, value in table.items():
                if value is not None:
                    slots[f"{prefix}.{name}" if prefix else name] = TensorSlot(table, name)
    return slots


class FunctionalModule:
    """A module without weights of its own, applied to weights that are given with every call.

    Args:
        module: The module, on the meta device.
        method: The method to apply; the module itself where it is left out.
    """

    def __init__(self, module: nn.Module, method: str | None = None) -> None:
        self.module = module
        self.slots = tensor_slots(module)
        self._apply: Callable[..., Any] = module if method is None else getattr(module, method)

    def run(self, weights: Mapping[str, Tensor], training: bool, *inputs: Tensor | None) -> Any:
        """Apply the module to ``inputs`` with ``weights``.

        Args:
            weights: Every parameter and buffer of the module, by name.
            training: Whether it runs in training mode.
            inputs: What the module is called with.

        Raises:
            KeyError: If the names of ``weights`` are not exactly the module's.
        """
        self.check_names(weights)
        for name, value in weights.items():
            slot = self.slots[name]
            slot.table[slot.name] = value
        return self.run_bound(training, *inputs)

    def run_bound(self, training: bool, *inputs: Tensor | None) -> Any:
        """Apply the module to ``inputs`` with the weights that were assigned last."""
        if self.module.training != training:
            self.module.train(training)
        return self._apply(*inputs)

    def check_names(self, given: Mapping[str, object]) -> None:
        """Raise a KeyError unless ``given`` is named exactly as the module's parameters and buffers."""
        if given.keys() != self.slots.keys():
            odd = sorted(given.keys() ^ self.slots.keys())
            raise KeyError(f"weights do not match {type(self.module).__name__}: {', '.join(odd)}")


class BoundModule:
    """A functional module whose weights are computed anew from their sources whenever it runs.

    Args:
        function: The module.
        sources: What returns each of its parameters and buffers, by name.

    Raises:
        KeyError: If the names of ``sources`` are not exactly the module's.
    """

    def __init__(self, function: FunctionalModule, sources: Mapping[str, Callable[[], Tensor]]) -> None:
        function.check_names(sources)
        self.function = function
        self._bindings = [
            (function.slots[name].table, function.slots[name].name, source)
            for name, source in sources.items()
        ]

    def run(self, training: bool, *inputs: Tensor | None) -> Any:
        """Apply the module to ``inputs`` in training or evaluation mode."""
        for table, name, source in self._bindings:
            table[name] = source()
        return self.function.run_bound(training, *inputs)
