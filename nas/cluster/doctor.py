"""``nas doctor``: what this machine and its cluster offer, and what is missing."""

from __future__ import annotations

import importlib.util
import os
import platform
import socket
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from nas.cluster import ray_cluster
from nas.cluster.address import cluster_address
from nas.cluster.program import examine_nodes, find_differences, read_versions
from nas.runtime.error_text import first_line
from nas.runtime.resources import (
    cache_folder,
    measure_disk,
    measure_memory,
    measure_shared_memory,
    read_words,
)
from search_spaces.errors import NasError

_GIB = 2**30
_PACKAGES = (
    "torch", "torchvision", "timm", "ray", "optuna", "optuna-dashboard", "sqlalchemy", "plotly",
    "safetensors", "onnx", "onnxruntime", "onnxscript", "mlxtend",
)  # fmt: skip
#: Module of a database driver and the scheme of a storage URL that asks for it.
_DRIVERS = {
    "psycopg": "postgresql+psycopg",
    "psycopg2": "postgresql+psycopg2",
    "pymysql": "mysql+pymysql",
    "MySQLdb": "mysql+mysqldb",
}
_RAY_PROCESSES = ("gcs_server", "raylet")
_MIN_MEMORY_GIB, _MIN_SHARED_GIB, _MIN_DISK_GIB = 4, 1, 5


def examine(ray_address: str | None = None) -> dict[str, object]:
    """Look at this machine and its cluster; never fails, whatever is broken.

    Args:
        ray_address: Which Ray cluster is looked at; None for the one that is found.

    Returns:
        Findings by name, as plain values. ``problems`` is a list of sentences that say what to do, empty
        where nothing is wrong.
    """
    problems: list[str] = []
    probes: dict[str, Callable[[list[str]], object]] = {
        "python": _describe_python,
        "packages": _find_packages,
        "cpu_cores": _count_cores,
        "memory": _measure_memory,
        "shared_memory": _measure_shared_memory,
        "disk": _measure_disk,
        "cuda": _find_gpus,
        "bf16": _describe_bf16,
        "ray_cluster": lambda problems: _describe_cluster(problems, ray_address),
        "nodes": _examine_nodes,
        "ray_listens": lambda problems: _describe_listening(problems, ray_address),
        "databases": _find_databases,
        "cache": _describe_cache,
    }
    findings: dict[str, object] = {}
    for name, probe in probes.items():
        try:
            findings[name] = probe(problems)
        except Exception as error:
            # A doctor that falls ill is no help: whatever breaks is a finding like any other.
            findings[name] = "unknown"
            problems.append(f"{name} could not be examined ({type(error).__name__}: {first_line(error)})")
    findings["problems"] = problems
    return findings


def format_finding(finding: object) -> str:
    """Return a finding as text: lists and mappings one entry a line."""
    if isinstance(finding, dict):
        return "\n".join(f"{name} {value}" for name, value in finding.items()) or "none"
    if isinstance(finding, list):
        return "\n".join(map(str, finding)) or "none"
    return str(finding)


def _describe_python(problems: list[str]) -> str:
    return f"{platform.python_version()} ({sys.executable})"


def _find_packages(problems: list[str]) -> dict[str, str]:
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "missing"
    if missing := [name for name, version in versions.items() if version == "missing"]:
        problems.append(f"{', '.join(missing)} not installed; run make setup, or pip install 'nas[all]'")
    return versions


def _count_cores(problems: list[str]) -> int:
    cores = len(os.sched_getaffinity(0))
    quota = read_words(Path("/sys/fs/cgroup/cpu.max"))
    if quota is not None and quota[0] != "max" and (granted := int(quota[0]) / int(quota[1])) < 0.9 * cores:
        problems.append(
            f"this container may use {granted:g} of the {cores} CPU cores it sees; give "
            f"--budget {max(1, int(granted))}cpu"
        )
    return cores


def _measure_memory(problems: list[str]) -> str:
    memory = measure_memory()
    total, free = memory.total, memory.free
    if free < _MIN_MEMORY_GIB * _GIB:
        problems.append(
            f"only {free / _GIB:.1f} GiB of memory are free where {_MIN_MEMORY_GIB} are wanted; close other "
            "programs or use fewer workers, for example --budget 1cpu"
        )
    return f"{total / _GIB:.1f} GiB, {free / _GIB:.1f} GiB free"


def _measure_shared_memory(problems: list[str]) -> str:
    usage = measure_shared_memory()
    if usage.free < _MIN_SHARED_GIB * _GIB:
        problems.append(
            f"/dev/shm has {usage.free / _GIB:.2g} GiB free, too few for what Ray's workers share; start the "
            "container with --shm-size=4g"
        )
    return f"{usage.total / _GIB:.1f} GiB, {usage.free / _GIB:.1f} GiB free"


def _measure_disk(problems: list[str]) -> dict[str, str]:
    findings = {}
    for content, path in (("studies", Path.cwd()), ("temporary files", Path(tempfile.gettempdir()))):
        free = measure_disk(path).free / _GIB
        findings[content] = f"{free:.1f} GiB free at {path}"
        if free < _MIN_DISK_GIB:
            problems.append(
                f"only {free:.1f} GiB of disk are free at {path}; free some space before a long search"
            )
    return findings


def _find_gpus(problems: list[str]) -> list[str]:
    import torch

    if not torch.cuda.is_available():
        if Path("/proc/driver/nvidia/version").exists():
            problems.append(
                f"an NVIDIA driver is here but torch {torch.__version__} cannot use it; install the torch "
                "build for its CUDA version (https://pytorch.org/get-started)"
            )
        return []
    devices = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        devices.append(f"{properties.name}, {properties.total_memory / _GIB:.0f} GiB")
    return devices


def _describe_bf16(problems: list[str]) -> str:
    import torch

    if torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return (
            "yes, by the GPU"
            if native
            else "no, this GPU emulates it (it trains in float16, with a scaled loss)"
        )
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    if any(name in flags for name in ("avx512_bf16", "amx_bf16", " bf16")):
        return "yes, by the CPU (training on CPUs is float32 all the same)"
    return "no, this CPU emulates it slowly (training on CPUs is float32)"


def _describe_cluster(problems: list[str], address: str | None) -> str:
    try:
        cluster = ray_cluster.survey(address, require_same_libraries=False)
    except NasError as error:
        problems.append(str(error))
        return "does not answer"
    if not cluster.running:
        return "none runs; a search starts its own on this machine"
    return f"{cluster.where}: {cluster.cpus:g} CPU cores, {cluster.gpus:g} GPUs"


def _examine_nodes(problems: list[str]) -> dict[str, str]:
    """Describe each machine of the cluster that was found, and name those on which workers could not run."""
    if not ray_cluster.is_connected() or ray_cluster.is_private():
        return {}
    nodes = examine_nodes(ray_cluster.load_ray())
    refused, noted = find_differences(nodes, read_versions())
    problems += [f"nodes {difference}; install the same versions everywhere" for difference in refused]
    problems += [f"nodes {difference}" for difference in noted]
    return {node.name: str(node) for node in nodes}


def _describe_listening(problems: list[str], named: str | None) -> str:
    """Say where the Ray processes of this machine listen, from the kernel's own tables."""
    addresses: set[str] = set()
    ray_runs = False
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "comm").read_text(encoding="utf-8").strip() in _RAY_PROCESSES:
                ray_runs = True
                addresses |= _listening_addresses(process)
        except OSError:
            continue  # it ended meanwhile, or belongs to somebody else
    if ray_runs:
        outside = sorted(
            address for address in addresses if not address.startswith("127.") and address != "::1"
        )
        if outside:
            problems.append(
                f"Ray listens on {', '.join(outside)} and runs the code of whoever connects; keep its ports "
                "behind a firewall, or, for this machine alone, set RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 "
                "before ray start"
            )
        return ", ".join(sorted(addresses)) or "unknown (its processes belong to another user)"
    address = cluster_address(named)
    settings = {**ray_cluster.ray_environment(address), **os.environ}
    if settings["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0":
        return "127.0.0.1, once started"
    if address is None:
        problems.append(
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER is set, so Ray will listen on all interfaces; unset it to "
            "keep Ray on 127.0.0.1"
        )
    return "all interfaces, once started"


def _listening_addresses(process: Path) -> set[str]:
    """Return the addresses on which a process accepts TCP connections."""
    sockets = set()
    for handle in (process / "fd").iterdir():
        try:
            target = os.readlink(handle)
        except OSError:
            continue  # closed meanwhile
        if target.startswith("socket:["):
            sockets.add(target[8:-1])
    addresses = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        path = process / "net" / table
        for line in path.read_text(encoding="utf-8").splitlines()[1:] if path.exists() else ():
            _, local, _, state, *rest = line.split()
            if state == "0A" and rest[5] in sockets:  # 0A is LISTEN
                # The kernel prints the address as 32-bit words in the machine's byte order.
                digits = local.partition(":")[0]
                parts = [bytes.fromhex(digits[at : at + 8])[::-1] for at in range(0, len(digits), 8)]
                text = socket.inet_ntop(family, b"".join(parts)).removeprefix("::ffff:")
                addresses.add("all interfaces" if text in ("0.0.0.0", "::") else text)
    return addresses


def _find_databases(problems: list[str]) -> list[str]:
    found = ["sqlite"]
    found += [scheme for module, scheme in _DRIVERS.items() if importlib.util.find_spec(module) is not None]
    return found


def _describe_cache(problems: list[str]) -> str:
    folder = cache_folder()
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        problems.append(f"the cache folder {folder} cannot be written; set NAS_CACHE_DIR to one that can")
    if not folder.is_dir():
        return f"{folder} (not made yet)"
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{folder} ({size / 2**20:.0f} MiB)"
