"""Where the study of a name lies: a folder, or a plain name under ``studies/``."""

from __future__ import annotations

import os
from pathlib import Path

from search_spaces.errors import StudyError

#: Where studies of plain names lie.
STUDIES = Path("studies")
#: Any of these makes a folder one of a study, of which others may be lost.
_OF_A_STUDY = {
    "study.yaml",
    "study.db",
    "data.json",
    "front.json",
    "log.txt",
    "storage.txt",
    "supernet",
    "retrained",
}
#: Bytes that file systems take as the name of one folder.
_LONGEST_NAME = 255


def find_place(name: str) -> Path:
    """Return the folder of the study called ``name``, which need not exist.

    Raises:
        StudyError: If no folder can be called so.
    """
    _require_possible(name)
    path = Path(name)
    if os.sep not in name and (not path.is_dir() or _holds_something_else(path)):
        return STUDIES / name
    # ``.`` and ``..`` have a name too, which is that of the study.
    return path if path.name not in ("", "..") else path.resolve()


def _holds_something_else(folder: Path) -> bool:
    """Return whether a folder is in use for anything but a study, such as images that a study is named after."""
    found = {each.name for each in folder.iterdir()} if os.access(folder, os.R_OK) else set()
    return bool(found) and not found & _OF_A_STUDY


def _require_possible(name: str) -> None:
    """Refuse what cannot be the name of a folder on any file system, or not be read when it is printed.

    Raises:
        StudyError: If it is such a name.
    """
    why = None
    if not name.strip():
        why = "it is empty"
    elif any(not letter.isprintable() for letter in name):
        why = f"it holds letters that cannot be printed: {name!r}"
    elif longest := [part for part in Path(name).parts if len(part.encode()) > _LONGEST_NAME]:
        why = f"'{longest[0][:20]}...' has {len(longest[0])} letters and file systems take {_LONGEST_NAME} bytes"
    if why is not None:
        raise StudyError(f"no study can be called so ({why}); give a shorter name of printable letters")
