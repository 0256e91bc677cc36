"""A study's folder: what lies where, and whether it is the study that was asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nas.runtime.files import require_writable, write_json, write_text
from nas.runtime.provenance import provenance
from nas.search.objectives import Goal, parse_objectives
from nas.search.trial_store import Store, TrialRecord
from nas.study.dataset_info import DatasetInfo
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
        results = [read_json(path) for path in sorted(self.folder.glob("retrained/*/*/result.json"))]
        return sorted(results, key=lambda result: -result["val_top1"])

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
            return
        write_text(self.space_file, declaration.text)
        write_json(self.dataset_file, asdict(dataset))
        write_json(self.folder / "provenance.json", provenance(settings.seed, command))
        if url != self.default_url:
            write_text(self.storage_file, url + "\n")  # the default follows the folder when it moves
        write_text(self.settings_file, settings.to_yaml())  # last: where it exists the others are complete

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
        content = read_json(self.dataset_file)
        lists = {name: tuple(content[name]) for name in ("class_names", "mean", "std")}
        return DatasetInfo(**{**content, **lists})

    def space(self) -> Space:
        """Return the study's space for its images."""
        self.require()
        settings, dataset = self.settings(), self.dataset()
        declaration = parse_declaration(self.space_file.read_text(encoding="utf-8"), str(self.space_file))
        return declaration.space(
            settings.scale, dataset.image_size, dataset.in_channels, len(dataset.class_names)
        )

    def goal(self) -> Goal:
        """Return the study's objectives and limits."""
        settings = self.settings()
        return Goal(parse_objectives(settings.objectives), settings.limits)

    @property
    def url(self) -> str:
        """SQLAlchemy URL of the study's storage."""
        if self.storage_file.exists():
            return self.storage_file.read_text(encoding="utf-8").strip()
        return self.default_url

    @property
    def default_url(self) -> str:
        """The SQLite file in the folder."""
        return f"sqlite:///{self.folder / 'study.db'}"

    def open_store(self) -> Store:
        """Open the study's storage for a search; it is created where it does not exist."""
        return Store(self.url, self.name, self.goal().objectives, self.space().choices)

    def find_store(self) -> Store | None:
        """Open the study's storage to read it; None, and nothing is created, where the search has not begun."""
        url = self.url
        if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
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
        """Write ``front.json``: the front, and how many trials there were, by what became of them."""
        write_json(
            self.front_file,
            {
                "objectives": dict(zip(goal.objectives, goal.directions, strict=True)),
                "limits": dict(goal.constraints),
                "trials": len(rows),
                "evaluated": sum(row.evaluated for row in rows),
                "rejected": sum(row.rejected is not None for row in rows),
                "failed": sum(row.failed is not None and not row.repeat for row in rows),
                "repeated": sum(row.repeat for row in rows),
                "stopped": sum(row.evaluated and row.stopped_after is not None for row in rows),
                "front": [
                    {
                        "digest": row.architecture.digest,
                        "origin": row.origin,
                        "scores": dict(row.scores),
                        "design": str(row.architecture),
                        "architecture": row.architecture.to_json(),
                    }
                    for row in front
                ],
                "provenance": provenance(seed, []),
            },
        )

    def front(self) -> list[dict[str, Any]]:
        """Return the entries of ``front.json``, best first.

        Raises:
            StudyError: If the search has not finished a front yet.
        """
        self.require()
        if not self.front_file.exists():
            raise StudyError(f"study {self.folder} has no front yet; let its search finish first")
        entries: list[dict[str, Any]] = read_json(self.front_file)["front"]
        return entries


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        StudyError: If it is absent or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudyError(f"cannot read {path}: {error}") from None
