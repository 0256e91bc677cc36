"""What decides the scores of a study, by content: two studies of one fingerprint find the same.

Images count by their digest and the space by its own, files of weights and latencies by what is in them, numbers by
their value. How a path is spelled, where a file lies and what a folder is called is in none of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nas.runtime.documents import read_document
from nas.study.documents import Result
from nas.study.place import find_place
from nas.study.setting import AS_FILE, AS_NAMED_FILES, AS_TEACHER, NOT_COMPARED, declared_settings
from nas.study.settings import Settings
from nas.study.teacher_spec import LARGEST, NONE, parse_teacher
from search_spaces.errors import StudyError
from search_spaces.space import Space

#: By name: digests of the images, the space and of files; the values of all other settings.
Fingerprint = dict[str, Any]

IMAGES, SPACE = "images", "space"
_ABSENT = "absent: "  # and the text of the path
_SHOWN = 12  # letters of a digest that are shown
_SUFFIX = 6  # letters that tell names of studies apart


def compute_fingerprint(settings: Settings, space: Space, images: str) -> Fingerprint:
    """Return the fingerprint of a study.

    Args:
        settings: Its settings; files that they name are read.
        space: Its space, for its images.
        images: Digest of its images.
    """
    return {IMAGES: images, SPACE: space.digest, **_compared_values(settings)}


def _compared_values(settings: Settings) -> dict[str, Any]:
    """Return what is compared of settings, by name."""
    values = {
        **asdict(settings),
        "objectives": list(settings.goal.objectives),
        "own_objectives": [asdict(each) for each in settings.own_objectives],
        **{f"max_{name}": limit for name, limit in settings.limits},
    }
    ways: dict[str, Callable[[Any], Any]] = {
        AS_FILE: _file,
        AS_NAMED_FILES: _named_files,
        AS_TEACHER: _teacher,
    }
    return {
        each.name: ways.get(each.compared, lambda value: value)(values[each.name])
        for each in declared_settings(Settings)
        if each.compared != NOT_COMPARED
    }


class DifferentStudyError(StudyError):
    """A folder holds another study than was asked for.

    Args:
        message: The sentence for people.
        differences: What differs, in words by name.
    """

    def __init__(self, message: str, differences: Mapping[str, str]) -> None:
        super().__init__(message)
        self.differences = differences


def find_differences(stored: Mapping[str, Any], wanted: Fingerprint) -> dict[str, str]:
    """Return in words, by name, what of a stored fingerprint is not as wanted, images first.

    A setting, or a number of a recipe, that the stored one does not know of did not exist then, so it had its default.
    A file that is gone counts as the one it was: what was read of it is in the study.
    """
    defaults = _compared_values(Settings())

    def known(name: str) -> Any:
        default = defaults.get(name)
        value = stored.get(name, default)
        return {**default, **value} if isinstance(default, Mapping) and isinstance(value, Mapping) else value

    return {
        place: difference
        for name, value in wanted.items()
        for place, difference in _describe(name, known(name), value)
    }


def suggest_suffix(fingerprint: Fingerprint) -> str:
    """Return letters that tell a study's name from those of studies with another fingerprint."""
    text = json.dumps(fingerprint, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_SUFFIX]


def digest_file(path: Path) -> str | None:
    """Return the SHA-256 of a file; None where there is none that can be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _file(text: str | None) -> str | None:
    if text is None:
        return None
    return digest_file(Path(text).expanduser()) or f"{_ABSENT}{text}"


def _named_files(texts: tuple[str, ...]) -> list[str]:
    parts = (text.partition("=") for text in texts)
    return [f"{name}={_file(path)}" for name, _, path in parts]


def _teacher(text: str | None) -> str | None:
    """Return which teacher a text asks for, by its weights; None where none teaches the supernet."""
    if text in (None, NONE, LARGEST):
        return None
    spec = parse_teacher(text)
    if spec.kind == "study":
        trained = find_place(str(spec.place)) / "retrained" / spec.name
        results = {path: read_document(path, Result) for path in sorted(trained.glob("*/result.json"))}
        if not results:
            return f"{_ABSENT}{text}"
        best = max(results, key=lambda path: results[path]["val_top1"])
        return f"{spec.name}={_file(str(best.parent / results[best]['weights']))}"
    if spec.weights is None:
        return text
    return f"{spec.name}={_file(str(spec.weights))}"


def _describe(name: str, stored: Any, wanted: Any) -> Iterator[tuple[str, str]]:
    """Yield in what two values differ, and how."""
    if isinstance(wanted, Mapping) and isinstance(stored, Mapping):
        for inner, value in wanted.items():
            if stored.get(inner) != value:
                yield f"{name}.{inner}", f"{name}.{inner}={stored.get(inner)}, not {value}"
    elif stored != wanted and not (_is_gone(wanted) and stored):
        if name == IMAGES:
            yield name, f"other images ({_short(stored)}, not {_short(wanted)})"
        elif name == SPACE:
            yield name, f"another space, scale or image size ({_short(stored)}, not {_short(wanted)})"
        else:
            yield name, f"{name}={_short(stored)}, not {_short(wanted)}"


def _is_gone(value: Any) -> bool:
    return _ABSENT in str(value)


def _short(value: Any) -> str:
    """Return a value for people: digests by their first letters."""
    if isinstance(value, list | tuple):
        return ", ".join(map(_short, value)) or "none"
    name, equals, digest = str(value).rpartition("=")
    if len(digest) == 64 and not set(digest) - set("0123456789abcdef"):
        return f"{name}{equals}{digest[:_SHOWN]}"
    return str(value)
