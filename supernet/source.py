"""The source of a subnet as one readable file that needs torch alone.

The file is not a template: it carries the text of the very classes that the subnet was built from, those
of this network's operators and nothing else, and the constructor calls of its ``plan``. Which
definitions belong is found by following names through the syntax trees of the modules.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from search_spaces.architecture import Architecture
from supernet.calls import Call
from supernet.subnet import plan

_OURS = ("supernet", "search_spaces")
_WIDTH = 100


@dataclass
class _Module:
    """A module's top-level definitions and imports by name."""

    text: str
    definitions: dict[str, ast.stmt] = field(default_factory=dict)
    imports: dict[str, tuple[str, str | None]] = field(default_factory=dict)

    @classmethod
    def read(cls, name: str) -> _Module:
        text = inspect.getsource(importlib.import_module(name))
        module = cls(text)
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                module.definitions[node.name] = node
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    if isinstance(target, ast.Name):
                        module.definitions[target.id] = node
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    module.imports[alias.asname or alias.name] = (alias.name, None)
            elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
                for alias in node.names:
                    module.imports[alias.asname or alias.name] = (str(node.module), alias.name)
        return module

    def segment(self, node: ast.stmt) -> str:
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        return "\n".join(self.text.splitlines()[first - 1 : node.end_lineno])


class _Collector:
    """Definitions that some names need, in an order in which they can stand in one file."""

    def __init__(self) -> None:
        self.modules: dict[str, _Module] = {}
        self.texts: dict[tuple[str, str], str] = {}
        self.open: set[tuple[str, str]] = set()
        self.imports: set[str] = set()

    def need(self, module_name: str, name: str) -> None:
        key = (module_name, name)
        if key in self.texts or key in self.open:
            return
        module = self.modules.setdefault(module_name, _Module.read(module_name))
        if name in module.definitions:
            self.open.add(key)
            node = module.definitions[name]
            for used in sorted({n.id for n in ast.walk(node) if isinstance(n, ast.Name)}):
                if used in module.definitions or used in module.imports:
                    self.need(module_name, used)
            self.texts[key] = module.segment(node)
        else:
            source, original = module.imports[name]
            if source.split(".")[0] in _OURS and original is not None:
                self.need(source, original)
            else:
                self.imports.add(_import_line(source, original, name))


def _import_line(source: str, original: str | None, name: str) -> str:
    if original is None:
        return f"import {source}" if source == name else f"import {source} as {name}"
    return f"from {source} import {original}" + ("" if original == name else f" as {name}")


def _targets(value: Any) -> Iterator[Any]:
    if isinstance(value, Call):
        yield value.target
        for part in (*value.args, *(v for _, v in value.kwargs)):
            yield from _targets(part)
    elif isinstance(value, list):
        for part in value:
            yield from _targets(part)


def render(value: Any, indent: int = 0, lead: int = 0) -> str:
    """Return the expression that makes ``value``, broken over lines where it is long.

    Args:
        value: A call, a list, or a plain value.
        indent: Spaces that the expression's own line starts with.
        lead: Characters before it on that line.
    """
    if not isinstance(value, Call | list):
        return repr(value)
    if isinstance(value, Call):
        target = value.target
        name = target.__name__
        opening, closing = (f"nn.{name}(" if target.__module__.startswith("torch.") else f"{name}("), ")"
        parts: list[tuple[str, Any]] = [("", part) for part in value.args]
        parts += [(f"{key}=", part) for key, part in value.kwargs]
    else:
        opening, closing, parts = "[", "]", [("", part) for part in value]
    flat = opening + ", ".join(key + render(part) for key, part in parts) + closing
    if indent + lead + len(flat) <= _WIDTH and "\n" not in flat:
        return flat
    inner = indent + 4
    lines = [" " * inner + key + render(part, inner, len(key) + 1) + "," for key, part in parts]
    return "\n".join([opening, *lines, " " * indent + closing])


def model_source(
    architecture: Architecture, mean: tuple[float, ...], std: tuple[float, ...], title: str
) -> str:
    """Return the text of ``model.py`` for one architecture.

    Args:
        architecture: The design.
        mean: Mean of each channel of the training images, in 0..1.
        std: Standard deviation of each channel.
        title: First line of the file's docstring.
    """
    blueprint = plan(architecture)
    collector = _Collector()
    for target in _targets(blueprint):
        if target.__module__.split(".")[0] in _OURS:
            collector.need(target.__module__, target.__name__)
        else:
            collector.imports.add("from torch import nn")
    collector.imports |= {"import torch", "from torch import Tensor", "from torch import nn"}
    height, width = architecture.image_size
    channels = architecture.in_channels
    parts = [
        f'"""{title}\n\nDesign {architecture.digest}: {architecture}\n\n'
        "Needs torch, and safetensors to read the weights:\n\n"
        "    from model import load_model, normalise\n"
        f"    logits = load_model()(normalise(images))  # images: uint8 (B, {channels}, {height}, {width})\n"
        '"""',
        "from __future__ import annotations",
        _import_block(collector.imports),
        f"IMAGE_SIZE = ({height}, {width})\nMEAN = {tuple(mean)!r}\nSTD = {tuple(std)!r}",
        *collector.texts.values(),
        _CREATE + "    return " + render(blueprint, 4, 7),
        _LOAD,
    ]
    head, rest = parts[:3], parts[3:]
    return "\n\n".join(head) + "\n\n" + "\n\n\n".join(rest) + "\n"


def _import_block(lines: set[str]) -> str:
    merged: dict[str, set[str]] = {}
    for line in lines | {"from pathlib import Path"}:
        if line.startswith("from "):
            source, _, name = line.removeprefix("from ").partition(" import ")
            merged.setdefault(source, set()).add(name)
    plain = sorted(line for line in lines if line.startswith("import "))
    froms = [f"from {source} import {', '.join(sorted(names))}" for source, names in sorted(merged.items())]
    standard = [line for line in (*plain, *froms) if not line.split()[1].startswith("torch")]
    foreign = [line for line in (*plain, *froms) if line.split()[1].startswith("torch")]
    return "\n".join(standard) + "\n\n" + "\n".join(foreign)


_CREATE = '''def create_model() -> Network:
    """Return the network with untrained weights."""
'''

_LOAD = '''def load_model(weights: str | Path | None = None) -> Network:
    """Return the network with its trained weights, ready for inference.

    Args:
        weights: A safetensors file; ``model.safetensors`` beside this file where it is left out.
    """
    from safetensors.torch import load_file

    model = create_model()
    model.load_state_dict(load_file(str(weights or Path(__file__).with_name("model.safetensors"))))
    return model.eval()


def normalise(images: Tensor) -> Tensor:
    """Turn uint8 images ``(B, C, H, W)`` into what the network was trained on."""
    mean, std = (torch.tensor(values, device=images.device).view(-1, 1, 1) for values in (MEAN, STD))
    return (images.float() / 255 - mean) / std'''
