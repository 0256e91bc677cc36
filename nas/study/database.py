"""The trials of a study in its database: found by its id, whatever its folder is called."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import optuna

from nas.runtime.console import log
from nas.search.objectives import Goal
from nas.search.ownership import Owner, check_owner, find_former_name, find_study_id
from nas.search.storage import check_storage, open_storage_for_reading, refuse_damage
from nas.search.trial_store import Store
from nas.study.identity import StudyIdentity
from search_spaces.choices import Choice


@dataclass(frozen=True)
class StudyDatabase:
    """The database of a study.

    Args:
        url: Its URL.
        folder: The study's folder.
        identity: The study's identity; None of a study of an earlier version, whose trials go by its folder's name.
        own: Whether the database lies in the folder and holds nothing else.
    """

    url: str
    folder: Path
    identity: StudyIdentity | None
    own: bool

    def check(self, identity: StudyIdentity, goal: Goal) -> None:
        """Check that the database can be used and that trials of this name, if there are any, are the study's.

        Raises:
            StudyError: If not; nothing is written.
        """
        check_storage(self.url, identity.optuna_name, goal.objectives, self._owner(identity), goal.directions)

    def open_for_writing(self, identity: StudyIdentity, goal: Goal, choices: tuple[Choice, ...]) -> Store:
        """Open the study's trials to add to them; they begin where there are none.

        Raises:
            StudyError: If they are another's, or the database cannot be opened.
        """
        if identity.searched:
            storage = open_storage_for_reading(self.url)
            if storage is None or find_study_id(storage, identity.optuna_name) is None:
                log.say(
                    f"the trials of this study are no longer in {self.url}: those evaluated before are lost but for "
                    "the front in front.json; the search begins anew, with the supernet that is trained already"
                )
        return Store(
            self.url, identity.optuna_name, goal.objectives, choices, self._owner(identity), goal.directions
        )

    def find(self, objectives: tuple[str, ...], choices: tuple[Choice, ...]) -> Store | None:
        """Open the study's trials to read them, writing nothing; None where there are none.

        Raises:
            StudyError: If they are another's, or the database cannot be opened.
        """
        storage = open_storage_for_reading(self.url)
        if storage is None:
            return None
        with refuse_damage(self.url):
            return self._find_in(storage, objectives, choices)

    def _find_in(
        self, storage: optuna.storages.RDBStorage, objectives: tuple[str, ...], choices: tuple[Choice, ...]
    ) -> Store | None:
        if self.identity is None:
            name = find_former_name(storage, self.folder.resolve().name, alone=self.own)
        else:
            name = self.identity.optuna_name
            check_owner(storage, self.url, name, self._owner(self.identity))
            name = name if find_study_id(storage, name) is not None else None
        return None if name is None else Store.for_reading(storage, name, self.url, objectives, choices)

    def find_former_name(self) -> str | None:
        """Return the name of the trials of a study of an earlier version; None where there are none."""
        storage = open_storage_for_reading(self.url)
        if storage is None:
            return None
        return find_former_name(storage, self.folder.resolve().name, alone=self.own)

    def _owner(self, identity: StudyIdentity) -> Owner:
        return Owner(identity.id, identity.fingerprint, str(self.folder.resolve()))
