"""Which study this is: an id of its own, kept in its folder and in its database.

The folder's name, the path it is reached by and the name that the dashboard shows decide nothing.
"""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nas.runtime.documents import read_document
from nas.runtime.files import write_json
from search_spaces.errors import StudyError

#: The identity's file in a study's folder.
IDENTITY_FILE = "study.json"

_FORMAT = 1
_SHORT_ID = 8  # letters of an id that tell studies apart in lists
_LONGEST_NAME = 200  # of a folder, in the name of an Optuna study, of which databases keep 512 letters


@dataclass(frozen=True)
class StudyIdentity:
    """What a study is told by.

    Args:
        id: Random, made with the study: 32 hexadecimal letters.
        optuna_name: Name of the Optuna study with its trials.
        fingerprint: What decides its scores, see `nas.study.fingerprint`.
        begun: When it was made, UTC, ISO 8601.
        begun_in: The working directory in which it was begun, where relative paths of its settings start.
        searched: Whether its search has begun, so that its database holds trials.
        trials: Designs that it was last asked to evaluate; None where that is not known.
        format: Version of the file.
    """

    id: str
    optuna_name: str
    fingerprint: dict[str, Any]
    begun: str
    begun_in: str
    searched: bool = False
    trials: int | None = None
    format: int = _FORMAT

    @property
    def short_id(self) -> str:
        """The beginning of the id, for people."""
        return self.id[:_SHORT_ID]

    def write(self, folder: Path) -> None:
        """Write it into a study's folder."""
        write_json(folder / IDENTITY_FILE, asdict(self))


def make_identity(name: str, fingerprint: dict[str, Any], optuna_name: str | None = None) -> StudyIdentity:
    """Return the identity of a new study.

    Args:
        name: Name of its folder, for people.
        fingerprint: What decides its scores.
        optuna_name: Name of its Optuna study, where that exists already.
    """
    new_id = secrets.token_hex(16)
    return StudyIdentity(
        new_id,
        optuna_name or f"{_printable(name)[:_LONGEST_NAME]}-{new_id[:_SHORT_ID]}",
        fingerprint,
        datetime.now(UTC).isoformat(timespec="seconds"),
        _printable(str(Path.cwd())),
    )


def read_identity(folder: Path) -> StudyIdentity | None:
    """Read the identity of the study in a folder; None where it has none, as those of earlier versions.

    Raises:
        StudyError: If the file is damaged or of a later version.
    """
    path = folder / IDENTITY_FILE
    if not path.exists():
        return None
    found: StudyIdentity = read_document(path, StudyIdentity)
    if found.format > _FORMAT:
        raise StudyError(f"{path} was written by a later version of nas; update nas to open the study")
    return found


def _printable(text: str) -> str:
    """Return a text that every file and database can hold: a folder's name need not be UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")
