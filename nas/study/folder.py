"""A study's folder: what lies where, and whether it is the study that was asked for."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nas.runtime.files import require_writable, write_json, write_text
from nas.runtime.provenance import provenance
from nas.search.objectives import Goal, parse_objectives
from nas.search.trial_store import Store, TrialRecord
from nas.study.settings import Settings, difference, read_settings
from search_spaces.architecture import Architecture
from search_spaces.declaration import Declaration, parse_declaration
from search_spaces.errors import ArchitectureError, StudyError
from search_spaces.published import PUBLISHED, published
from search_spaces.space import Space

STUDIES = Path("studies")


@dataclass(frozen=True)
class DatasetInfo:
    """What a study knows of its images without reading them again.

    Args:
        data: The data's spec.
        digest: Digest of images and splits.
        image_size: Side in pixels.
        in_channels: Channels.
        class_names: Names of the classes.
        mean: Mean of each channel, images in 0..1.
        std: Standard deviation of each channel.
    """

    data: str
    digest: str
    image_size: int
    in_channels: int
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Study:
    """A study's folder.

    Args:
        folder: Where it lies.
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

    def retrained(self, digest: str, mode: str) -> Path:
        """Return the folder of a retrained design (``mode``: ``scratch`` or ``inherit``)."""
        return self.folder / "retrained" / digest / mode

    def results(self) -> list[dict[str, Any]]:
        """Return what retraining wrote of every finished design, best validation accuracy first."""
        found = [read_json(path) for path in sorted(self.folder.glob("retrained/*/*/result.json"))]
        return sorted(found, key=lambda result: -result["val_top1"])

    def exported(self, digest: str) -> Path:
        """Return the folder of an exported design."""
        return self.folder / "exports" / digest

    def check(self, settings: Settings, facts: DatasetInfo) -> None:
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
        if odd := difference(read_settings(self.settings_file), settings):
            raise StudyError(
                f"study {self.folder} was made with {odd}; repeat its settings to resume it, or choose another --study"
            )
        if self.dataset_file.exists() and self.facts().digest != facts.digest:
            raise StudyError(
                f"study {self.folder} was made with other images under the same name ({facts.data}); choose another "
                "--study"
            )

    def create(
        self,
        settings: Settings,
        facts: DatasetInfo,
        declaration: Declaration,
        url: str,
        command: Sequence[str],
    ) -> None:
        """Write what identifies the study; nothing where it is there already."""
        if self.settings_file.exists():
            return
        write_text(self.space_file, declaration.text)
        write_json(self.dataset_file, asdict(facts))
        write_json(self.folder / "provenance.json", provenance(settings.seed, command))
        if url != self.default_url:
            write_text(self.storage_file, url + "\n")  # the default is where the folder is, moved or not
        write_text(self.settings_file, settings.to_yaml())  # last: it says that the others are whole

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

    def facts(self) -> DatasetInfo:
        """Return what the study knows of its images."""
        content = read_json(self.dataset_file)
        lists = {name: tuple(content[name]) for name in ("class_names", "mean", "std")}
        return DatasetInfo(**{**content, **lists})

    def space(self) -> Space:
        """Return the study's space for its images."""
        self.require()
        settings, facts = self.settings(), self.facts()
        declaration = parse_declaration(self.space_file.read_text(encoding="utf-8"), str(self.space_file))
        return declaration.space(settings.scale, facts.image_size, facts.in_channels, len(facts.class_names))

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

    def store(self) -> Store:
        """Open the study's storage."""
        return Store(self.url, self.name, self.goal().objectives, self.space().choices)

    def rows(self) -> list[TrialRecord]:
        """Return the finished trials; none, and nothing is made, where the search has not begun."""
        self.require()
        url = self.url
        if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
            return []
        return self.store().records()

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


def find_study(name: str) -> Study:
    """Return the study called ``name``: a folder, or a plain name under ``studies/``."""
    path = Path(name)
    if os.sep in name or path.is_dir():
        return Study(path)
    return Study(STUDIES / name)


def find_architecture(text: str, study: Study | None = None) -> Architecture:
    """Return the architecture that ``text`` means: a JSON file, an export, a published name, or a digest.

    Args:
        text: Path of a JSON file or of an export folder, a published name, or a digest of ``study``.
        study: Where to look for a digest.

    Raises:
        ArchitectureError: If it means none.
    """
    path = Path(text)
    if (path / "config.json").is_file():
        path = path / "config.json"
    if path.is_file():
        content = read_json(path)
        if isinstance(content, dict) and "architecture" in content:
            content = content["architecture"]
        try:
            return Architecture.from_json(content)
        except ArchitectureError as error:
            raise ArchitectureError(f"{path}: {error}") from None
    if text in PUBLISHED:
        return published(text)
    if study is not None:
        for row in study.rows():
            if row.architecture.digest == text:
                return row.architecture
        raise ArchitectureError(f"study {study.folder} has no design '{text}'; give a digest from its front")
    return published(text)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        StudyError: If it is absent or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudyError(f"cannot read {path}: {error}") from None
