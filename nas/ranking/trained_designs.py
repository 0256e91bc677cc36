"""Designs that were trained alone, each with several seeds: the truth that cheaper scores are judged by."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, NotRequired

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict  # that of typing is not understood by pydantic before Python 3.12

from nas.runtime.documents import read_document
from nas.runtime.files import write_text
from nas.study.documents import ArchitectureJson, Count, Percent
from search_spaces.architecture import Architecture
from search_spaces.cost import costs
from search_spaces.errors import StudyError


@dataclass(frozen=True)
class TrainingRun:
    """One training of one design from random weights.

    Args:
        digest: The design.
        seed: Of weights, order and augmentation.
        epochs: Length.
        val_top1: Accuracy on the validation images after the last epoch, in percent.
        test_top1: Accuracy on the test images, in percent; no choice is made by it.
        val_curve: Validation accuracy after each epoch.
        seconds: Time of its steps, of one core unless the file says otherwise.
    """

    digest: str
    seed: int
    epochs: int
    val_top1: float
    test_top1: float
    val_curve: tuple[float, ...]
    seconds: float

    @property
    def key(self) -> tuple[str, int, int]:
        """What it is a training of: design, seed and epochs."""
        return self.digest, self.seed, self.epochs

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {**vars(self), "val_curve": list(self.val_curve)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> TrainingRun:
        """Return the run that JSON describes."""
        return cls(**{**content, "val_curve": tuple(content["val_curve"])})


@dataclass(frozen=True)
class TrainedDesign:
    """A design with all its trainings of one length.

    Args:
        architecture: The design.
        origin: Why it is here: a published family, ``smallest``, an operator, or the part of the MACs it stands for.
        runs: Its trainings, by seed.
        latency_ms: Milliseconds of an image, where that was measured.
    """

    architecture: Architecture
    origin: str
    runs: tuple[TrainingRun, ...]
    latency_ms: float | None = None

    @cached_property
    def val_top1(self) -> float:
        """Mean validation accuracy over the seeds, in percent."""
        return fmean(run.val_top1 for run in self.runs)

    @cached_property
    def macs(self) -> int:
        """MACs of an image."""
        return costs(self.architecture).macs

    @cached_property
    def params(self) -> int:
        """Parameters."""
        return costs(self.architecture).params


class _DesignRow(TypedDict):
    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    origin: str
    architecture: ArchitectureJson
    latency_ms: NotRequired[Annotated[float, Field(gt=0, allow_inf_nan=False)]]


class _RunRow(TypedDict):
    digest: str
    seed: int
    epochs: Annotated[int, Field(ge=1)]
    val_top1: Percent
    test_top1: Percent
    val_curve: list[Percent]
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _About(TypedDict):
    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    images: str
    epochs: Count


class _Table(TypedDict):
    about: _About
    provenance: list[dict[str, Any]]
    designs: list[_DesignRow]
    runs: list[_RunRow]


class TrainingTable:
    """A file of designs and their trainings, which grows.

    Args:
        file: Where it is kept; read at once if it is there.
        about: What all trainings have in common: digest of the ``images``, ``epochs`` that count, and whatever else;
            None reads it from the file.

    Raises:
        StudyError: If the file is damaged, absent though it should tell what it is about, or about something else.
    """

    def __init__(self, file: Path, about: Mapping[str, Any] | None = None) -> None:
        self.file = file
        self.designs: dict[str, tuple[Architecture, str]] = {}
        self.runs: dict[tuple[str, int, int], TrainingRun] = {}
        # Milliseconds of an image by digest, of the designs that were measured.
        self.latencies: dict[str, float] = {}
        self.about, self.provenance = dict(about or {}), list[dict[str, Any]]()
        if about is None or file.exists():
            self._read(about)

    def _read(self, about: Mapping[str, Any] | None) -> None:
        content = read_document(self.file, _Table)
        self.about, self.provenance = content["about"], content["provenance"]
        for key, value in (about or {}).items():
            if self.about.get(key) != value:
                raise StudyError(
                    f"{self.file} holds trainings with other {key}; move it away to train anew, or train as it says"
                )
        for each in content["designs"]:
            architecture = Architecture.from_json(each["architecture"])
            self.designs[architecture.digest] = architecture, each["origin"]
            if "latency_ms" in each:
                self.latencies[architecture.digest] = each["latency_ms"]
        for each in content["runs"]:
            run = TrainingRun.from_json(each)
            self.runs[run.key] = run

    def refresh(self) -> None:
        """Add what was written to the file since it was read."""
        if self.file.exists():
            written = TrainingTable(self.file)
            self.designs, self.runs = {**written.designs, **self.designs}, {**written.runs, **self.runs}
            self.latencies = {**written.latencies, **self.latencies}
            self.provenance = written.provenance + [
                each for each in self.provenance if each not in written.provenance
            ]

    def add_designs(self, designs: Iterable[tuple[str, Architecture]]) -> None:
        """Add designs with their origins; those that are there keep theirs."""
        for origin, architecture in designs:
            self.designs.setdefault(architecture.digest, (architecture, origin))

    def add_run(self, run: TrainingRun) -> None:
        """Add a training and write the file."""
        self.runs[run.key] = run
        self.write()

    def write(self) -> None:
        """Write the file, all at once."""
        designs = [
            {"digest": digest, "origin": origin, "design": str(design), "macs": costs(design).macs,
             "params": costs(design).params, **self._latency_of(digest), "architecture": design.to_json()}
            for digest, (design, origin) in self.designs.items()
        ]  # fmt: skip
        runs = [self.runs[key].to_json() for key in sorted(self.runs)]
        parts = {"about": self.about, "provenance": self.provenance, "designs": designs, "runs": runs}
        write_text(
            self.file,
            "{\n" + ",\n".join(f'"{key}": {_to_lines(part)}' for key, part in parts.items()) + "\n}\n",
        )

    def _latency_of(self, digest: str) -> dict[str, float]:
        return {"latency_ms": self.latencies[digest]} if digest in self.latencies else {}

    def trained(self, epochs: int, seeds: Sequence[int] | None = None) -> list[TrainedDesign]:
        """Return the designs with all trainings of a length, those without one left out.

        Args:
            epochs: The length.
            seeds: The seeds that count, all of which a design must have; None for those that each has.
        """
        found = []
        for digest, (architecture, origin) in self.designs.items():
            own = {
                run.seed: run for run in self.runs.values() if (run.digest, run.epochs) == (digest, epochs)
            }
            chosen = sorted(own) if seeds is None else [seed for seed in seeds if seed in own]
            if chosen and (seeds is None or len(chosen) == len(seeds)):
                runs, latency = tuple(own[seed] for seed in chosen), self.latencies.get(digest)
                found.append(TrainedDesign(architecture, origin, runs, latency))
        return found


def _to_lines(part: Any) -> str:
    """Return JSON with a line for each row of a list."""
    if not isinstance(part, list):
        return json.dumps(part, ensure_ascii=False, allow_nan=False, indent=2)
    rows = (json.dumps(row, ensure_ascii=False, allow_nan=False) for row in part)
    return "[\n" + ",\n".join(rows) + "\n]"
