"""Files that a kill, a crash or a full disk cannot tear.

Every write goes to a temporary file in the same folder, is synced to the disk and then renamed over the
target: a reader sees the old file or the new one, never half of either.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nas.runtime.error_text import first_line
from search_spaces.errors import CheckpointError, StudyError, WorkError


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically, creating its folder if there is none.

    Raises:
        WorkError: The file cannot be written; what stood there before is intact.
    """
    with _replacement(Path(path)) as temporary, open(temporary, "wb") as file:
        file.write(data)


def write_text(path: Path | str, text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8, atomically; raises as `write_bytes` does."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path | str, value: Any) -> None:
    """Write ``value`` as JSON, atomically: indent 2, keys in the order given, a final newline.

    Raises:
        ValueError: ``value`` holds NaN or infinity, which are not JSON.
        WorkError: The file cannot be written.
    """
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def save_tensors(
    path: Path | str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors as safetensors, atomically.

    Views and tied tensors are stored as copies of their own, since the format knows neither.

    Args:
        path: The file.
        tensors: Name to tensor, on any device.
        metadata: Strings kept in the file's header.

    Raises:
        WorkError: The file cannot be written; what stood there before is intact.
    """
    storages: set[int] = set()
    copies: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        copy = tensor.detach().cpu().contiguous()
        storage = copy.untyped_storage()
        if storage.data_ptr() in storages or storage.nbytes() != copy.nbytes:
            copy = copy.clone()
        storages.add(copy.untyped_storage().data_ptr())
        copies[name] = copy
    with _replacement(Path(path)) as temporary:
        save_file(copies, temporary, dict(metadata or {}))


def load_tensors(path: Path | str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file into CPU tensors.

    Returns:
        The tensors by name, and the header's strings.

    Raises:
        CheckpointError: The file is absent, truncated or not safetensors.
    """
    if Path(path).is_dir():
        raise CheckpointError(f"{path} is a folder; give a safetensors file")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})
    except FileNotFoundError:
        raise CheckpointError(f"there is no weights file {path}; check the path") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is truncated or not a safetensors file ({first_line(error)}); "
            "copy it again or delete it and make it anew"
        ) from None


def require_writable(folder: Path | str) -> None:
    """Check that files can be made in ``folder``, or in the nearest folder above it that exists; leave none behind.

    Raises:
        StudyError: Something that is no folder is in the way, or files cannot be made there.
    """
    folder = Path(folder)
    existing = next((path for path in (folder, *folder.absolute().parents) if os.path.lexists(path)), folder)
    if not existing.is_dir():
        raise StudyError(f"{folder} cannot be a folder because {existing} is a file; choose another place")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise StudyError(
            f"folder {existing} cannot be written ({error.strerror}); "
            "choose another place or change its rights"
        ) from None


@contextlib.contextmanager
def _replacement(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path``; rename it over ``path`` when the block ends well."""
    # Not tempfile: its files are readable by their owner alone, and a study's folder may be shared.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.chmod(0o666 & ~_umask())  # safetensors makes files for their owner alone
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise WorkError(
            f"{path} cannot be written ({reason}); free some space or choose another folder"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    """Return the process's mask of rights, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    """Wait until the file or folder is on the disk, so that a power cut cannot undo the rename."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
