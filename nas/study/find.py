"""Finding a study by what a user types."""

from __future__ import annotations

import os
import re
from pathlib import Path

from nas.study.folder import Study
from nas.study.settings import Settings
from search_spaces.declaration import load_declaration
from search_spaces.errors import SpaceError, StudyError

#: Where studies of plain names lie.
STUDIES = Path("studies")
#: Letters of a space's or images' name in that of a study.
_LONGEST = 80
#: Bytes that file systems take as the name of one folder.
_LONGEST_NAME = 255


def find_study(name: str) -> Study:
    """Return the study called ``name``: a folder, or a plain name under ``studies/``.

    Raises:
        StudyError: If no folder can be called so.
    """
    _require_possible(name)
    path = Path(name)
    if os.sep not in name and not path.is_dir():
        return Study(STUDIES / name)
    # ``.`` and ``..`` have a name too, which is that of the study.
    return Study(path if path.name not in ("", "..") else path.resolve())


def find_default_study(settings: Settings) -> Study:
    """Return the study of these settings where nobody says which: ``studies/SPACE-IMAGES``.

    Earlier versions called it ``studies/SPACE``; one of them that is of images of this name goes on.
    """
    name = default_study_name(settings)
    former = Study(STUDIES / Path(settings.space).stem)
    if not (STUDIES / name).exists() and former.settings_file.is_file() and former.identity() is None:
        if _images_name(former.settings()) == _images_name(settings):
            return former
    return Study(STUDIES / name)


def default_study_name(settings: Settings) -> str:
    """Return what a study is called after: the name of its space and its images."""
    try:
        space = load_declaration(settings.space).name
    except SpaceError:  # which is said when the space is needed
        space = Path(settings.space).stem
    space = re.sub(r"[^\w.-]+", "_", space)
    return f"{space[:_LONGEST]}-{_images_name(settings)[:_LONGEST] or 'images'}"


def _images_name(settings: Settings) -> str:
    kind, _, path = settings.data.partition(":")
    return Path(path).expanduser().resolve().name if kind == "folder" else Path(settings.data).name


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
