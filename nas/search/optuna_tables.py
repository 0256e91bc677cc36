"""Finished trials into Optuna's tables and out of them, many at once.

``Study.add_trial`` looks the study, the trial and the parameter's distribution up again for each parameter of
a trial: 0.17 s for a design of 73 parameters on one core, as long as evaluating a small one. ``Study.get_trials``
makes an object of every cell and two distributions of every parameter: 6 ms a trial. Here a group of trials is
written in one transaction of a few statements, and a study is read with one statement a table, on the tables
that Optuna itself declares.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial
from sqlalchemy import Connection, insert, select
from sqlalchemy.orm import Session

_FETCHED = 10_000  # rows of a table held at once while reading


@dataclass(frozen=True)
class Stored:
    """What was stored of a trial.

    Args:
        params: Its parameters.
        user_attrs: What people read.
        system_attrs: What programs noted.
    """

    params: dict[str, Any]
    user_attrs: dict[str, Any]
    system_attrs: dict[str, Any]


class Trials:
    """The trials of one study, all of which have the same parameters.

    Args:
        storage: The database.
        study_id: The study's number in it.
        distributions: The parameters, by name.
    """

    def __init__(
        self,
        storage: optuna.storages.RDBStorage,
        study_id: int,
        distributions: Mapping[str, BaseDistribution],
    ) -> None:
        self._engine, self._study_id, self._distributions = storage.engine, study_id, distributions
        self._spelled = {name: distribution_to_json(one) for name, one in distributions.items()}
        self._statements: dict[Any, Any] = {}  # how this database inserts into a table

    def add(self, trials: Sequence[FrozenTrial]) -> None:
        """Store finished trials, all of them or none, numbered on from the study's last trial.

        Unlike ``Study.add_trial``, this does not compare their distributions with those of the study.

        Raises:
            KeyError: If there is no such study.
            sqlalchemy.exc.SQLAlchemyError: If the database refuses.
        """
        with self._engine.begin() as connection:
            keys = self._begin(connection, trials)
            for table, rows in self._cells_of(dict(zip(keys, trials, strict=True))):
                if rows:
                    self._insert(connection, table, rows)

    def _begin(self, connection: Connection, trials: Sequence[FrozenTrial]) -> Sequence[int]:
        """Begin the trials of a transaction that no other process disturbs; return their identities."""
        if self._engine.dialect.name == "sqlite":
            # Its driver would begin after the last number is read.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        study = models.StudyModel.study_id
        if not connection.execute(select(study).where(study == self._study_id).with_for_update()).first():
            raise KeyError(f"there is no study {self._study_id}")
        table = models.TrialModel
        own = table.study_id == self._study_id
        # Numbers and identities rise together, and an index has the latter: counting would pass over all.
        last = connection.execute(select(table.number).where(own).order_by(table.trial_id.desc()).limit(1))
        first = last.scalar_one_or_none()
        first = 0 if first is None else first + 1
        added = [
            {
                "number": number,
                "study_id": self._study_id,
                "state": trial.state,
                "datetime_start": _utc(trial.datetime_start),
                "datetime_complete": _utc(trial.datetime_complete),
            }
            for number, trial in enumerate(trials, start=first)
        ]
        connection.execute(insert(table.__table__), added)
        keys = select(table.trial_id).where(own, table.number >= first).order_by(table.number)
        return connection.execute(keys).scalars().all()

    def _cells_of(self, trials: Mapping[int, FrozenTrial]) -> Iterator[tuple[Any, list[dict[str, Any]]]]:
        """Yield ``(table, rows)`` of everything that belongs to trials, which are given by identity."""
        repr_of = models.TrialValueModel.value_to_stored_repr
        yield (
            models.TrialValueModel,
            [
                {"trial_id": key, "objective": objective, "value": number, "value_type": kind.name}
                for key, trial in trials.items()
                for objective, (number, kind) in enumerate(map(repr_of, trial.values or ()))
            ],
        )
        yield (
            models.TrialParamModel,
            [
                {
                    "trial_id": key,
                    "param_name": name,
                    "param_value": self._distributions[name].to_internal_repr(value),
                    "distribution_json": self._spelled[name],
                }
                for key, trial in trials.items()
                for name, value in trial.params.items()
            ],
        )
        for table, attributes in (
            (models.TrialUserAttributeModel, "user_attrs"),
            (models.TrialSystemAttributeModel, "system_attrs"),
        ):
            yield (
                table,
                [
                    {"trial_id": key, "key": name, "value_json": json.dumps(value)}
                    for key, trial in trials.items()
                    for name, value in getattr(trial, attributes).items()
                ],
            )

    def _insert(self, connection: Connection, table: Any, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows that are spelled as the database spells them.

        The driver is given them as they are: SQLAlchemy would go through every cell of 73 rows a trial.
        """
        if table not in self._statements:
            columns = list(rows[0])
            self._statements[table] = insert(table.__table__).compile(self._engine, column_keys=columns)
        statement = self._statements[table]
        values = (
            rows if statement.positiontup is None else list(map(itemgetter(*statement.positiontup), rows))
        )
        connection.exec_driver_sql(statement.string, values)

    def read(self) -> list[Stored]:
        """Return the study's trials in the order in which they were stored.

        Raises:
            ValueError: If a trial has other parameters.
            sqlalchemy.exc.SQLAlchemyError: If the database refuses.
        """
        with self._engine.connect() as connection:
            own = models.TrialModel.study_id == self._study_id
            keys = select(models.TrialModel.trial_id).where(own).order_by(models.TrialModel.trial_id)
            order = connection.scalars(keys).all()
            params = self._params(connection)
            user = self._attributes(connection, models.TrialUserAttributeModel)
            system = self._attributes(connection, models.TrialSystemAttributeModel)
        return [Stored(params.get(key, {}), user.get(key, {}), system.get(key, {})) for key in order]

    def times(self) -> list[datetime]:
        """Return when the finished trials were finished, in local time and in order."""
        with Session(self._engine) as session:
            own = models.TrialModel.study_id == self._study_id
            ended = [
                trial.datetime_complete for trial in session.scalars(select(models.TrialModel).where(own))
            ]
        return sorted(time for time in ended if time is not None)

    def _params(self, connection: Connection) -> dict[int, dict[str, Any]]:
        """Return the parameters of each trial, by its identity."""
        table = models.TrialParamModel
        known: dict[tuple[str, str], BaseDistribution] = {}  # every distinct spelling is compared once
        found: dict[int, dict[str, Any]] = {}
        for key, name, value, spelled in self._cells(
            connection, table, table.param_name, table.param_value, table.distribution_json
        ):
            distribution = known.get((name, spelled))
            if distribution is None:
                distribution = known[name, spelled] = json_to_distribution(spelled)
                if distribution != self._distributions.get(name):
                    raise ValueError(f"a trial has another parameter '{name}': {distribution}")
            found.setdefault(key, {})[name] = distribution.to_external_repr(value)
        for drawn in found.values():
            if missing := self._distributions.keys() - drawn.keys():
                raise ValueError(f"a trial lacks the parameter '{min(missing)}'")
        return found

    def _attributes(self, connection: Connection, table: Any) -> dict[int, dict[str, Any]]:
        """Return the attributes of each trial that ``table`` holds, by its identity."""
        found: dict[int, dict[str, Any]] = {}
        for key, name, value in self._cells(connection, table, table.key, table.value_json):
            found.setdefault(key, {})[name] = json.loads(value)
        return found

    def _cells(self, connection: Connection, table: Any, *columns: Any) -> Iterator[Any]:
        """Yield ``(identity of the trial, *columns)`` of the rows of ``table`` that belong to this study."""
        own = models.TrialModel.study_id == self._study_id
        query = select(table.trial_id, *columns).join(models.TrialModel).where(own)
        yield from connection.execute(query, execution_options={"yield_per": _FETCHED})


def _utc(time: datetime | None) -> datetime | None:
    """Return a local time as the tables hold it."""
    return None if time is None else time.astimezone(UTC).replace(tzinfo=None)
