"""What was read of a data set, for people and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from nas.data.sources.source import Source, SplitName

_SHOWN = 6  # classes, reasons and files that lines for people name


@dataclass(frozen=True)
class DataSummary:
    """What was read of a data set.

    Attributes:
        name: Short name.
        digest: By content, as `Data.digest`.
        image_size: Side in pixels that images are brought to.
        in_channels: 1 or 3.
        classes: Images of each class, of all splits.
        splits: Images of ``train``, ``val`` and ``test``.
        layout: What was read as what.
        notes: Decisions that change which images are used.
        skipped: Files that were passed over, by reason.
        broken: Files that cannot be read, each with the reason.
        warnings: What the user should look at.
        modes: Images by Pillow's mode, where all were looked at.
        sides: Shortest and longest side of the images, where all were looked at.
        read_otherwise: Images that version 0.1 would have read as others: turned or transparent ones.
        own_side: Side in pixels that the images share as they are; None where they do not.
    """

    name: str
    digest: str
    image_size: int
    in_channels: int
    classes: dict[str, int]
    splits: dict[str, int]
    layout: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    skipped: Mapping[str, int] | None = None
    broken: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    modes: Mapping[str, int] | None = None
    sides: tuple[int, int] | None = None
    read_otherwise: int = 0
    own_side: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as a value for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> DataSummary:
        """Return what `to_json` was made of."""
        lists = {name: tuple(content[name]) for name in ("layout", "notes", "warnings")}
        broken = tuple((path, reason) for path, reason in content["broken"])
        sides = None if content["sides"] is None else tuple(content["sides"])
        return cls(**{**content, **lists, "broken": broken, "sides": sides})

    def lines(self) -> list[str]:
        """Return what the plan of a search says beside the sizes of the splits."""
        smallest = min(self.classes, key=lambda name: self.classes[name])
        largest = max(self.classes.values())
        lines = [f"layout    {part}" for part in self.layout]
        lines.append(
            f"classes   {len(self.classes)}, of {self.classes[smallest]} ({smallest}) to {largest} images each; "
            f"{self.splits['test']} images to test"
        )
        if self.skipped:
            reasons = [f"{count} {reason}" for reason, count in list(self.skipped.items())[:_SHOWN]]
            rest = len(self.skipped) - len(reasons)
            lines.append(f"skipped   {', '.join(reasons)}{f', and {rest} more kinds' if rest else ''}")
        if self.broken:
            names = ", ".join(path for path, _ in self.broken[:3])
            lines.append(
                f"broken    {len(self.broken)} files are left out: {names}{', ...' if len(self.broken) > 3 else ''}"
            )
        lines += [f"note      {note}" for note in self.notes]
        lines += [f"warning   {warning}" for warning in self.warnings]
        return lines


def summarize(
    source: Source,
    indices: Mapping[SplitName, list[int]],
    image_size: int,
    channels: int,
    digest: str,
    own_side: int | None,
) -> DataSummary:
    """Return what was read of a source that is split."""
    counts = [0] * len(source.class_names)
    for label in source.labels:
        counts[label] += 1
    classes = dict(zip(source.class_names, counts, strict=True))
    report = source.report
    return DataSummary(
        name=source.name,
        digest=digest,
        image_size=image_size,
        in_channels=channels,
        classes=classes,
        splits={split: len(members) for split, members in indices.items()},
        layout=report.layout,
        notes=report.notes,
        skipped=dict(report.skipped),
        broken=report.broken,
        warnings=(*report.warnings, *_find_warnings(source, indices, classes, image_size)),
        modes=dict(report.modes) or None,
        sides=report.sides,
        read_otherwise=report.read_otherwise,
        own_side=own_side,
    )


def _find_warnings(
    source: Source, indices: Mapping[SplitName, list[int]], classes: Mapping[str, int], image_size: int
) -> list[str]:
    warnings: list[str] = []
    held_out: tuple[SplitName, ...] = ("val", "test")
    for split in held_out:
        present = {source.labels[index] for index in indices[split]}
        absent = [name for label, name in enumerate(source.class_names) if label not in present]
        if absent:
            shown = ", ".join(absent[:_SHOWN]) + (", ..." if len(absent) > _SHOWN else "")
            warnings.append(f"no {split} image of {len(absent)} classes: {shown}")
    if max(classes.values()) > 10 * min(classes.values()):
        warnings.append(
            f"the largest class has {max(classes.values()) / min(classes.values()):.0f} times the images of the "
            "smallest; a high accuracy may hide a class that is never found"
        )
    if (sides := source.report.sides) is not None and 2 * sides[1] < image_size:
        warnings.append(
            f"files of at most {sides[1]} px are enlarged to {image_size}, which takes time and shows no more; give a "
            "smaller --image-size"
        )
    lowered: dict[str, str] = {}
    for name in classes:
        if (other := lowered.setdefault(name.casefold(), name)) != name:
            warnings.append(f"classes '{other}' and '{name}' differ in case alone")
    return warnings
