"""Where a result came from: code, versions, machine, seed, command."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from nas.runtime.device import gpu_names
from nas.runtime.secrets import redact_command

_PACKAGES = (
    "nas",
    "einops",
    "mlxtend",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "openvino",
    "optuna",
    "pillow",
    "ray",
    "safetensors",
    "sqlalchemy",
    "timm",
    "torch",
    "torchvision",
)


def provenance(seed: int, command: Sequence[str]) -> dict[str, Any]:
    """Return the description of this run as a JSON object.

    Args:
        seed: The run's seed.
        command: The command line, one argument an item; secrets in it are left out.

    Returns:
        ``commit`` (null outside a checkout), ``dirty``, ``packages``, ``python``, ``platform``,
        ``cpu_count``, ``devices`` (CUDA device names), ``seed``, ``command`` and ``time`` (UTC, ISO 8601).
    """
    commit, dirty = _read_checkout()
    return {
        "commit": commit,
        "dirty": dirty,
        "packages": {name: version for name in _PACKAGES if (version := find_version(name)) is not None},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "devices": list(gpu_names()),
        "seed": seed,
        "command": redact_command(command),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _read_checkout() -> tuple[str | None, bool | None]:
    """Return the checkout's commit and whether files differ from it; (None, None) outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    # An installed copy may lie inside some other repository, whose commit would say nothing about this code.
    if (top := _run_git(root, "rev-parse", "--show-toplevel")) is None or Path(top).resolve() != root:
        return None, None
    commit = _run_git(root, "rev-parse", "HEAD")
    # Studies are made by the code and are no part of it; the search being recorded is one of them.
    changes = _run_git(root, "status", "--porcelain", "--", ".", ":(exclude)studies")
    return commit, None if commit is None or changes is None else bool(changes)


def _run_git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def find_version(name: str) -> str | None:
    """Return the version of an installed package; None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
