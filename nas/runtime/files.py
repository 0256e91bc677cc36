"""Files that a kill, a crash or a full disk cannot tear.

Every write goes to a scratch folder beside the target, is synced to the disk and then renamed over the target: a
reader sees the old file or the new one, never half of either. What a kill leaves is one such folder, whose name says
which process made it, so that the next run can sweep it. In a folder that another command has taken over, nothing is
replaced (``nas.runtime.fence``).
"""

from __future__ import annotations

import contextlib
import json
import os
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

from nas.runtime.checksum import CHECKSUM_KEY, PLACEHOLDER, find_checksum, read_header, write_checksum
from nas.runtime.error_text import first_line
from nas.runtime.fence import passing
from nas.runtime.processes import process_place
from search_spaces.errors import CheckpointError, StudyError, WorkError

#: ``.<target>.<where>-<process>.<random>.tmp``; earlier versions did not say where.
_SCRATCH = re.compile(r"\..+\.(?:([0-9a-f]{8})-)?(\d+)\.[0-9a-f]{8}\.tmp", re.DOTALL)
_STALE_SECONDS = 86_400.0


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
    path: Path | str,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    former: Path | None = None,
) -> None:
    """Write tensors as safetensors with a checksum of the file, atomically.

    Views and tied tensors are stored as copies of their own, since the format knows neither.

    Args:
        path: The file.
        tensors: Name to tensor, on any device.
        metadata: Strings kept in the file's header.
        former: Where the file goes that is replaced, if one is; it is lost where this is left out.

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
    with _replacement(Path(path), former) as temporary:
        save_file(copies, temporary, {**(metadata or {}), CHECKSUM_KEY: PLACEHOLDER})
        write_checksum(temporary)


def load_tensors(path: Path | str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file into CPU tensors.

    Files without a checksum, as other programs and earlier versions write them, are read without one.

    Returns:
        The tensors by name, and the header's strings but for the checksum.

    Raises:
        CheckpointError: The file is absent, truncated, not safetensors, or not what was written.
    """
    metadata = verify_tensors(path)
    with _explaining_damage(path), safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, metadata


def verify_tensors(path: Path | str) -> dict[str, str]:
    """Check that a safetensors file is what was written, reading all of it; return the header's strings.

    Raises:
        CheckpointError: As `load_tensors` does.
    """
    metadata = _read_strings(path)
    if (stored := metadata.pop(CHECKSUM_KEY, None)) is not None:
        with _explaining_damage(path), open(path, "rb") as file:
            found = find_checksum(file, stored)
        if found != stored:
            raise CheckpointError(
                f"{path} is damaged (its checksum is {found}, and {stored} when it was written); copy it again, or "
                "delete it and make it anew"
            )
    return metadata


def load_metadata(path: Path | str) -> dict[str, str]:
    """Read the header's strings of a safetensors file but for the checksum, and none of its tensors.

    safetensors itself would map the whole file as memory of its own, which fails for one larger than the memory.

    Raises:
        CheckpointError: The file is absent, truncated or not safetensors.
    """
    metadata = _read_strings(path)
    metadata.pop(CHECKSUM_KEY, None)
    return metadata


def _read_strings(path: Path | str) -> dict[str, str]:
    """Return the header's strings of a safetensors file that is as long as its header says."""
    if Path(path).is_dir():
        raise CheckpointError(f"{path} is a folder; give a safetensors file")
    with _explaining_damage(path), open(path, "rb") as file:
        content = read_header(file)
        try:
            header = json.loads(content[8:])
            strings = header.pop("__metadata__", None) or {}
            metadata = {str(name): str(value) for name, value in strings.items()}
            end = max((int(tensor["data_offsets"][1]) for tensor in header.values()), default=0)
        except (AttributeError, LookupError, TypeError, RecursionError) as error:
            raise ValueError("its header does not list tensors") from error
        if os.fstat(file.fileno()).st_size != len(content) + end:
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
    folder = target.with_name(f".{target.name}.{process_place()}-{os.getpid()}.{secrets.token_hex(4)}.tmp")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep_scratch(root: Path, *, below: bool = True) -> int:
    """Remove what killed writers have left in ``root``; return how many folders or files that were.

    One of this machine goes when its process has ended; one of elsewhere, where nobody can see that, when it is a day
    old.

    Args:
        root: A folder.
        below: Whether the folders in it are searched, too.
    """
    found = root.rglob(".*.tmp") if below else root.glob(".*.tmp")
    left = [path for path in found if _is_left(path)]
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
    if place == process_place():
        return not Path("/proc", process).exists()
    return age > _STALE_SECONDS


@contextlib.contextmanager
def _replacement(path: Path, former: Path | None = None) -> Iterator[Path]:
    """Yield a temporary name; rename what is written there over ``path`` when the block ends well.

    What stood there goes to ``former``, if that is given, after it was replaced: a kill loses neither.
    """
    try:
        with passing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        # safetensors writes a temporary file of its own beside what it is given.
        with scratch_folder(path) as folder:
            temporary = folder / path.name
            yield temporary
            temporary.chmod(0o666 & ~_umask())  # safetensors makes files for their owner alone
            _sync(temporary)
            replaced = None if former is None else _second_name(path, folder)
            with passing(path):
                os.replace(temporary, path)
                if replaced is not None and former is not None:
                    os.replace(replaced, former)
        _sync(path.parent)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise WorkError(
            f"{path} cannot be written ({reason}); free some space or choose another folder"
        ) from error


def _second_name(path: Path, folder: Path) -> Path | None:
    """Give a file a second name in a folder of its disk, or copy it where links are unknown; None if there is none."""
    name = folder / f"{path.name}.former"
    if not path.exists():
        return None
    try:
        os.link(path, name)
    except OSError:
        shutil.copyfile(path, name)
        _sync(name)
    return name


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
