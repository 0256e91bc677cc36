"""Finding a study, or a design, by what a user types."""

from __future__ import annotations

import os
from pathlib import Path

from nas.runtime.documents import read_json
from nas.study.folder import Study
from search_spaces.architecture import Architecture
from search_spaces.errors import ArchitectureError
from search_spaces.published import PUBLISHED, published

#: Where studies of plain names lie.
STUDIES = Path("studies")


def find_study(name: str) -> Study:
    """Return the study called ``name``: a folder, or a plain name under ``studies/``."""
    path = Path(name)
    if os.sep in name or path.is_dir():
        return Study(path)
    return Study(STUDIES / name)


def find_architecture(text: str, study: Study | None = None) -> Architecture:
    """Return the architecture that ``text`` names.

    Args:
        text: Path of a JSON file or of an export folder, a published name, or a digest of ``study``.
        study: The study that a digest belongs to.

    Raises:
        ArchitectureError: If there is no such architecture.
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
        for trial in study.records():
            if trial.architecture.digest == text:
                return trial.architecture
        raise ArchitectureError(f"study {study.folder} has no design '{text}'; give a digest from its front")
    return published(text)
