"""Which network is a teacher, as it is typed: ``--teacher timm:NAME[=FILE] | EXPORT_DIR | STUDY:DIGEST | largest``."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from search_spaces.errors import RequestError

#: The largest path of a study's own supernet, once that is trained.
LARGEST = "largest"
#: No teacher, where a study has one.
NONE = "none"
METAVAR = "timm:NAME[=FILE]|EXPORT_DIR|STUDY:DIGEST|largest"
_TIMM = "timm:"
_DIGEST = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True)
class TeacherSpec:
    """A teacher that somebody asks for.

    Args:
        kind: Where it is from.
        name: timm's name of it, or the digest of the design in a study.
        place: File of its weights, its export folder, or its study; none where timm fetches the weights and where
            the study is one's own.
    """

    kind: Literal["timm", "export", "study", "largest"]
    name: str = ""
    place: str | None = None

    @property
    def text(self) -> str:
        """What is typed for it."""
        match self.kind:
            case "timm":
                return f"{_TIMM}{self.name}" + ("" if self.place is None else f"={self.place}")
            case "study":
                return f"{self.place}:{self.name}"
            case "export":
                return str(self.place)
        return LARGEST

    @property
    def weights(self) -> Path | None:
        """The file of its weights, where that is known without opening a study."""
        if self.place is None or self.kind == "study":
            return None
        path = Path(self.place).expanduser()
        return path / "model.safetensors" if self.kind == "export" else path

    def at(self, place: str) -> TeacherSpec:
        """Return the same with another path to what it lies in."""
        return replace(self, place=place)


def parse_teacher(text: str) -> TeacherSpec:
    """Return the teacher that a text asks for; whether it exists is not looked at.

    Raises:
        RequestError: If the text means none.
    """
    if text == LARGEST:
        return TeacherSpec("largest")
    if text.startswith(_TIMM):
        name, equals, file = text.removeprefix(_TIMM).partition("=")
        if not name or (equals and not file):
            raise RequestError(
                f"--teacher {text} must be timm:NAME or timm:NAME=FILE, such as timm:resnet50.a1_in1k"
            )
        return TeacherSpec("timm", name, file or None)
    study, colon, digest = text.rpartition(":")
    if colon and study and _DIGEST.fullmatch(digest):
        return TeacherSpec("study", digest, study)
    if not text.strip():
        raise RequestError(f"--teacher must be {METAVAR.replace('|', ', ')}, not '{text}'")
    return TeacherSpec("export", place=text)
