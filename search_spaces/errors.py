"""The one exception tree of the project.

    NasError
    ├── RequestError          the request was wrong: exit code 2, nothing written
    │   ├── SpaceError        a space's declaration, or a choice that does not fit it
    │   ├── ArchitectureError an architecture's JSON or values
    │   ├── DataError         images that cannot be found, read or split
    │   ├── BudgetError       a budget that cannot be parsed or that the cluster lacks
    │   ├── StudyError        a study folder or storage that is absent, foreign or in the way
    │   └── CheckpointError   weights that are truncated, foreign or do not match
    └── WorkError             the work itself failed: exit code 1

The command line catches ``NasError`` alone; every message is one sentence that says what is wrong,
where, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NasError(Exception):
    """Base of every error this project raises on purpose.

    Args:
        arguments: The sentence.
        page: The page of the documentation that says more, below ``docs/``, with its section; that of the class where
            it is left out. The command line names it behind the sentence.
    """

    exit_code = 1
    page = ""

    def __init__(self, *arguments: object, page: str | None = None) -> None:
        super().__init__(*arguments)
        if page is not None:
            self.page = page

    def __str__(self) -> str:
        """Return the sentence; what of it came from a file can neither break the line nor command a terminal."""
        text = " ".join(super().__str__().splitlines())
        return "".join(
            letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text
        )


class RequestError(NasError):
    """The request was wrong; nothing was written."""

    exit_code = 2


class SpaceError(RequestError):
    """A space's declaration is wrong, or a choice does not fit it."""

    page = "howto/space.md#what-has-to-fit"


class ArchitectureError(RequestError):
    """An architecture's JSON or one of its values is wrong."""

    page = "concepts/published.md#name-one"


class DataError(RequestError):
    """Images cannot be found, read or split."""

    page = "howto/images.md#which-folders-are-read"


class BudgetError(RequestError):
    """A budget cannot be parsed, or asks for what the cluster does not have."""

    page = "howto/cluster.md#one-machine-several-machines"


class StudyError(RequestError):
    """A study folder or storage is absent, foreign, or occupied by other settings."""

    page = "howto/resume.md#what-a-study-goes-on-with"


class CheckpointError(RequestError):
    """Weights are truncated, foreign, or do not match the network."""

    page = "concepts/supernet.md#supernet"


class WorkError(NasError):
    """The request was right but the work failed."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint naming the valid spelling nearest to ``word`` and all that is allowed."""
    options = sorted(known)
    return f"known: {', '.join(options)}{closest(word, options)}"


def closest(word: str, known: Iterable[str]) -> str:
    """Return the question whether the ``known`` spelling nearest to ``word`` was meant; empty where none is near."""
    close = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.4)
    return f"; did you mean '{close[0]}'?" if close else ""
