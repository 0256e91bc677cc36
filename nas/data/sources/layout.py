"""How a folder of images is laid out: where its parts and its class folders are, or why that cannot be told.

A folder that is named like a part (`part_names`) is one if it holds class folders and no class lies beside
it; what could be read in two ways is refused. Everything that was decided is said in `Layout.notes`.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nas.data.sources.part_names import role_of
from nas.data.sources.source import SplitName
from nas.data.sources.tree import find_files, holds_images, loose_images, printable, subfolders
from search_spaces.errors import DataError, nearest

_PARTS: tuple[SplitName, ...] = ("train", "val", "test")
# Names of a folder that only holds the images of an unsorted part.
_UNSORTED = (
    "images",
    "image",
    "imgs",
    "img",
    "data",
    "all",
    "unknown",
    "unlabeled",
    "unlabelled",
    "files",
    "jpegs",
)


@dataclass(frozen=True)
class Part:
    """One part of a set: a folder with class folders in it.

    Attributes:
        split: What it was declared to be; ``any`` where there are no parts.
        folder: The folder that holds the class folders.
        classes: Name of each class and of its folder.
    """

    split: SplitName
    folder: Path
    classes: dict[str, str]


@dataclass
class Layout:
    """What was found in a folder.

    Attributes:
        root: The folder that holds the parts, or the class folders.
        parts: The parts; a single one where the set does not declare any.
        notes: What was passed over or decided, in sentences for people.
        skipped: Files that lie beside the class folders, by the reason for passing them over.
    """

    root: Path
    parts: list[Part] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes of the images to train on, sorted."""
        return tuple(sorted(self.parts[0].classes))


def find_layout(root: Path) -> Layout:
    """Find the parts and the class folders below ``root``.

    Raises:
        DataError: There are none, or what is there can be read in two ways.
    """
    layout = Layout(root)
    layout.root = _unwrap(root, layout.notes)
    names = subfolders(layout.root)
    roles = {name: role for name in names if (role := role_of(name, names)) is not None}
    declared = {name: role for name, role in roles.items() if role in _PARTS}
    others = [name for name in names if name not in roles and holds_images(layout.root / name)]
    if declared and not others:
        _read_parts(layout, names, declared)
    else:
        _refuse_mixtures(layout.root, roles, declared, others)
        for name in declared:
            layout.notes.append(f"{printable(name)}/ is read as a class, since classes lie beside it")
        layout.parts.append(_read_part("any", layout.root))
    _note_loose_files(layout)
    return layout


def _unwrap(start: Path, notes: list[str], *, within_part: bool = False) -> Path:
    """Go down while all images lie in the folders of a single folder, unless that one is a part of the set."""
    folder = start
    while True:
        names = subfolders(folder)
        inner = [name for name in names if holds_images(folder / name)]
        if len(inner) != 1 or loose_images(folder) or loose_images(folder / inner[0]):
            break
        below = subfolders(folder / inner[0])
        if not within_part and role_of(inner[0]) and not any(role_of(name, below) for name in below):
            break
        notes += [
            f"{printable(name)}/ holds no images and is passed over" for name in names if name != inner[0]
        ]
        folder = folder / inner[0]
    if folder != start:
        notes.append(f"read from {printable(folder.relative_to(start))}/, which holds all images")
    return folder


def _read_parts(layout: Layout, names: Sequence[str], declared: Mapping[str, str]) -> None:
    """Fill in the parts of a set whose only folders with images are named like parts."""
    root = layout.root
    by_role: dict[str, list[str]] = {}
    for name, role in declared.items():
        by_role.setdefault(role, []).append(name)
    for role, same in by_role.items():
        if len(same) > 1:
            raise DataError(
                f"{_folders(same)} in {printable(root)} are both named like the {role} part; "
                "merge them, or rename one to train, val or test"
            )
    if "train" not in by_role:
        raise DataError(
            f"{printable(root)} holds {_folders(declared)} but no training part; name the folder of the training "
            "images train, or give the folder that holds the classes"
        )
    for name in names:
        if name not in declared:
            why = "holds no images" if not holds_images(root / name) else "is not labelled"
            layout.notes.append(f"{printable(name)}/ {why} and is passed over")
    for split in _PARTS:
        for name in by_role.get(split, []):
            folder = _unwrap(root / name, [], within_part=True)
            if _has_class_folders(folder, layout.parts):
                layout.parts.append(_read_part(split, folder))
                _require_known_classes(layout.parts)
                continue
            count = len(find_files(folder).paths)
            if split == "train":
                raise DataError(
                    f"{printable(folder)} holds no class folders ({count} images lie in it directly); put the images "
                    "of each class into a folder of its own"
                )
            layout.notes.append(
                f"{printable(name)}/ holds no class folders; {count} files there are not used"
            )


def _has_class_folders(folder: Path, before: Sequence[Part]) -> bool:
    names = [name for name in subfolders(folder) if holds_images(folder / name)]
    if not before:
        return bool(subfolders(folder))
    unsorted = len(names) == 1 and names[0].lower() in _UNSORTED and names[0] not in before[0].classes
    return bool(names) and not unsorted


def _read_part(split: SplitName, folder: Path) -> Part:
    """List the class folders of a part.

    Raises:
        DataError: There are none, or their names cannot be told apart or printed.
    """
    classes: dict[str, str] = {}
    for name in subfolders(folder):
        # The same letters may be composed of other characters on another system.
        label = unicodedata.normalize("NFC", name)
        if not label.isprintable() or not _is_utf8(label):
            raise DataError(
                f"the name of class folder {printable(folder / name)} is not UTF-8 or cannot be printed; rename it"
            )
        if label in classes:
            raise DataError(f"two folders in {printable(folder)} are called '{label}'; merge or rename them")
        classes[label] = name
    if not classes:
        raise DataError(
            f"{printable(folder)} holds no class folders; put the images of each class into a folder of its own"
        )
    _refuse_parts_within_classes(folder, classes)
    return Part(split, folder, classes)


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _refuse_parts_within_classes(folder: Path, classes: dict[str, str]) -> None:
    """Refuse class folders that hold another level of parts, such as ``cat/train`` and ``cat/test``."""
    for name in classes.values():
        inner = subfolders(folder / name)
        roles = {role_of(each, inner) for each in inner}
        if len(inner) > 1 and None not in roles and not loose_images(folder / name):
            raise DataError(
                f"{printable(folder / name)} holds {_folders(inner)}, which look like parts of the set within a "
                "class; put the parts above the classes, such as train/CLASS and test/CLASS"
            )


def _refuse_mixtures(
    root: Path, roles: Mapping[str, str], declared: Mapping[str, str], others: Sequence[str]
) -> None:
    """Refuse folders of which some look like parts and others like classes."""
    structured = [name for name in roles if _holds_folders_of_images(root / name)]
    if others and (structured or len(set(declared.values())) > 1):
        raise DataError(
            f"{_folders(structured or declared)} in {printable(root)} look like parts of the set but "
            f"{_folders(others)} beside them do not; leave parts alone in their folder, or rename "
            "those that are classes"
        )
    if not others and structured:
        raise DataError(
            f"{_folders(structured)} in {printable(root)} look like parts of the set but none is the training part; "
            "name the folder of the training images train"
        )


def _holds_folders_of_images(folder: Path) -> bool:
    return any(holds_images(folder / name) for name in subfolders(folder))


def _require_known_classes(parts: Sequence[Part]) -> None:
    known, part = parts[0].classes, parts[-1]
    unknown = sorted(set(part.classes) - set(known))
    if unknown:
        # A thousand names help nobody: those that begin alike are enough.
        similar = [name for name in known if name[:1].lower() == unknown[0][:1].lower()] or list(known)
        raise DataError(
            f"{printable(part.folder / part.classes[unknown[0]])} is a class that the training images lack; "
            f"rename or remove it ({nearest(unknown[0], sorted(similar)[:20])})"
        )


def _note_loose_files(layout: Layout) -> None:
    """Count the images that lie beside class folders and parts, where nothing says what they show."""
    folders = {layout.root, *(part.folder for part in layout.parts)}
    for folder in sorted(folders):
        if count := loose_images(folder):
            layout.skipped["beside the class folders"] += count


def _folders(names: Sequence[str] | Mapping[str, str]) -> str:
    """Return names of folders as a list in words."""
    shown = [f"{printable(name)}/" for name in list(names)[:4]]
    if len(names) > 4:
        shown.append(f"{len(names) - 4} more")
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
