"""A study's folder: what lies where, and whether it is the study that was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nas.runtime.documents import read_document, read_text
from nas.runtime.files import require_writable, write_json, write_text
from nas.runtime.provenance import provenance
from nas.runtime.secrets import redact_command
from nas.search.objectives import Goal, parse_objectives
from nas.search.storage_url import clean, has_secrets, sqlite_path, sqlite_url
from nas.search.ties import front_entries
from nas.search.trial_store import Store, TrialRecord
from nas.study.dataset_info import DatasetInfo
from nas.study.documents import Front, Provenance, Result
from nas.study.settings import Settings, find_difference, read_settings
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
        self.storage_file = folder / "storage.txt"
        self.log_file = folder / "log.txt"
        self.report_file = folder / "report.html"
        self.supernet_file = folder / "supernet" / "checkpoint.safetensors"
        self.latency_file = folder / "latency.json"

    @property
    def name(self) -> str:
        """Name of the study in its storage."""
        return self.folder.name

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

    def export_folder(self, digest: str) -> Path:
        """Return the folder of an exported design."""
        return self.folder / "exports" / digest

    def check(self, settings: Settings, dataset: DatasetInfo) -> None:
        """Check that this folder is free, or holds this very study; write nothing.

        Raises:
            StudyError: If it holds another study, or something else, or cannot be written.
        """
        require_writable(self.folder)
        if not self.settings_file.exists():
            if self.folder.is_dir() and any(self.folder.iterdir()):
                raise StudyError(
                    f"{self.folder} is not empty and holds no study; choose another --study or empty that folder"
                )
            return
        if difference := find_difference(read_settings(self.settings_file), settings):
            raise StudyError(
                f"study {self.folder} was made with {difference}; repeat its settings to resume it, or choose another "
                "--study"
            )
        if self.dataset_file.exists() and self.dataset().digest != dataset.digest:
            raise StudyError(
                f"study {self.folder} was made with other images under the same name ({dataset.data}); choose another "
                "--study"
            )

    def create(
        self,
        settings: Settings,
        dataset: DatasetInfo,
        declaration: Declaration,
        url: str,
        command: Sequence[str],
    ) -> None:
        """Write what identifies the study, unless it is there already."""
        if self.settings_file.exists():
            self._protect_stored_password()
            return
        write_text(self.space_file, declaration.text)
        write_json(self.dataset_file, asdict(dataset))
        write_json(self.folder / "provenance.json", provenance(settings.seed, command))
        if url != self.default_url:
            write_text(self.storage_file, url + "\n")  # the default follows the folder when it moves
        write_text(self.settings_file, settings.to_yaml())  # last: where it exists the others are complete

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
        """Return the study's settings."""
        self.require()
        return read_settings(self.settings_file)

    def dataset(self) -> DatasetInfo:
        """Return what the study remembers of its images."""
        info: DatasetInfo = read_document(self.dataset_file, DatasetInfo)
        return info

    def space(self) -> Space:
        """Return the study's space for its images."""
        self.require()
        settings, dataset = self.settings(), self.dataset()
        declaration = parse_declaration(read_text(self.space_file), str(self.space_file))
        return declaration.space(
            settings.scale, dataset.image_size, dataset.in_channels, len(dataset.class_names)
        )

    def goal(self) -> Goal:
        """Return the study's objectives and limits."""
        settings = self.settings()
        return Goal(parse_objectives(settings.objectives), settings.limits)

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

    def open_store(self) -> Store:
        """Open the study's storage for a search; it is created where it does not exist."""
        return Store(self.url, self.name, self.goal().objectives, self.space().choices)

    def find_store(self) -> Store | None:
        """Open the study's storage to read it; None, and nothing is created, where the search has not begun."""
        path = sqlite_path(self.url)
        if path is not None and not path.exists():
            return None
        return self.open_store()

    def records(self) -> list[TrialRecord]:
        """Return the finished trials; none where the search has not begun."""
        self.require()
        store = self.find_store()
        return [] if store is None else store.records()

    def write_front(
        self, rows: Sequence[TrialRecord], goal: Goal, front: Sequence[TrialRecord], seed: int
    ) -> None:
        """Write ``front.json``: the front, and of how many trials, evaluations and designs that racing stopped."""
        write_json(
            self.front_file,
            {
                "objectives": dict(zip(goal.objectives, goal.directions, strict=True)),
                "limits": dict(goal.constraints),
                "trials": len(rows),
                "evaluated": sum(row.evaluated for row in rows),
                "stopped": sum(row.evaluated and row.stopped_after is not None for row in rows),
                "front": [
                    {**entry, "architecture": row.architecture.to_json()}
                    for entry, row in zip(front_entries(front), front, strict=True)
                ],
                "provenance": provenance(seed, []),
            },
        )

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
