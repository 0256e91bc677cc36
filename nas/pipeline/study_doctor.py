"""``nas doctor STUDY``: everything a study's folder and its database hold is read, and what can be is mended.

What can be made from something else is made again: a front from its trials, a checkpoint from the one before it.
What cannot is named. Where another command works on the study nothing is touched.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from nas.cluster.ray_session import sweep_sessions
from nas.export.load_export import load_export
from nas.latency.table import read_table
from nas.runtime.documents import read_document
from nas.runtime.error_text import first_line
from nas.runtime.files import sweep_scratch, verify_tensors
from nas.search.loop import pareto_records
from nas.search.sqlite_reading import connect_for_reading
from nas.search.storage_url import sqlite_path
from nas.search.ties import with_images
from nas.study.documents import TeacherRecord
from nas.study.folder import Study
from nas.study.time_sheet import read_times
from nas.training.former_checkpoint import former_checkpoint, restore_checkpoint
from nas.training.retraining_result import trained_network
from search_spaces.errors import NasError, StudyError


@dataclass(frozen=True)
class StudyFault:
    """Something that is not as it should be.

    Args:
        file: Where, as a path in the study's folder or a database's URL.
        problem: What, in a sentence.
        mended: What was done about it; None where nothing could be.
    """

    file: str
    problem: str
    mended: str | None = None


@dataclass
class StudyHealth:
    """What was found of a study.

    Args:
        study: Its folder.
        in_use: Who works on it, so that nothing was mended; None where nobody does.
        checked: Files and databases that were read.
        faults: What is or was wrong.
    """

    study: str
    in_use: str | None = None
    checked: int = 0
    faults: list[StudyFault] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong any more."""
        return all(fault.mended is not None for fault in self.faults)

    def to_json(self) -> dict[str, Any]:
        """Return it as a plain value."""
        return {**asdict(self), "sound": self.is_sound}


def examine_study(study: Study, command: Sequence[str]) -> StudyHealth:
    """Check all of a study and mend what can be mended.

    Args:
        study: The study.
        command: The command line, for others who want to work on the study meanwhile.

    Raises:
        StudyError: If there is no study.
    """
    study.require()
    health = StudyHealth(str(study.folder), study.lock.holder())
    with contextlib.ExitStack() as stack:
        if health.in_use is None:
            try:
                stack.enter_context(study.lock.hold(command))
            except StudyError as error:  # somebody has just come, or the folder cannot be written
                health.in_use = study.lock.holder() or str(error)
        _Examination(study, health).run()
    return health


class _Examination:
    """Reads one thing after the other.

    Args:
        study: The study.
        health: Takes what is found.
    """

    def __init__(self, study: Study, health: StudyHealth) -> None:
        self.study, self.health = study, health

    @property
    def mends(self) -> bool:
        return self.health.in_use is None

    def run(self) -> None:
        """Read everything: first what others need to be read."""
        study = self.study
        if self.mends:
            self._sweep()
        for path, read in self._documents():
            self._check(path, read)
        self._check_database()
        self._check_front()
        for path in (study.supernet_file, *self._found("retrained/*/*/checkpoint.safetensors")):
            self._check_checkpoint(path)
        for path in self._found("retrained/*/*/result.json"):
            self._check_result(path)
        for path in self._found("teacher/*.safetensors"):
            self._check(path, partial(verify_tensors, path), self._remove_to_make_anew(path))
        for path in self._found("exports/*/config.json"):
            self._check(path.parent, partial(load_export, path.parent))

    # -- parts -------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        folder = self.study.folder
        if count := sweep_scratch(folder):
            self._add(folder, f"{count} unfinished files of commands that were killed", "removed")
        if (tune := folder / "retrained" / ".tune").exists():
            shutil.rmtree(tune, ignore_errors=True)
            self._add(tune, "the records of a retraining that was killed", "removed")
        for session in sweep_sessions():
            self._add(session, "the Ray session of a command that was killed", "removed")

    def _documents(self) -> Iterator[tuple[Path, Callable[[], object]]]:
        study = self.study
        yield study.settings_file, study.settings
        yield study.dataset_file, study.dataset
        yield study.space_file, study.space
        optional: list[tuple[Path, Callable[[], object]]] = [
            (study.folder / "study.json", study.identity),
            (study.folder / "provenance.json", study.provenance),
            (study.folder / "times.json", lambda: read_times(study.folder)),
            (study.halving_file, study.halving),
            (study.ranking_file, study.ranking),
            (study.latency_file, lambda: read_table(study.latency_file, study.space())),
        ]
        yield from ((path, read) for path, read in optional if path.exists())
        for path in self._found("teacher/*.json"):
            yield path, partial(read_document, path, TeacherRecord)

    def _check_database(self) -> None:
        study = self.study
        try:
            url = study.url
        except NasError as error:
            self._add(study.storage_file, str(error))
            return
        identity = self._read(study.identity)
        if (path := sqlite_path(url)) is not None and path.is_file():
            self._check(url, lambda: _check_sqlite(path))
        if not self._check(url, study.records) or identity is None or not identity.searched:
            return
        if study.find_store() is None:
            self._add(
                url,
                "its trials are gone; put the database back, or search anew with the supernet that is trained",
            )

    def _check_front(self) -> None:
        study = self.study
        identity, records = self._read(study.identity), self._read(study.records)
        if not study.front_file.exists():
            asked = None if identity is None else identity.trials
            evaluated = len({each.architecture.digest for each in records or () if each.evaluated})
            if asked is None or evaluated < asked:
                return  # the search has not ended yet

        def rebuild() -> str | None:
            trials = with_images(records or [])
            goal = study.goal()
            if not (front := pareto_records(trials, goal)):
                return None
            study.write_front(trials, goal, front, study.settings().seed)
            return "made again from the trials"

        self._check(study.front_file, lambda: (study.front(), study.count_evaluated()), rebuild)

    def _check_checkpoint(self, path: Path) -> None:
        former = former_checkpoint(path)

        def restore() -> str:
            restore_checkpoint(path)
            return "the checkpoint before it took its place; run the command that trained it again"

        if path.exists():
            self._check(path, lambda: verify_tensors(path), restore)
        if former.exists():
            self._check(former, lambda: verify_tensors(former), self._remove_to_make_anew(former))

    def _check_result(self, path: Path) -> None:
        if not self._check(path, lambda: self.study.read_result(path)):
            return
        result = self.study.read_result(path)
        self._check(path.with_name(result["weights"]), lambda: trained_network(self.study, result))

    # -- one thing ---------------------------------------------------------------------------------

    def _found(self, pattern: str) -> list[Path]:
        return sorted(self.study.folder.glob(pattern))

    def _remove_to_make_anew(self, path: Path) -> Callable[[], str]:
        def remove() -> str:
            path.unlink()
            return "removed; it is made anew when it is needed"

        return remove

    def _check(
        self, place: Path | str, read: Callable[[], object], mend: Callable[[], str | None] | None = None
    ) -> bool:
        """Read something; where that fails mend it, if that is possible. Return whether it could be read."""
        self.health.checked += 1
        if (problem := _problem_of(read)) is None:
            return True
        mended: str | None = None
        if self.mends and mend is not None:
            with contextlib.suppress(NasError, OSError):
                mended = mend()
        self._add(place, problem, mended)
        return False

    def _read(self, read: Callable[[], Any]) -> Any:
        """Return what can be read, or None where that was found to be impossible before."""
        found: list[Any] = []
        return found[0] if _problem_of(lambda: found.append(read())) is None else None

    def _add(self, place: Path | str, problem: str, mended: str | None = None) -> None:
        folder = self.study.folder
        inside = isinstance(place, Path) and place != folder and place.is_relative_to(folder)
        file = str(place.relative_to(folder)) if isinstance(place, Path) and inside else str(place)
        if not any(fault.problem == problem for fault in self.health.faults):  # what others need is said once
            self.health.faults.append(StudyFault(file, problem, mended))


def _problem_of(read: Callable[[], object]) -> str | None:
    try:
        read()
    except NasError as error:
        return str(error)
    except Exception as error:
        # A doctor that falls ill is no help: whatever breaks is a finding like any other.
        return f"it cannot be read ({type(error).__name__}: {first_line(error)})"
    return None


def _check_sqlite(path: Path) -> None:
    """Check every page of an SQLite file.

    Raises:
        StudyError: If one is damaged.
    """
    try:
        with contextlib.closing(connect_for_reading(path)) as connection:
            found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(1)")]
    except sqlite3.Error as error:
        found = [str(error)]
    if found != ["ok"]:
        raise StudyError(
            f"the database {path} is damaged ({' '.join(found[0].split())}); restore it, or move it away and "
            "search anew"
        )
