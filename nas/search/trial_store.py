"""Where a search keeps what it found: an Optuna study in SQLite, PostgreSQL or MySQL.

Proposals are made by an Optuna study in memory and every finished trial is added to the stored study at
once and whole: a sampler that asks the database for each of a hundred parameters takes longer than
evaluating the design. A row also says its batch and place, from which the study in memory is rebuilt.
"""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from nas.runtime.error_text import first_line
from nas.runtime.files import require_writable
from nas.search.objectives import OBJECTIVES
from nas.search.optuna_tables import Stored, Trials
from search_spaces.architecture import Architecture
from search_spaces.errors import StudyError
from search_spaces.space import Choice, Value

optuna.logging.set_verbosity(optuna.logging.WARNING)

_SQLITE = "sqlite:///"
_OURS = "nas"
_CONSTRAINTS = "constraints"
_METRIC_NAMES = "study:metric_names"  # where Optuna keeps what Study.set_metric_names was told


@dataclass(frozen=True)
class TrialRecord:
    """One finished trial.

    Args:
        batch: Number of the batch of proposals it belongs to.
        place: Its place in that batch.
        params: Every choice as drawn, inactive ones too.
        architecture: The design they make.
        scores: What is known of it; without accuracy where it was rejected.
        rejected: The limit it exceeds, or None.
        origin: ``sampled``, or the published design it is a likeness of.
        repeat: Whether its scores were answered from an earlier trial.
        stopped_after: Validation images after which racing stopped it, and which its scores are of; or None.
        memory: What the sampler noted on the trial.
    """

    batch: int
    index_in_batch: int
    params: Mapping[str, Value]
    architecture: Architecture
    scores: Mapping[str, float]
    rejected: str | None = None
    origin: str = "sampled"
    repeat: bool = False
    stopped_after: int | None = None
    sampler_attrs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def evaluated(self) -> bool:
        """Whether a forward pass was spent on it."""
        return self.rejected is None and not self.repeat

    @property
    def measured(self) -> bool:
        """Whether it was evaluated on all validation images, and so may be on the front."""
        return self.evaluated and self.stopped_after is None


class Store:
    """The stored study.

    Args:
        url: SQLAlchemy URL.
        name: The study's name in it.
        objectives: Score names.
        choices: The space's parameters.

    Raises:
        StudyError: If the storage cannot be opened or holds a study of that name with other objectives.
    """

    def __init__(
        self,
        url: str,
        name: str,
        objectives: tuple[str, ...],
        choices: tuple[Choice, ...],
    ) -> None:
        self.url, self.objectives = url, objectives
        directions = [OBJECTIVES[objective][0] for objective in objectives]
        storage = open_storage(url)
        _check_objectives(storage, url, name, objectives)
        try:
            self.study = optuna.create_study(
                storage=storage, study_name=name, directions=directions, load_if_exists=True
            )
        except (ValueError, sqlalchemy.exc.SQLAlchemyError) as error:
            raise StudyError(
                f"cannot open study '{name}' in {redact_password(url)}: {first_line(error)}"
            ) from None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self.study.set_metric_names(list(objectives))
        self.distributions = distributions(choices)
        self._trials = Trials(storage, self.study._study_id, self.distributions)

    def rows(self) -> list[TrialRecord]:
        """Return all finished trials in the order of their proposals.

        Raises:
            StudyError: If the study holds trials of another space.
        """
        try:
            trials = self._trials.read()
        except ValueError:
            raise StudyError(
                f"study '{self.study.study_name}' in {redact_password(self.url)} holds trials of another space; choose "
                "another --study or --storage"
            ) from None
        rows = [_row(trial) for trial in trials if _OURS in trial.system_attrs]
        return sorted(rows, key=lambda row: (row.batch, row.index_in_batch))

    def times(self) -> list[datetime]:
        """Return when the trials were finished, in local time and in order."""
        return self._trials.times()

    def add(self, rows: Sequence[TrialRecord]) -> None:
        """Store finished trials; when this returns, no kill can lose them."""
        if rows:
            self._trials.add([self.frozen(row) for row in rows])

    def frozen(self, row: TrialRecord) -> FrozenTrial:
        """Return a row as an Optuna trial."""
        # People read user attributes in the dashboard; what only this program needs lies beside them.
        attrs: dict[str, Any] = {
            "design": str(row.architecture),
            "digest": row.architecture.digest,
            "origin": row.origin,
            **row.scores,
        }
        sampler_attrs = {
            **row.sampler_attrs,
            _OURS: {
                "batch": row.batch,
                "place": row.index_in_batch,
                "repeat": row.repeat,
                "architecture": row.architecture.to_json(),
            },
        }
        if row.rejected is not None:
            attrs["rejected"] = row.rejected
        # A stopped trial is complete: its accuracy so far is below that of a rival that is as good in all else,
        # so it tells a sampler what it is worth, and is on no front of Optuna's either.
        if row.stopped_after is not None:
            attrs["stopped_after"] = row.stopped_after
        if limits := [value for name, value in sampler_attrs.items() if name.startswith(f"{_CONSTRAINTS}:")]:
            sampler_attrs[_CONSTRAINTS] = limits  # where optuna-dashboard 0.21 looks for them
        complete = row.rejected is None
        # Optuna's ``create_trial`` copies and compares the distributions of all parameters once more.
        ended = datetime.now()
        return FrozenTrial(
            number=0,
            trial_id=0,
            state=TrialState.COMPLETE if complete else TrialState.PRUNED,
            value=None,
            values=[row.scores[name] for name in self.objectives] if complete else None,
            datetime_start=ended - timedelta(seconds=row.scores.get("seconds", 0.0) if complete else 0.0),
            datetime_complete=ended,
            params=dict(row.params),
            distributions=self.distributions,
            user_attrs=attrs,
            system_attrs=sampler_attrs,
            intermediate_values={},
        )


def distributions(choices: Sequence[Choice]) -> dict[str, BaseDistribution]:
    """Return the choices as Optuna's parameters."""
    return {choice.name: CategoricalDistribution(choice.options) for choice in choices}


def check_storage(url: str, name: str, objectives: tuple[str, ...]) -> None:
    """Check that a storage can be used and holds no other study of this name; make nothing.

    Raises:
        StudyError: If it cannot be opened, or its study of that name has other objectives.
    """
    if url.startswith(_SQLITE) and not (path := Path(url.removeprefix(_SQLITE))).exists():
        require_writable(path.parent)
        return
    _check_objectives(open_storage(url), url, name, objectives)


def _check_objectives(
    storage: optuna.storages.RDBStorage, url: str, name: str, objectives: tuple[str, ...]
) -> None:
    try:
        number = storage.get_study_id_from_name(name)
    except KeyError:
        return
    directions = tuple(direction.name.lower() for direction in storage.get_study_directions(number))
    found = storage.get_study_system_attrs(number).get(_METRIC_NAMES, list(directions))
    asked = [OBJECTIVES[objective][0] for objective in objectives]
    if list(directions) != asked or list(found) not in (list(objectives), asked):
        raise StudyError(
            f"study '{name}' in {redact_password(url)} has the objectives {', '.join(found)}, not {', '.join(objectives)}; "
            "repeat them with --objective, or choose another --study"
        )


def open_storage(url: str) -> optuna.storages.RDBStorage:
    """Open the storage at ``url``, making an SQLite file where there is none.

    Raises:
        StudyError: If it cannot be opened.
    """
    arguments: dict[str, Any] = {}
    if url.startswith(_SQLITE):
        path = Path(url.removeprefix(_SQLITE))
        require_writable(path.parent)
        path.parent.mkdir(parents=True, exist_ok=True)
        arguments["connect_args"] = {"timeout": 60}
        try:
            # Readers (the dashboard) and the writer do not wait for one another; the file remembers.
            with sqlite3.connect(path) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
            connection.close()
        except sqlite3.Error as error:
            raise StudyError(
                f"{path} is not a database that can be used ({error}); move it away or give another --storage"
            ) from None
    try:
        return optuna.storages.RDBStorage(url, engine_kwargs=arguments)
    except (sqlalchemy.exc.SQLAlchemyError, ImportError, ValueError, RuntimeError) as error:
        raise StudyError(
            f"cannot open the storage {redact_password(url)} ({first_line(error)}); give an SQLAlchemy URL such as "
            "sqlite:///study.db or postgresql+psycopg://user@host/database"
        ) from None


def redact_password(url: str) -> str:
    """Return a storage URL without its password."""
    try:
        return sqlalchemy.engine.make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        return url


def _row(trial: Stored) -> TrialRecord:
    attrs, ours = trial.user_attrs, trial.system_attrs[_OURS]
    known = {"digest", "design", "origin", "rejected", "stopped_after"}
    return TrialRecord(
        batch=ours["batch"],
        index_in_batch=ours["place"],
        params=trial.params,
        architecture=Architecture.from_json(ours["architecture"]),
        scores={name: value for name, value in attrs.items() if name not in known},
        rejected=attrs.get("rejected"),
        origin=attrs["origin"],
        repeat=ours["repeat"],
        stopped_after=attrs.get("stopped_after"),
        sampler_attrs={k: v for k, v in trial.system_attrs.items() if k not in (_OURS, _CONSTRAINTS)},
    )
