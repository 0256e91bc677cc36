"""The program on a cluster's nodes: carried there by Ray, and run with libraries like this machine's.

Workers run the very files of the command that started them, whatever of this project is installed on their nodes or
not. Libraries are too large to carry: theirs have to be there, of the same versions where that decides what is computed
or whether one process understands the other.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata, util
from typing import Any

from search_spaces.errors import BudgetError

_PACKAGES = ("nas", "search_spaces", "supernet")
#: Libraries that workers import.
_NEEDED = ("numpy", "pydantic", "pyyaml", "rich", "safetensors", "timm", "torch", "torchvision")
#: How many numbers of a version have to be the same; of the others none.
_SAME_NUMBERS = {"python": 2, "ray": 3, "torch": 2}
_PROBE_SECONDS = 60.0
_GIB = 2**30

MISSING = "missing"


@dataclass(frozen=True)
class Node:
    """One machine of a cluster.

    Args:
        name: Its address, with the beginning of Ray's identifier: several may share an address.
        cpus: CPU cores that Ray hands out.
        gpus: GPUs likewise.
        memory: Bytes of memory likewise.
        versions: Of Python and libraries, ``missing`` where there is none; None where the node gives no answer.
    """

    name: str
    cpus: float
    gpus: float
    memory: float
    versions: Mapping[str, str] | None

    def __str__(self) -> str:
        has = f"{self.cpus:g} CPU cores, {self.gpus:g} GPUs, {self.memory / _GIB:.1f} GiB"
        if self.versions is None:
            return f"{has}, does not answer"
        shown = ("python", "torch", "ray", "nas")
        return f"{has}, " + ", ".join(f"{name} {self.versions.get(name, MISSING)}" for name in shown)


def runtime_environment() -> dict[str, Any]:
    """Return what Ray carries to every worker: the packages as they are here, some 2 MB without compiled files.

    Nothing where ``ray job submit`` has sent packages of its own with the command, which its workers have as well.
    """
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") or "{}")
    if (job.get("runtime_env") or {}).get("py_modules"):
        return {}
    folders = [
        folder
        for name in _PACKAGES
        if (found := util.find_spec(name)) is not None
        for folder in found.submodule_search_locations or ()
    ]
    return {"py_modules": folders, "excludes": ["__pycache__"]}


def read_versions(names: Iterable[str] = (*_NEEDED, "ray", "nas")) -> dict[str, str]:
    """Return the versions of Python and of packages that are installed in this process's environment."""
    versions = {"python": platform.python_version()}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = MISSING
    return versions


def examine_nodes(ray: Any) -> list[Node]:
    """Return the machines of the cluster that this process is connected to, each asked by a small task of its own.

    Args:
        ray: The module.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # By value: the node that lacks a library that this module imports is the one to hear of.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        task = ray.remote(read_versions)
        nodes = [node for node in ray.nodes() if node["Alive"]]
        asked = [
            task.options(
                num_cpus=0,
                max_retries=0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
            ).remote()
            for node in nodes
        ]
    finally:
        ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    ray.wait(asked, num_returns=len(asked), timeout=_PROBE_SECONDS)
    return [
        Node(
            f"{node['NodeManagerAddress']}/{node['NodeID'][:6]}",
            node["Resources"].get("CPU", 0.0),
            node["Resources"].get("GPU", 0.0),
            node["Resources"].get("memory", 0.0),
            _read_answer(ray, answer),
        )
        for node, answer in zip(nodes, asked, strict=True)
    ]


def _read_answer(ray: Any, answer: Any) -> Mapping[str, str] | None:
    try:
        found: Mapping[str, str] = ray.get(answer, timeout=0)
    except ray.exceptions.RayError:
        return None
    return found


def find_differences(nodes: Sequence[Node], own: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Compare the nodes of a cluster with this process.

    Args:
        nodes: The nodes.
        own: Versions of this process, as `read_versions` returns them.

    Returns:
        What workers cannot run with, and what is only to be known, both in sentences, one for each kind of difference.
    """
    refused: dict[str, list[str]] = {}
    noted: dict[str, list[str]] = {}
    for node in nodes:
        if node.versions is None:
            noted.setdefault("give no answer; workers there may not start", []).append(node.name)
            continue
        for name, version in own.items():
            found = node.versions.get(name, MISSING)
            if name == "nas" or found == version:
                continue
            if found == MISSING:
                refused.setdefault(f"have no {name} (here {version})", []).append(node.name)
            elif name in _SAME_NUMBERS and _numbers(found, name) != _numbers(version, name):
                refused.setdefault(f"have {name} {found} (here {version})", []).append(node.name)
            else:
                noted.setdefault(f"have {name} {found} (here {version})", []).append(node.name)
    return _to_sentences(refused), _to_sentences(noted)


def require_alike(nodes: Sequence[Node]) -> list[str]:
    """Check that workers on all nodes can run what this process sends them; return what else differs, in sentences.

    Raises:
        BudgetError: If some cannot.
    """
    refused, noted = find_differences(nodes, read_versions())
    if refused:
        raise BudgetError(
            f"nodes of the Ray cluster differ from this machine: {'; '.join(refused)}: install the same versions "
            "everywhere (nas doctor shows all)"
        )
    return noted


def _numbers(version: str, name: str) -> list[str]:
    return version.partition("+")[0].split(".")[: _SAME_NUMBERS[name]]


def _to_sentences(nodes_by_difference: Mapping[str, Sequence[str]]) -> list[str]:
    return [f"{', '.join(names)} {what}" for what, names in nodes_by_difference.items()]
