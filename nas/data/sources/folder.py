"""Folders of images: one folder per class, with or without folders for the parts of the set above them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from nas.data.broken_files import broken_files_error
from nas.data.hashing import json_digest
from nas.data.inspection import FileFacts, inspect_files
from nas.data.pixels import GREY_MODES
from nas.data.reading import FIRST_READING, READING, Reading
from nas.data.sources.duplicates import Duplicates, resolve_duplicates
from nas.data.sources.layout import Layout, find_layout
from nas.data.sources.path_list import PathList
from nas.data.sources.source import Source, SourceReport, SplitName
from nas.data.sources.tree import EXTENSIONS, Files, find_files, printable
from nas.data.threads import OnProgress
from search_spaces.errors import DataError

_FIRST_EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class ReadOptions:
    """How a folder is read.

    Attributes:
        skip_broken: Go on without the files that cannot be read.
        decode: Decode every file to find the broken ones, where headers alone are read otherwise.
        reading: By which rules (`nas.data.reading`).
        on_inspect: Called with ``(done, total)`` while files are looked at.
    """

    skip_broken: bool = False
    decode: bool = False
    reading: Reading = READING
    on_inspect: OnProgress | None = None


@dataclass(frozen=True)
class ImageFiles:
    """Image files by their paths."""

    paths: PathList

    def open(self, index: int) -> Image.Image:
        """Open the file of image ``index``."""
        return Image.open(self.paths[index])

    def describe(self, index: int) -> str:
        """Return its path, as it can be printed."""
        return printable(self.paths[index])


@dataclass(frozen=True)
class _Image:
    """A file with what its place says of it, and what was found in it."""

    path: str
    label: int
    split: SplitName
    facts: FileFacts


def read_folder(root: Path, cache_dir: Path, options: ReadOptions) -> Source:
    """Find and look at the images of a folder.

    Args:
        root: The folder.
        cache_dir: Where what was found of each file is kept.
        options: How to read it.

    Raises:
        DataError: The folder is absent or its layout cannot be told, a class holds no images, or a file cannot
            be read.
    """
    if not os.path.lexists(root):
        raise DataError(
            f"image folder {printable(root)} does not exist; check the path given to --data or --data-dir"
        )
    if not root.is_dir():
        raise DataError(
            f"{printable(root)} is a file; --data folder:PATH needs a folder with one folder per class"
        )
    layout, skipped, nested = find_layout(root), Counter[str](), 0
    skipped.update(layout.skipped)
    class_names = layout.class_names
    label_of = {name: label for label, name in enumerate(class_names)}
    listed: list[tuple[str, int, SplitName]] = []
    for part in layout.parts:
        for class_name, name in part.classes.items():
            files = find_files(part.folder / name)
            paths = _without_new_endings(files, options.reading)
            if not paths:
                raise DataError(_describe_empty_class(part.folder / name, files))
            skipped.update(files.skipped)
            nested += files.nested
            listed += [(path, label_of[class_name], part.split) for path in paths]
    found = inspect_files(
        [path for path, _, _ in listed],
        root,
        cache_dir,
        decode=options.decode,
        on_progress=options.on_inspect,
    )
    broken = [
        (printable(path), facts)
        for (path, _, _), facts in zip(listed, found, strict=True)
        if isinstance(facts, str)
    ]
    if broken and not options.skip_broken:
        raise broken_files_error(broken)
    images = [
        _Image(*each, facts)
        for each, facts in zip(listed, found, strict=True)
        if isinstance(facts, FileFacts)
    ]
    notes = list(layout.notes)
    if nested:
        notes.append(f"images in folders within class folders, which count to the class above: {nested}")
    if options.reading == FIRST_READING:
        duplicates = Duplicates(list(range(len(images))), [], [])
    else:
        images, official = _with_official_test(images)
        notes += official
        # By content, so that the names of files decide nothing.
        images.sort(key=lambda image: (image.split, image.label, image.facts.digest))
        duplicates = resolve_duplicates(
            [image.facts.digest for image in images],
            [image.label for image in images],
            [image.split for image in images],
        )
    declared = {image.split for image in images}
    images = [images[index] for index in duplicates.kept]
    _require_images(root, layout, declared, images)
    report = _report(root, layout, images, skipped, broken, [*notes, *duplicates.notes], duplicates.warnings)
    return _to_source(root, class_names, images, report, options.reading)


def _without_new_endings(files: Files, reading: Reading) -> list[str]:
    if reading != FIRST_READING:
        return files.paths
    return [path for path in files.paths if path.lower().endswith(_FIRST_EXTENSIONS)]


def _require_images(root: Path, layout: Layout, declared: set[SplitName], images: Sequence[_Image]) -> None:
    """Check that something is left of every part, without its broken files and what other parts hold too."""
    lost = declared - {image.split for image in images}
    if not images or len(declared) < len(layout.parts) or lost:
        which = f"the {min(lost)} part of " if lost else "a part of " if images else ""
        raise DataError(
            f"no image is left in {which}{printable(root)} without broken files and copies from other parts; "
            "replace them, or remove that part"
        )


def _describe_empty_class(folder: Path, files: Files) -> str:
    others = ", ".join(f"{count} {reason}" for reason, count in files.skipped.most_common(3))
    return (
        f"class folder {printable(folder)} holds no images{f' (but {others})' if others else ''}; "
        f"add some ({', '.join(EXTENSIONS)}) or remove the folder"
    )


def _with_official_test(images: list[_Image]) -> tuple[list[_Image], list[str]]:
    """Make the validation part the test part where there is no other, as ImageNet is reported on."""
    splits = {image.split for image in images}
    if "val" not in splits or "test" in splits:
        return images, []
    moved = [
        _Image(image.path, image.label, "test" if image.split == "val" else image.split, image.facts)
        for image in images
    ]
    return moved, [
        "the val part is kept for the final test, as there is no test part; images to validate the search on are "
        "taken from the training part"
    ]


def _report(
    root: Path,
    layout: Layout,
    images: Sequence[_Image],
    skipped: Counter[str],
    broken: Sequence[tuple[str, str]],
    notes: Sequence[str],
    warnings: Sequence[str],
) -> SourceReport:
    modes = Counter(image.facts.mode for image in images)
    sides = [side for image in images for side in (image.facts.width, image.facts.height)]
    frames = sum(image.facts.animated for image in images)
    if frames:
        notes = [*notes, f"files of several frames, of which the first counts: {frames}"]
    return SourceReport(
        layout=tuple(_describe_parts(root, layout)),
        skipped=dict(skipped.most_common()),
        broken=tuple(broken),
        notes=tuple(notes),
        warnings=tuple(warnings),
        modes=dict(modes.most_common()),
        sides=(min(sides), max(sides)) if sides else None,
        read_otherwise=sum(image.facts.turned or image.facts.transparent for image in images),
    )


def _describe_parts(root: Path, layout: Layout) -> list[str]:
    if [part.split for part in layout.parts] == ["any"]:
        return [f"class folders without parts ({len(layout.class_names)} classes)"]
    return [
        f"{part.split}: {printable(part.folder.relative_to(root))}/ ({len(part.classes)} classes)"
        for part in layout.parts
    ]


def _to_source(
    root: Path, class_names: tuple[str, ...], images: Sequence[_Image], report: SourceReport, reading: int
) -> Source:
    contents = tuple(image.facts.digest for image in images)
    grey = GREY_MODES if reading != FIRST_READING else ("L",)
    sides = set(report.sides or ())
    return Source(
        name=printable(root.resolve().name),
        labels=tuple(image.label for image in images),
        class_names=class_names,
        declared_splits=tuple(image.split for image in images),
        images=ImageFiles(PathList.from_texts(image.path for image in images)),
        fingerprint=json_digest(contents),
        contents=None if reading == FIRST_READING else contents,
        size_and_channels=(
            sides.pop() if len(sides) == 1 else None,
            1 if report.modes and all(mode in grey for mode in report.modes) else 3,
        ),
        report=report,
    )
