"""The house stands: imports run one way, in no circle, one room alone imports ray, and private names are contained.

`violations` walks the syntax trees, imports within functions included: an import that hides there is an
arrow all the same. Only ``if TYPE_CHECKING`` blocks are left out of the circles, since they never run.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Each package and those that it may import from.
PACKAGES = {
    "search_spaces": {"search_spaces"},
    "supernet": {"supernet", "search_spaces"},
    "nas": {"nas", "supernet", "search_spaces"},
}
BANNED = {"search_spaces": {"torch", "optuna"}}
# The rooms of ``nas`` from top to bottom: each imports from lower floors and from itself.
FLOORS = (
    ("cli",),
    ("api",),
    ("bench",),
    ("pipeline",),
    ("report", "timm"),
    ("export", "insight"),
    ("ranking",),
    ("training",),
    ("evaluation",),
    ("study",),
    ("search", "latency", "data", "cluster"),
    ("runtime",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
RAY_ROOM = "nas/cluster/"
OPERATORS = ("search_spaces.operators", "supernet.operators")
# Files that say they contain private names of another project, and whose.
PRIVATE = {
    "nas/cluster/ray_messages.py": "ray",
    "nas/search/optuna_tables.py": "optuna",
    "nas/training/fake_tensors.py": "torch",
    "nas/training/sharded_step.py": "torch",
    "supernet/functional_module.py": "torch",
    "supernet/compile_blocks.py": "torch",
}
LONGEST = 400
#: Functions whose second argument names an attribute.
BY_NAME = {"getattr", "setattr", "hasattr", "delattr"}


@dataclass(frozen=True)
class Arrow:
    """One import: the module that imports, its target, the line, and whether it ever runs."""

    source: str
    target: str
    file: str
    line: int
    runs: bool


def modules_of(root: Path) -> dict[str, Path]:
    """Map the dotted name of every module in the rooms to its file; a package's name is its __init__."""
    found = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def arrows_of(name: str, path: Path, root: Path, modules: dict[str, Path]) -> Iterator[Arrow]:
    """Yield every import of one module."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    idle = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test).endswith("TYPE_CHECKING")
        for statement in block.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        for target in targets_of(node, package, modules):
            yield Arrow(
                name, target, str(path.relative_to(root)), getattr(node, "lineno", 0), id(node) not in idle
            )


def targets_of(node: ast.AST, package: str, modules: dict[str, Path]) -> Iterator[str]:
    """Yield the modules that one syntax node imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            anchor = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*anchor, *([node.module] if node.module else [])])
        for alias in node.names:
            inner = f"{base}.{alias.name}"
            # "from package import module" points at the module, "from package import name" at the package.
            yield inner if inner in modules or alias.name.startswith("_") else base
    elif (
        isinstance(node, ast.Call)
        and ast.unparse(node.func).rpartition(".")[2] in ("import_module", "__import__")
        and node.args
        and isinstance(node.args[0], ast.Constant)
    ):
        yield str(node.args[0].value)


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Return one circle of the graph, first module repeated at the end; empty where there is none."""
    done: set[str] = set()

    def visit(module: str, trail: list[str]) -> list[str]:
        if module in trail:
            ring = trail[trail.index(module) :]
            first = ring.index(min(ring))
            return [*ring[first:], *ring[:first], ring[first]]
        if module in done:
            return []
        for target in sorted(graph.get(module, ())):
            if found := visit(target, [*trail, module]):
                return found
        done.add(module)
        return []

    return next((found for module in sorted(graph) if (found := visit(module, []))), [])


def violations(root: Path) -> list[str]:
    """Return one sentence for everything in the packages under ``root`` that the design forbids."""
    modules = modules_of(root)
    arrows = [a for name, path in modules.items() for a in arrows_of(name, path, root, modules)]
    found = []
    for arrow in arrows:
        package, target = arrow.source.partition(".")[0], arrow.target.partition(".")[0]
        place = f"{arrow.file}:{arrow.line}"
        if target in PACKAGES and target not in PACKAGES[package]:
            found.append(f"{place} imports {arrow.target}: imports run nas -> supernet -> search_spaces")
        if target in BANNED.get(package, ()):
            found.append(f"{place} imports {target}: {package} does without it")
        if target == "ray" and not arrow.file.startswith(RAY_ROOM):
            found.append(f"{place} imports ray: only {RAY_ROOM} may")
        if below(room_of(arrow.source), room_of(arrow.target)):
            found.append(f"{place} imports {arrow.target}: {room_of(arrow.source)} stands on another floor")
        if private(arrow.target) and target not in PACKAGES and PRIVATE.get(arrow.file) != target:
            found.append(f"{place} imports {arrow.target}: a private name of {target}")
        if operator(arrow.source) and operator(arrow.target) and package == target:
            found.append(f"{place} imports {arrow.target}: operators never import one another")
    for path in modules.values():
        file = str(path.relative_to(root))
        if file not in PRIVATE:
            found.extend(
                f"{file}:{line} uses .{name}: a private name of another file or project"
                for line, name in foreign_attributes(path)
            )
    graph: dict[str, set[str]] = {name: set() for name in modules}
    for arrow in arrows:
        if arrow.runs and arrow.target in modules:
            graph[arrow.source].add(arrow.target)
    if around := circle(graph):
        found.append(f"import circle: {' -> '.join(around)}")
    return found


def foreign_attributes(path: Path) -> Iterator[tuple[int, str]]:
    """Yield ``(line, name)`` of every private attribute that a file reads or sets and does not define itself."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    own: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            own.add(node.name)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node, ast.Name) or ast.unparse(node.value) in ("self", "cls"):
                own.add(node.id if isinstance(node, ast.Name) else node.attr)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and private(node.attr) and node.attr not in own:
            yield node.lineno, node.attr
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in BY_NAME:
            for argument in node.args[1:2]:
                if (
                    isinstance(argument, ast.Constant)
                    and private(str(argument.value))
                    and argument.value not in own
                ):
                    yield node.lineno, str(argument.value)


def room_of(module: str) -> str | None:
    """Return the room of ``nas`` that a module lies in; None for what lies in none."""
    parts = module.split(".")
    return parts[1] if parts[0] == "nas" and len(parts) > 1 and parts[1] in FLOOR else None


def below(source: str | None, target: str | None) -> bool:
    """Return whether ``source`` may not import ``target``: it lies below, or beside on the same floor."""
    return source is not None and target is not None and source != target and FLOOR[source] >= FLOOR[target]


def private(module: str) -> bool:
    """Return whether a dotted name has a part that its project keeps to itself."""
    return any(part.startswith("_") and not part.startswith("__") for part in module.split("."))


def operator(module: str) -> bool:
    """Return whether a module is an operator: in a package of operators, neither __init__ nor _private."""
    parent, _, name = module.rpartition(".")
    return parent in OPERATORS and not name.startswith("_")


def test_the_house_stands() -> None:
    assert violations(ROOT) == []


def test_files_with_private_names_say_so() -> None:
    for file in PRIVATE:
        docstring = ast.get_docstring(ast.parse((ROOT / file).read_text(encoding="utf-8"))) or ""
        assert "private" in docstring, f"{file} must say at its top which private names it contains, and why"


def test_every_file_of_nas_lies_in_a_room() -> None:
    loose = {path.name for path in (ROOT / "nas").glob("*.py")} - {"__init__.py", "__main__.py"}
    rooms = {path.name for path in (ROOT / "nas").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert (loose, rooms) == (set(), set(FLOOR))


def test_no_file_is_long() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for folder in (*PACKAGES, "tests", "studies")
        for path in (ROOT / folder).rglob("*.py")
    }
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_any_subset_of_the_tests_runs_alone() -> None:
    """Which conftest an import would find depends on what else runs, so nothing imports one; folders are packages."""
    files = sorted((ROOT / "tests").rglob("*.py"))
    arrows = [
        arrow
        for path in files
        for arrow in arrows_of(".".join(path.relative_to(ROOT).with_suffix("").parts), path, ROOT, {})
    ]
    assert [
        f"{arrow.file}:{arrow.line} imports {arrow.target}"
        for arrow in arrows
        if "conftest" in arrow.target.split(".")
    ] == []
    folders = {path.parent for path in files if path.name.startswith("test_")}
    assert {str(folder) for folder in folders if not (folder / "__init__.py").exists()} == set()


def test_tests_mirror_the_rooms() -> None:
    folders = {path.parent.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")}
    mirrored = {folder for folder in folders if folder.parts and folder.parts[0] in PACKAGES}
    assert {str(folder) for folder in mirrored if not (ROOT / folder).is_dir()} == set()


# --- the checker itself, on small houses with one fault each ---

SOUND = {
    "search_spaces/__init__.py": "from search_spaces.space import Space",
    "search_spaces/space.py": "import json\nfrom search_spaces.errors import E",
    "search_spaces/errors.py": "E = 1",
    "supernet/__init__.py": "",
    "supernet/kernels.py": "import torch",
    "supernet/operators/__init__.py": "from supernet.operators import gsa, lsa",
    "supernet/operators/_base.py": "from supernet.kernels import x",
    "supernet/operators/lsa.py": "from supernet.operators._base import Base\nfrom search_spaces import Space",
    "supernet/operators/gsa.py": "from . import _base",
    "nas/__init__.py": "",
    "nas/search/__init__.py": "",
    "nas/cluster/pool.py": "import ray\nfrom ray import train\nfrom nas.runtime import files",
    "nas/runtime/files.py": "import os",
    "nas/search/loop.py": (
        "from typing import TYPE_CHECKING\nfrom nas.runtime.files import y\nfrom supernet.operators import lsa\n"
        "if TYPE_CHECKING:\n    from nas.search.late import z"
    ),
    "nas/search/late.py": "from nas.search.loop import s",
    "nas/study/folder.py": "from nas.search.loop import s\nfrom nas.cluster.pool import p",
}


def build(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_sound_house_has_no_violations(tmp_path: Path) -> None:
    assert violations(build(tmp_path, SOUND)) == []


@pytest.mark.parametrize(
    ("file", "text", "sentence"),
    [
        ("supernet/kernels.py", "import nas.search.loop", "supernet/kernels.py:1 imports nas.search.loop: imports run"),
        ("search_spaces/errors.py", "from supernet import kernels", "imports supernet.kernels: imports run"),
        ("search_spaces/errors.py", "def f():\n    from nas import search", "errors.py:2 imports nas.search: imports"),
        ("search_spaces/errors.py", "import torch.nn as nn", "imports torch: search_spaces does without it"),
        ("search_spaces/errors.py", "from optuna.trial import Trial", "imports optuna: search_spaces does"),
        ("search_spaces/new/deep.py", "from torch import Tensor", "new/deep.py:1 imports torch"),
        ("nas/search/loop.py", "from ray import tune", "nas/search/loop.py:1 imports ray: only nas/cluster/ may"),
        ("nas/search/loop.py", "import importlib\nimportlib.import_module('ray.tune')", "loop.py:2 imports ray"),
        ("nas/search/loop.py", "from nas.cluster import pool", "imports nas.cluster.pool: search stands on another"),
        ("nas/runtime/files.py", "def f():\n    import nas.study.folder", "files.py:2 imports nas.study.folder: run"),
        ("nas/search/loop.py", "from optuna.storages._rdb import models", "a private name of optuna"),
        ("supernet/kernels.py", "from torch import _dynamo", "imports torch._dynamo: a private name of torch"),
        ("nas/search/loop.py", "def f(study):\n    return study._storage", "loop.py:2 uses ._storage: a private"),
        ("nas/search/loop.py", "def f(study):\n    return getattr(study, '_storage')", "loop.py:2 uses ._storage: a"),
        ("supernet/kernels.py", "try:\n    import ray\nexcept ImportError: pass", "kernels.py:2 imports ray"),
        ("supernet/operators/gsa.py", "from supernet.operators.lsa import f", "never import one another"),
        ("search_spaces/operators/gsa.py", "import search_spaces.operators.lsa", "never import one another"),
        ("supernet/operators/gsa.py", "from . import lsa", "gsa.py:1 imports supernet.operators.lsa:"),
        ("supernet/operators/gsa.py", "from .lsa import f", "gsa.py:1 imports supernet.operators.lsa:"),
        ("search_spaces/errors.py", "from . import space", "search_spaces.errors -> search_spaces.space"),
        ("search_spaces/errors.py", "import search_spaces.space", "import circle: search_spaces.errors -> "),
        ("supernet/kernels.py", "def f():\n    from supernet.operators import gsa", "import circle:"),
        ("supernet/operators/_base.py", "from supernet.operators import gsa", "import circle:"),
    ],
)  # fmt: skip
def test_each_fault_is_found(tmp_path: Path, file: str, text: str, sentence: str) -> None:
    found = violations(build(tmp_path, {**SOUND, file: text}))
    assert any(sentence in one for one in found), found


@pytest.mark.parametrize("module", ["nas.evaluation.population", "nas.pipeline.run"])
def test_slow_imports_are_left_to_those_who_need_them(module: str) -> None:
    """Workers that evaluate, and the command before it trains, start without timm: half of an import's time."""
    program = f"import sys, {module}; print(*(n for n in ('timm', 'torchvision', 'torch._dynamo') if n in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_worker_holds_and_runs_a_supernet_without_the_compiler() -> None:
    """Modules on the meta device would load it to draw weights they have no memory for: 6 to 9 s for each worker."""
    program = """
import sys, torch
from nas.evaluation.population import EvaluationWorker, payload_from_batches
from search_spaces.declaration import load_declaration
from random import Random
from supernet.supernet import Supernet
space = load_declaration("twins_cswin").space("nano", 28, 1, 10)
images = torch.zeros(2, space.in_channels, *space.image_size)
payload = payload_from_batches(Supernet(space), [(images, torch.zeros(2, dtype=torch.long))], [images])
EvaluationWorker(payload, "cpu").score([(space.sample(Random(0)).to_json(), 0.0)])
print(*(name for name in ("torch._dynamo", "sympy") if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
