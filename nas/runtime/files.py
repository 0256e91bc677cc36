"""Files that a kill, a crash or a full disk cannot tear.

Every write goes to a scratch folder beside the target, is synced to the disk and then renamed over the target: a
reader sees the old file or the new one, never half of either. What a kill leaves is one such folder, whose name says
which process made it, so that the next run can sweep it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nas.runtime.error_text import first_line
from search_spaces.errors import CheckpointError, StudyError, WorkError

#: ``.<target>.<where>-<process>.<random>.tmp``; earlier versions did not say where.
_SCRATCH = re.compile(r"\..+\.(?:([0-9a-f]{8})-)?(\d+)\.[0-9a-f]{8}\.tmp", re.DOTALL)
_STALE_SECONDS = 86_400.0
#: Bytes; the limit of the format.
_LONGEST_HEADER = 100_000_000


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
    with _explaining_damage(path), safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})


def load_metadata(path: Path | str) -> dict[str, str]:
    """Read the header's strings of a safetensors file, and none of its tensors.

    safetensors itself would map the whole file as memory of its own, which fails for one larger than the memory.

    Raises:
        CheckpointError: The file is absent, truncated or not safetensors.
    """
    with _explaining_damage(path), open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _LONGEST_HEADER:
            raise ValueError("it does not begin with a header")
        header = json.loads(file.read(length))
        try:
            metadata = dict(header.pop("__metadata__", {}))
            end = max((int(tensor["data_offsets"][1]) for tensor in header.values()), default=0)
        except (AttributeError, LookupError, TypeError) as error:
            raise ValueError("its header does not list tensors") from error
        if os.fstat(file.fileno()).st_size != 8 + length + end:
            raise ValueError("its length is not what its header says")
    return metadata


@contextlib.contextmanager
def _explaining_damage(path: Path | str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise CheckpointError(f"there is no weights file {path}; check the path") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is truncated or not a safetensors file ({first_line(error)}); "
            "copy it again or delete it and make it anew"
        ) from None
    except RuntimeError as error:  # of torch, when memory runs out
        raise CheckpointError(f"{path} cannot be read ({first_line(error)}); free some memory") from None


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
def scratch_folder(target: Path) -> Iterator[Path]:
    """Yield a new folder beside ``target``, on the same disk, which is removed when the block ends."""
    folder = target.with_name(f".{target.name}.{_process_place()}-{os.getpid()}.{secrets.token_hex(4)}.tmp")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep_scratch(root: Path) -> int:
    """Remove what killed writers have left below ``root``; return how many folders or files that were.

    One of this machine goes when its process has ended; one of elsewhere, where nobody can see that, when it is a day
    old.
    """
    left = [path for path in root.rglob(".*.tmp") if _is_left(path)]
    for path in left:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:  # as earlier versions left them
            path.unlink(missing_ok=True)
    return len(left)


def _is_left(path: Path) -> bool:
    if (made := _SCRATCH.fullmatch(path.name)) is None:
        return False
    try:
        age = time.time() - path.lstat().st_mtime
    except OSError:
        return False  # its writer has just removed it
    place, process = made.groups()
    if place == _process_place():
        return not Path("/proc", process).exists()
    return age > _STALE_SECONDS


@functools.cache
def _process_place() -> str:
    """Return eight letters for where process ids mean what they mean here: this boot, this container."""
    try:
        place = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8") + os.readlink(
            "/proc/self/ns/pid"
        )
    except OSError:
        place = platform.node()
    return hashlib.sha256(place.encode()).hexdigest()[:8]


@contextlib.contextmanager
def _replacement(path: Path) -> Iterator[Path]:
    """Yield a temporary name; rename what is written there over ``path`` when the block ends well."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # safetensors writes a temporary file of its own beside what it is given.
        with scratch_folder(path) as folder:
            temporary = folder / path.name
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
