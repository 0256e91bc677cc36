"""Finding a study by what a user types."""

from __future__ import annotations

import re
from pathlib import Path

from nas.data.sources.own_dataset import PREFIX as OWN
from nas.data.sources.url import is_url, url_name
from nas.study.folder import Study
from nas.study.place import STUDIES, find_place
from nas.study.settings import Settings
from search_spaces.declaration import load_declaration
from search_spaces.errors import SpaceError

#: Letters of a space's or images' name in that of a study.
_LONGEST = 80


def find_study(name: str) -> Study:
    """Return the study called ``name``: a folder, or a plain name under ``studies/``.

    Raises:
        StudyError: If no folder can be called so.
    """
    return Study(find_place(name))


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
    if is_url(settings.data):
        return re.sub(r"[^\w.-]+", "_", url_name(settings.data))
    kind, _, path = settings.data.partition(":")
    if kind == "folder":
        return Path(path).expanduser().resolve().name
    return re.sub(r"[^\w.-]+", "_", path) if f"{kind}:" == OWN else Path(settings.data).name
