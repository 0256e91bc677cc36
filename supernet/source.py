"""The source of a subnet as one readable file that needs torch alone.

The file is not filled into a template: it has the text of the classes that the subnet is built from, those of
this network and no others, and the constructor calls of its ``network_blueprint``. The definitions that belong to
it are found by following names through the syntax trees of the modules.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import json
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from graphlib import TopologicalSorter
from itertools import groupby
from typing import Any

from search_spaces.architecture import Architecture
from supernet.blueprint import Call
from supernet.source_ends import CREATE, LOAD, PREDICT, PREDICTABLE
from supernet.subnet import network_blueprint

_WIDTH = 110


def model_source(
    architecture: Architecture,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    title: str,
    test_crop: float = 1.0,
) -> str:
    """Return the text of ``model.py`` for one architecture.

    Args:
        architecture: The design.
        mean: Mean of each channel of the training images, in 0..1.
        std: Standard deviation of each channel.
        title: First line of the file's docstring.
        test_crop: Share of an image's shorter side that the network is shown.
    """
    predicts = architecture.in_channels in PREDICTABLE
    blueprint = network_blueprint(architecture)
    collector = _Collector({_package(call.target) for call in _all_calls(blueprint)} - {"torch"})
    collector.add_all(blueprint)
    imports = collector.imports | {("json", ""), ("zlib", ""), ("pathlib", "Path")}
    imports |= {("torch", ""), ("torch", "Tensor"), ("torch", "nn")}
    height, width = architecture.image_size
    constants: dict[str, Any] = {"IMAGE_SIZE": (height, width), "MEAN": tuple(mean), "STD": tuple(std)}
    constants |= {"TEST_CROP": test_crop} if predicts else {}
    head = [
        _docstring(architecture, title),
        "from __future__ import annotations",
        _import_block(imports),
        "\n".join(f"{name} = {render(value, lead=len(name) + 3)}" for name, value in constants.items()),
    ]
    body = [
        *(part for name in collector.order() for part in _section(_read(name), collector.names[name])),
        _heading("This network."),
        CREATE + "    return " + render(blueprint, 4, 7),
        LOAD,
        *([PREDICT.replace("MODE", PREDICTABLE[architecture.in_channels])] if predicts else []),
    ]
    return "\n\n".join(head) + "\n\n\n" + "\n\n\n".join(body) + "\n"


# -- which definitions, in which order -------------------------------------------------------------


@dataclass(frozen=True)
class _Module:
    """A module's top-level definitions and imports by name."""

    text: str
    summary: str
    definitions: dict[str, ast.stmt] = field(default_factory=dict)
    imports: dict[str, tuple[str, str | None]] = field(default_factory=dict)

    def segment(self, name: str) -> str:
        """Return the text of one definition."""
        node = self.definitions[name]
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        return "\n".join(self.text.splitlines()[first - 1 : node.end_lineno])


@cache
def _read(name: str) -> _Module:
    imported = importlib.import_module(name)
    text, package = inspect.getsource(imported), imported.__package__ or ""
    tree = ast.parse(text)
    module = _Module(text, (ast.get_docstring(tree) or "").partition("\n")[0])
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            module.definitions[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    module.definitions[target.id] = node
        elif isinstance(node, ast.Import):
            for alias in node.names:
                module.imports[alias.asname or alias.name] = (alias.name, None)
        elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
            source = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            for alias in node.names:
                module.imports[alias.asname or alias.name] = (source, alias.name)
    return module


class _Collector:
    """Collects the definitions that a network needs, module by module.

    Args:
        packages: Whose definitions are copied; those of other packages are imported.
    """

    def __init__(self, packages: set[str]) -> None:
        self.packages = packages | {"supernet", "search_spaces"}
        self.names: dict[str, set[str]] = {}
        self.uses: dict[str, set[str]] = {}
        self.imports: set[tuple[str, str]] = set()

    def add_all(self, blueprint: Call) -> None:
        """Add what ``blueprint`` calls, and what its arguments call."""
        target = blueprint.target
        if not _is_torch(target):
            self.add(target.__module__, target.__name__)
        for argument in _argument_calls(blueprint):
            self.add_all(argument)
            if not _is_torch(target) and not _is_torch(argument.target):
                self.uses[target.__module__].add(argument.target.__module__)

    def add(self, module_name: str, name: str) -> None:
        """Add one definition and all that it names, in its own module and in those it imports from."""
        module = _read(module_name)
        names = self.names.setdefault(module_name, set())
        uses = self.uses.setdefault(module_name, set())
        if name in names:
            return
        names.add(name)
        words = {node.id for node in ast.walk(module.definitions[name]) if isinstance(node, ast.Name)}
        for word in sorted(words):
            if word in module.definitions:
                self.add(module_name, word)
            elif word in module.imports:
                source, original = module.imports[word]
                if source.partition(".")[0] in self.packages and original is not None:
                    uses.add(source)
                    self.add(source, original)
                else:
                    self.imports.add((source, _import_name(original or "", word)))

    def order(self) -> Iterable[str]:
        """Return the modules in an order in which helpers come before their users, submodules before modules."""
        return TopologicalSorter({name: uses - {name} for name, uses in self.uses.items()}).static_order()


def _package(target: Callable[..., Any]) -> str:
    return target.__module__.partition(".")[0]


def _is_torch(target: Callable[..., Any]) -> bool:
    return _package(target) == "torch"


def _all_calls(blueprint: Call) -> Iterator[Call]:
    """Yield a call and all calls among its arguments, at any depth."""
    yield blueprint
    for argument in _argument_calls(blueprint):
        yield from _all_calls(argument)


def _argument_calls(blueprint: Call) -> Iterator[Call]:
    """Yield the calls that are arguments of a call, or items of a list that is one."""
    return _calls([*blueprint.args, *(value for _, value in blueprint.kwargs)])


def _calls(values: Iterable[Any]) -> Iterator[Call]:
    for value in values:
        if isinstance(value, Call):
            yield value
        elif isinstance(value, list):
            yield from _calls(value)


# -- text ------------------------------------------------------------------------------------------


def render(value: Any, indent: int = 0, lead: int = 0) -> str:
    """Return the expression that builds ``value``, wrapped where it is long.

    Arguments of our own classes are named; equal neighbours in a list are written once, as a loop.

    Args:
        value: A call, a list, a tuple, or a plain value.
        indent: Spaces that the expression's own line starts with.
        lead: Characters before it on that line.
    """
    if isinstance(value, float):
        return repr(value).replace("e-0", "e-")
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if not isinstance(value, Call | list | tuple):
        return repr(value)
    opening, closing, parts = _brackets_and_parts(value)
    comma = "," if isinstance(value, tuple) and len(value) == 1 else ""
    flat = opening + ", ".join(name + render(part) for name, part, _ in parts) + comma + closing
    if all(count == 1 for *_, count in parts) and "\n" not in flat and indent + lead + len(flat) < _WIDTH:
        return flat
    inner, lines = " " * (indent + 4), []
    for name, part, count in parts:
        if count == 1:
            lines.append(f"{inner}{name}{render(part, indent + 4, len(name) + 1)},")
        else:
            loop = f"{inner}    {render(part, indent + 8)}\n{inner}    for _ in range({count})"
            lines.append(f"{inner}*(\n{loop}\n{inner}),")
    return "\n".join([opening, *lines, " " * indent + closing])


def _brackets_and_parts(
    value: Call | list[Any] | tuple[Any, ...],
) -> tuple[str, str, list[tuple[str, Any, int]]]:
    """Return the opening and closing bracket of ``value``, and its parts: prefix, value, repeats in a row."""
    if isinstance(value, list):
        return "[", "]", [("", part, len([*run])) for part, run in groupby(value)]
    if isinstance(value, tuple):
        return "(", ")", [("", part, 1) for part in value]
    target = value.target
    named = [(f"{name}=", part, 1) for name, part in value.kwargs]
    if _is_torch(target):
        return f"nn.{target.__name__}(", ")", [*(("", part, 1) for part in value.args), *named]
    names = inspect.signature(target).parameters
    given = [(f"{name}=", part, 1) for name, part in zip(names, value.args, strict=False)]
    return f"{target.__name__}(", ")", [*given, *named]


def _section(module: _Module, names: set[str]) -> list[str]:
    return [_heading(module.summary), *(module.segment(name) for name in module.definitions if name in names)]


def _heading(text: str) -> str:
    return textwrap.fill(text, _WIDTH, initial_indent="# -- ", subsequent_indent="#    ")


def _docstring(architecture: Architecture, title: str) -> str:
    title = title.replace("\\", "\\\\").replace('"', '\\"')
    design = [
        textwrap.fill(
            ", ".join(
                str(block) if (count := len([*run])) == 1 else f"{count} x {block}"
                for block, run in groupby(stage.blocks)
            ),
            _WIDTH,
            initial_indent=f"    stage {number}: ",
            subsequent_indent="             ",
            break_on_hyphens=False,
        )
        for number, stage in enumerate(architecture.stages, start=1)
    ]
    height, width = architecture.image_size
    channels = architecture.in_channels
    lines = [
        textwrap.fill(title, _WIDTH, break_on_hyphens=False),
        "",
        f"Design {architecture.digest}; a block is written operator(knobs)+position·MLP ratio:",
        "",
        *design,
        "",
        f"Images are (B, {channels}, H, W), {height} x {width} pixels in training; it runs on other sizes too.",
        "Needs torch, and safetensors to read the weights:",
        "",
        "    from model import load_model, normalise",
        "",
        "    model = load_model()",
        f"    images = normalise(pixels)  # pixels: uint8, (B, {channels}, {height}, {width})",
        f"    logits = model(images)  # (B, {architecture.num_classes})",
        "    maps = model.forward_intermediates(images, intermediates_only=True)  # for detection, segmentation",
        *(
            f"    #   stage {number}: (B, {dim}, H / {down}, W / {across})"
            for number, (dim, (down, across)) in enumerate(
                zip((stage.dim for stage in architecture.stages), architecture.strides(), strict=True),
                start=1,
            )
        ),
        "    model.reset_classifier(7)  # for 7 other classes",
        *(
            [
                "",
                "Image files are read with Pillow:",
                "",
                '    predict("image.jpg")  # [(class, probability), ...], the most probable first',
            ]
            if channels in PREDICTABLE
            else []
        ),
    ]
    return '"""' + "\n".join(lines) + '\n"""'


def _import_name(original: str, name: str) -> str:
    return original if original in ("", name) else f"{original} as {name}"


def _import_block(imports: set[tuple[str, str]]) -> str:
    merged: dict[str, set[str]] = {}
    for source, name in imports:
        merged.setdefault(source, set()).add(name)
    groups: dict[bool, list[str]] = {False: [], True: []}
    plain = [(source, "") for source, names in sorted(merged.items()) if "" in names]
    listed = [
        (source, ", ".join(sorted(names - {""}))) for source, names in sorted(merged.items()) if names != {""}
    ]
    for source, names in plain + listed:
        line = f"from {source} import {names}" if names else f"import {source}"
        groups[source.split(".")[0] == "torch"].append(line)
    return "\n\n".join("\n".join(group) for group in groups.values())
