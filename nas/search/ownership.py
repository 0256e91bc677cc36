"""To whom a study in a database belongs: its user attributes say which study's folder wrote it.

A study of the wanted name that belongs to another folder, or was made by somebody else's program, is never touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna

from search_spaces.errors import StudyError

#: Attributes of a study in its database.
ID_ATTR, FINGERPRINT_ATTR, FOLDER_ATTR = "nas:id", "nas:fingerprint", "nas:folder"
#: The attribute of a trial with what only this program reads.
TRIAL_ATTR = "nas"


@dataclass(frozen=True)
class Owner:
    """The study that trials belong to.

    Args:
        id: Its id.
        fingerprint: What decides its scores.
        folder: Where it lies, for people who look at the database.
    """

    id: str
    fingerprint: Mapping[str, Any]
    folder: str


def check_owner(storage: optuna.storages.RDBStorage, url: str, name: str, owner: Owner) -> None:
    """Check that a study in a database, if there is one of this name, is the owner's; write nothing.

    Raises:
        StudyError: If it is another's.
    """
    if (study_id := find_study_id(storage, name)) is None:
        return
    attrs = storage.get_study_user_attrs(study_id)
    place = f"study '{name}' in {url}"
    if ID_ATTR not in attrs:
        # One that was stored before studies had ids, or whose first command was killed as it was made.
        if owner.id[:8] not in name and not has_own_trials(storage, study_id):
            raise StudyError(f"{place} was made by another program; choose another --study or --storage")
        return
    if attrs[ID_ATTR] != owner.id:
        raise StudyError(
            f"{place} belongs to another study ({attrs[ID_ATTR][:8]}, not {owner.id[:8]}; of "
            f"{attrs.get(FOLDER_ATTR, 'an unknown folder')}); choose another --study or --storage"
        )
    stored = attrs.get(FINGERPRINT_ATTR, {})
    if different := [name for name, value in owner.fingerprint.items() if stored.get(name, value) != value]:
        raise StudyError(
            f"{place} was searched with other settings than {owner.folder} has now: {', '.join(different)}; restore "
            "that folder's study.json, or choose another --study"
        )


def claim(study: optuna.Study, owner: Owner) -> None:
    """Write down whose a study is, where that is not done; `check_owner` has found that it may be."""
    if study.user_attrs.get(ID_ATTR) != owner.id:
        study.set_user_attr(FOLDER_ATTR, owner.folder)
        study.set_user_attr(FINGERPRINT_ATTR, dict(owner.fingerprint))
        study.set_user_attr(ID_ATTR, owner.id)  # last: where it is, the others are


def find_study_id(storage: optuna.storages.RDBStorage, name: str) -> int | None:
    """Return a study's number in a database, or None where there is none of that name."""
    try:
        return storage.get_study_id_from_name(name)
    except KeyError:
        return None


def find_former_name(storage: optuna.storages.RDBStorage, name: str, *, alone: bool) -> str | None:
    """Return the name of a study that was stored before studies had ids; None where there is none.

    Args:
        storage: The database.
        name: That of the study's folder, which named it then.
        alone: Whether the database is the folder's own: its only study is meant, however the folder is called now.
    """
    studies = {each.study_name: each for each in storage.get_all_studies()}
    if name not in studies and alone and len(studies) == 1:
        name = next(iter(studies))
    if name not in studies or ID_ATTR in studies[name].user_attrs:
        return None
    return name if has_own_trials(storage, storage.get_study_id_from_name(name)) else None


def has_own_trials(storage: optuna.storages.RDBStorage, study_id: int) -> bool:
    """Return whether the first trial of a study was stored by this program."""
    try:
        first = storage.get_trial_id_from_study_id_trial_number(study_id, 0)
    except KeyError:
        return False
    return TRIAL_ATTR in storage.get_trial_system_attrs(first)
