"""Where the files lie that a ``study.yaml`` names: it means the same from wherever it is used.

A relative path in it is looked for in its own folder and the folders above that, then in the folder in which the
study was begun (``study.json`` beside it says which), and at last in the current one. The first that exists is
meant, where images are looked for the first that is no study, since a study may be called after its images. The file
of a space that lies nowhere any more is the copy in the study's folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from nas.study.identity import read_identity
from nas.study.settings import Settings
from nas.study.teacher_spec import parse_teacher
from search_spaces.declaration import known_spaces

_FOLDER = "folder:"
_STUDY_FILE = "study.yaml"


def locate(settings: Settings, file: Path) -> Settings:
    """Return settings that were read from a file with paths that lead from the current folder to what it means.

    Args:
        settings: As they stand in the file.
        file: The ``study.yaml``.
    """
    places = list(_places(file))

    def find(text: str, *, images: bool = False) -> str:
        path = Path(text).expanduser()
        if path.is_absolute():
            return text
        for place in places:
            found = place / path
            if found.exists() and not (images and (found / _STUDY_FILE).is_file()):
                return text if path.exists() and found.samefile(path) else str(found)
        return text

    space, data = settings.space, settings.data
    if space not in known_spaces():
        space = find(space)
        if not Path(space).exists() and (copy := file.parent / "space.yaml").is_file():
            space = str(copy)
    if data.startswith(_FOLDER):
        data = _FOLDER + find(data.removeprefix(_FOLDER), images=True)
    named = (text.partition("=") for text in settings.init_from)
    teacher = None if settings.teacher is None else parse_teacher(settings.teacher)
    if teacher is not None and teacher.place is not None:
        teacher = teacher.at(find(teacher.place))
    return replace(
        settings,
        space=space,
        data=data,
        data_dir=None if settings.data_dir is None else find(settings.data_dir, images=True),
        supernet=None if settings.supernet is None else find(settings.supernet),
        latency_table=None if settings.latency_table is None else find(settings.latency_table),
        teacher=None if teacher is None else teacher.text,
        init_from=tuple(f"{name}={find(path)}" for name, _, path in named),
    )


def _places(file: Path) -> Iterator[Path]:
    folder = file.absolute().parent
    yield folder
    yield from folder.parents
    if (identity := read_identity(folder)) is not None:
        yield Path(identity.begun_in)
    yield Path.cwd()
