"""Reading JSON files that people, disks and other programs may have damaged: one sentence names file and key."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.runtime.error_text import first_line
from search_spaces.errors import NasError, StudyError
from search_spaces.limits import DOCUMENT_BYTES

if TYPE_CHECKING:  # a machine that only measures may lack it
    from pydantic import TypeAdapter, ValidationError

_LONGEST = 60  # letters of a wrong value that are shown


def read_json(path: Path) -> Any:
    """Read a JSON file of any content.

    Raises:
        StudyError: If it is absent, not UTF-8 or not JSON.
    """
    try:
        return json.loads(_read(path))
    except RecursionError:
        raise StudyError(f"cannot read {path}: it is nested too deeply; restore it") from None
    except ValueError as error:
        raise StudyError(f"cannot read {path}: {error}") from None


def read_text(path: Path) -> str:
    """Read a text file.

    Raises:
        StudyError: If it is absent or not UTF-8.
    """
    try:
        return _read(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise StudyError(f"cannot read {path}: it is not UTF-8 ({error.reason}); restore it") from None


def read_document(path: Path, kind: Any) -> Any:
    """Read a JSON file of one kind.

    Args:
        path: The file.
        kind: What pydantic checks its content against: a dataclass, or a TypedDict whose other keys are kept.

    Returns:
        A value of that kind.

    Raises:
        StudyError: If it is absent, not JSON, or lacks a key or has a wrong value; the sentence names it.
    """
    from pydantic import ValidationError

    content = _read(path)
    try:
        return type_adapter(kind).validate_json(content, strict=True)
    except ValidationError as error:
        raise StudyError(f"cannot read {path}: {format_first(error)}; restore it, or make it anew") from None
    except NasError as error:  # of the kind's own checks
        raise StudyError(f"cannot read {path}: {error}") from None


def format_first(error: ValidationError) -> str:
    """Return the first thing that pydantic found wrong: the key, what is wrong with it, and its value."""
    first = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(map(str, first["loc"]))
    reason = first["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    if first["type"] == "missing":
        return f"it has no '{place}'"
    if first["type"] == "json_invalid":
        return reason
    shown = repr(first["input"])
    shown = shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."
    key = f"'{place}': " if place else ""
    return f"{key}{reason}, not {shown}"


@cache
def type_adapter(kind: Any) -> TypeAdapter[Any]:
    """Return what pydantic checks values of a kind with; building it takes longer than reading a file."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            if why := DOCUMENT_BYTES.refusal(os.fstat(file.fileno()).st_size):
                raise StudyError(f"cannot read {path}: {why}")
            return file.read()
    except OSError as error:
        raise StudyError(f"cannot read {path}: {error.strerror or first_line(error)}") from None
