"""A study's folder: what lies where, and whether it is the study that was asked for."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from nas.data.dataset import Data
from nas.runtime.documents import read_document, read_text
from nas.runtime.fence import FENCE_FILE
from nas.runtime.files import require_writable, write_json, write_text
from nas.runtime.lock import LOCK_FILE, FolderLock
from nas.runtime.provenance import provenance
from nas.runtime.secrets import redact_command
from nas.search.objectives import Goal
from nas.search.storage_url import clean, has_secrets, sqlite_url
from nas.search.ties import front_entries
from nas.search.trial_store import Store, TrialRecord
from nas.study.database import StudyDatabase
from nas.study.dataset_info import DatasetInfo, is_of
from nas.study.documents import Front, HalvingRecord, Provenance, RankingRecord, Result
from nas.study.fingerprint import (
    DifferentStudyError,
    Fingerprint,
    compute_fingerprint,
    find_differences,
    suggest_suffix,
)
from nas.study.identity import IDENTITY_FILE, StudyIdentity, make_identity, read_identity
from nas.study.locations import locate
from nas.study.settings import Settings, read_settings
from nas.study.trial_table import write_trials
from search_spaces.declaration import Declaration, parse_declaration
from search_spaces.errors import StudyError
from search_spaces.space import Space


class Study:
    """A study's folder.

    Args:
        folder: Its path; the folder need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings_file = folder / "study.yaml"
        self.space_file = folder / "space.yaml"
        self.dataset_file = folder / "data.json"
        self.front_file = folder / "front.json"
        self.trials_file = folder / "trials.csv"
        self.storage_file = folder / "storage.txt"
        self.log_file = folder / "log.txt"
        self.report_file = folder / "report.html"
        self.supernet_file = folder / "supernet" / "checkpoint.safetensors"
        self.teacher_folder = folder / "teacher"
        self.latency_file = folder / "latency.json"
        self.ranking_file = folder / "ranking.json"
        self.halving_file = folder / "halving.json"
        self.lock = FolderLock(folder)

    @property
    def name(self) -> str:
        """What people call the study; nothing is found by it."""
        return self.folder.resolve().name

    @property
    def place(self) -> str:
        """What tells this folder from its copies, on every machine that sees it."""
        found = self.folder.stat()
        return f"{self.folder.resolve()} {found.st_ino}"

    def identity(self) -> StudyIdentity | None:
        """Return what the study is told by; None where it is not made yet, or by an earlier version."""
        return read_identity(self.folder)

    def retraining_folder(self, digest: str, mode: str) -> Path:
        """Return the folder of a retrained design (``mode``: ``scratch`` or ``inherit``)."""
        return self.folder / "retrained" / digest / mode

    def results(self) -> list[dict[str, Any]]:
        """Return the results of every finished retraining, best validation accuracy first."""
        results = [self.read_result(path) for path in sorted(self.folder.glob("retrained/*/*/result.json"))]
        return sorted(results, key=lambda result: -result["val_top1"])

    @staticmethod
    def read_result(path: Path) -> dict[str, Any]:
        """Return the content of a ``result.json``.

        Raises:
            StudyError: If it is damaged.
        """
        result: dict[str, Any] = read_document(path, Result)
        return result

    def ranking(self) -> dict[str, Any] | None:
        """Return how well the supernet orders designs, as ``nas rank`` found; None where nobody asked.

        Raises:
            StudyError: If the file is damaged.
        """
        if not self.ranking_file.exists():
            return None
        found: dict[str, Any] = read_document(self.ranking_file, RankingRecord)
        return found

    def halving(self) -> dict[str, Any] | None:
        """Return how candidates were trained alone, and which of them to the end; None where they were not.

        Raises:
            StudyError: If the file is damaged.
        """
        if not self.halving_file.exists():
            return None
        found: dict[str, Any] = read_document(self.halving_file, HalvingRecord)
        return found

    def export_folder(self, digest: str) -> Path:
        """Return the folder of an exported design."""
        return self.folder / "exports" / digest

    def check(self, settings: Settings, space: Space, data: Data) -> StudyIdentity:
        """Check that this folder is free, or holds this very study; write nothing.

        Returns:
            The identity of the study, which is a new one where the folder has none yet.

        Raises:
            StudyError: If it holds another study, or something else, or cannot be written.
        """
        require_writable(self.folder)
        wanted = compute_fingerprint(settings, space, self.images_digest(data))
        if not self.settings_file.exists():
            found = {entry.name for entry in self.folder.iterdir()} if self.folder.is_dir() else set()
            if found - {LOCK_FILE, FENCE_FILE, IDENTITY_FILE}:
                raise StudyError(
                    f"{self.folder} is not empty and holds no study; choose another --study or empty that folder"
                )
            return make_identity(self.name, wanted)
        identity = self.identity()
        if identity is None:
            former = compute_fingerprint(self.settings(), self.space(), self.dataset().digest)
            self._require_equal(former, wanted)
            return make_identity(self.name, wanted, self.database.find_former_name())
        self._require_equal(identity.fingerprint, wanted)
        return identity

    def _require_equal(self, stored: Fingerprint, wanted: Fingerprint) -> None:
        if differences := find_differences(stored, wanted):
            shown = "; ".join(list(differences.values())[:3])
            raise DifferentStudyError(
                f"study {self.folder} was made with {shown}; repeat its settings to resume it, or choose another "
                f"--study, for example --study {self._spell_sibling(suggest_suffix(wanted))}",
                differences,
            )

    def images_digest(self, data: Data) -> str:
        """Return the digest of images as the study has it, where they are its own; else that of today."""
        if not self.dataset_file.exists():
            return data.digest
        info = self.dataset()
        return info.digest if is_of(info, data) else data.digest

    def _spell_sibling(self, suffix: str) -> str:
        """Return a folder beside this one as it can be typed."""
        text = f"{self.folder}-{suffix}"
        return shlex.quote(text if os.sep in text else f".{os.sep}{text}")

    def create(
        self,
        settings: Settings,
        dataset: DatasetInfo,
        declaration: Declaration,
        url: str,
        command: Sequence[str],
        identity: StudyIdentity | None = None,
    ) -> StudyIdentity:
        """Write what identifies the study, as far as it is not there already; return its identity.

        Args:
            settings: Its settings.
            dataset: Its images.
            declaration: The declaration of its space.
            url: Where its trials are stored.
            command: The command line that makes it.
            identity: What `check` returned; made here where that was not asked.

        Raises:
            StudyError: If another command has made another study here since it was checked.
        """
        if identity is None:
            space = _space_of(declaration, settings, dataset)
            identity = make_identity(self.name, compute_fingerprint(settings, space, dataset.digest))
        if self.settings_file.exists():
            return self._enter(settings, identity)
        write_text(self.space_file, declaration.text)
        write_json(self.dataset_file, asdict(dataset))
        write_json(self.folder / "provenance.json", provenance(settings.seed, command))
        if url != self.default_url:
            write_text(self.storage_file, url + "\n")  # the default follows the folder when it moves
        identity.write(self.folder)
        write_text(self.settings_file, settings.to_yaml())  # last: where it exists the others are complete
        return identity

    def _enter(self, settings: Settings, wanted: StudyIdentity) -> StudyIdentity:
        """Go on with the study that is here, and note where its files lie now."""
        self._protect_stored_password()
        identity = self.identity()
        if identity is None:
            identity = wanted
        else:
            self._require_equal(identity.fingerprint, wanted.fingerprint)
        moved = replace(identity, begun_in=wanted.begun_in)
        if moved != self.identity():
            moved.write(self.folder)
        if (text := settings.to_yaml()) != self.settings_file.read_text(encoding="utf-8"):
            write_text(self.settings_file, text)
        return moved

    def _protect_stored_password(self) -> None:
        """Protect the password that an earlier version wrote: ``storage.txt`` needs it, ``provenance.json`` not."""
        if self.storage_file.exists() and has_secrets(self.storage_file.read_text(encoding="utf-8").strip()):
            self.storage_file.chmod(0o600)
            if written := self.provenance():
                command = redact_command(written.get("command", []))
                write_json(self.folder / "provenance.json", {**written, "command": command})

    def require(self) -> None:
        """Raise unless a study lies here.

        Raises:
            StudyError: If none does.
        """
        if not self.settings_file.is_file():
            raise StudyError(
                f"there is no study in {self.folder} (no study.yaml); give the folder of a search"
            )

    def settings(self) -> Settings:
        """Return the study's settings, with paths that lead to its files from here."""
        self.require()
        return locate(read_settings(self.settings_file), self.settings_file)

    def require_images(self, data: Data) -> None:
        """Check that images are the study's, by content.

        Raises:
            StudyError: If they are others.
        """
        if not is_of(self.dataset(), data):
            raise StudyError(
                f"{self.settings().data} holds other images than study {self.folder} was made with; put those back, or "
                "search these in another --study"
            )

    def is_settings_alone(self) -> bool:
        """Return whether nothing but settings lies here, which a search may begin by: no study was made of them."""
        return self.settings_file.is_file() and not (self.dataset_file.exists() or self.space_file.exists())

    def dataset(self) -> DatasetInfo:
        """Return what the study remembers of its images.

        Raises:
            StudyError: If that cannot be read, or nothing but settings lies here.
        """
        if self.is_settings_alone():
            raise StudyError(
                f"{self.folder} holds settings alone; nas search --config {self.settings_file} begins a study of them"
            )
        info: DatasetInfo = read_document(self.dataset_file, DatasetInfo)
        return info

    def space(self) -> Space:
        """Return the study's space for its images."""
        self.require()
        settings, dataset = self.settings(), self.dataset()
        declaration = parse_declaration(read_text(self.space_file), str(self.space_file))
        return _space_of(declaration, settings, dataset)

    def goal(self) -> Goal:
        """Return the study's objectives and limits."""
        return self.settings().goal

    @property
    def url(self) -> str:
        """SQLAlchemy URL of the study's storage, without secrets."""
        if self.storage_file.exists():
            return clean(read_text(self.storage_file).strip())
        return self.default_url

    @property
    def default_url(self) -> str:
        """The SQLite file in the folder."""
        return sqlite_url(self.folder / "study.db")

    @property
    def database(self) -> StudyDatabase:
        """Where the study's trials are kept."""
        return StudyDatabase(self.url, self.folder, self.identity(), own=self.url == self.default_url)

    def open_store(self, trials: int | None = None) -> Store:
        """Open the study's storage to add to it; it is created where it does not exist.

        Args:
            trials: Designs that will be evaluated, for those who look at the study.

        Raises:
            StudyError: If the study has no identity yet, or its trials in the storage are another's.
        """
        identity = self.identity()
        if identity is None:
            raise StudyError(f"study {self.folder} is of an earlier version; run its search to go on with it")
        store = self.database.open_for_writing(identity, self.goal(), self.space().choices)
        begun = replace(identity, searched=True, trials=identity.trials if trials is None else trials)
        if begun != identity:
            begun.write(self.folder)
        return store

    def find_store(self) -> Store | None:
        """Open the study's storage to read it, writing nothing; None where the search has not begun."""
        return self.database.find(self.goal().objectives, self.space().choices)

    def records(self) -> list[TrialRecord]:
        """Return the finished trials; none where the search has not begun."""
        self.require()
        store = self.find_store()
        return [] if store is None else store.records()

    def write_front(
        self, rows: Sequence[TrialRecord], goal: Goal, front: Sequence[TrialRecord], seed: int
    ) -> None:
        """Write ``front.json``, the front and the numbers of trials by what became of them, and ``trials.csv``."""
        write_json(
            self.front_file,
            {
                "objectives": dict(zip(goal.objectives, goal.directions, strict=True)),
                "limits": dict(goal.constraints),
                "trials": len(rows),
                "evaluated": sum(row.evaluated for row in rows),
                "rejected": sum(row.rejected is not None and not row.repeat for row in rows),
                "failed": sum(row.failed is not None and not row.repeat for row in rows),
                "repeated": sum(row.repeat for row in rows),
                "stopped": sum(row.evaluated and row.stopped_after is not None for row in rows),
                "front": [
                    {**entry, "architecture": row.architecture.to_json()}
                    for entry, row in zip(front_entries(front), front, strict=True)
                ],
                "provenance": provenance(seed, []),
            },
        )
        write_trials(self.trials_file, rows, front)

    def count_evaluated(self) -> int:
        """Return of how many evaluated designs the front of ``front.json`` was selected."""
        front = read_document(self.front_file, Front)
        count: int = front.get("evaluated", front["trials"])
        return count

    def front(self) -> list[dict[str, Any]]:
        """Return the entries of ``front.json``, best first.

        Raises:
            StudyError: If the search has not finished a front yet.
        """
        self.require()
        if not self.front_file.exists():
            raise StudyError(f"study {self.folder} has no front yet; let its search finish first")
        entries: list[dict[str, Any]] = read_document(self.front_file, Front)["front"]
        return entries

    def front_trials(self) -> int:
        """Return of how many trials ``front.json`` is; 0 where there is none."""
        if not self.front_file.exists():
            return 0
        trials: int = read_document(self.front_file, Front)["trials"]
        return trials

    def provenance(self) -> dict[str, Any]:
        """Return where the study came from, as far as it is known."""
        path = self.folder / "provenance.json"
        found: dict[str, Any] = read_document(path, Provenance) if path.exists() else {}
        return found


def _space_of(declaration: Declaration, settings: Settings, dataset: DatasetInfo) -> Space:
    """Return the space of a declaration for images."""
    return declaration.space(
        settings.scale, dataset.image_size, dataset.in_channels, len(dataset.class_names)
    )
