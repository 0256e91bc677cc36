"""Finished trials into Optuna's tables and out of them, many at once: the one file with private names of Optuna.

It uses ``optuna.storages._rdb.models``, the classes that declare Optuna's tables: which columns there are, how a
value is written (`TrialValueModel.value_to_stored_repr`), and that a parameter is its ``to_internal_repr`` beside
the JSON of its distribution, an attribute its JSON, a time UTC without a zone. The reason is speed (see
`nas.search.optuna_trials`): here a group of trials is written in one transaction of a few statements, and a study
is read with one statement a table, which takes 4 ms and not 0.17 s for a trial of 73 parameters.

Only databases with a schema that was tested are touched in this way (`unsupported_schema`). Tests compare every
cell with what the public interface writes, and fail where the installed Optuna has another schema.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial
from sqlalchemy import Connection, insert, select
from sqlalchemy.orm import Session

from nas.search.drivers import is_driver
from nas.search.optuna_trials import NoDriverError, OtherParametersError, StoredTrial
from nas.search.own_tables import lock_study, make_tables
from nas.search.ownership import TRIAL_ATTR
from nas.search.trial_keys import (
    DIGEST_ATTR,
    add_keys,
    count_stored,
    find_stored,
    find_trial_ids,
    key_of,
    replace_keys,
    to_key,
)

#: Alembic's revision of the tables, and the version that Optuna wrote before it used Alembic.
TESTED_SCHEMAS = {("v3.2.0.a", 12)}
_FETCH_ROWS = 10_000  # rows of a table held at once while reading


def unsupported_schema(storage: optuna.storages.RDBStorage) -> str | None:
    """Return the name of a database's schema where it is not a tested one, or None."""
    with storage.engine.connect() as connection:
        version = connection.scalar(select(models.VersionInfoModel.schema_version))
    schema = (storage.get_current_version(), version)
    return None if schema in TESTED_SCHEMAS else f"{schema[0]} (version {version})"


class TableStudyTrials:
    """`nas.search.optuna_trials.StudyTrials` on the tables themselves.

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
        self._distribution_json = {
            name: distribution_to_json(distribution) for name, distribution in distributions.items()
        }
        self._statements: dict[Any, Any] = {}  # how this database inserts into a table

    def add(self, trials: Sequence[FrozenTrial], token: str | None = None) -> None:
        """Store finished trials, all of them or none, numbered on from the study's last trial.

        Those that are stored already are left out. Unlike ``Study.add_trial``, this does not compare their
        distributions with those of the study.

        Raises:
            KeyError: If there is no such study.
            NoDriverError: If the writer is no driver of the study any more; nothing is stored then.
            sqlalchemy.exc.SQLAlchemyError: If the database refuses.
        """
        with self._engine.begin() as connection:
            lock_study(connection, self._study_id)
            if token is not None and not is_driver(connection, self._study_id, token):
                raise NoDriverError
            wanted = {key.trial: (key, trial) for trial in trials for key in [key_of(trial)]}
            stored = find_stored(connection, self._study_id, [key for key, _ in wanted.values()])
            new = [both for trial, both in wanted.items() if trial not in stored]
            if not new:
                return
            numbers = self._add_trials(connection, [trial for _, trial in new])
            add_keys(connection, self._study_id, dict(zip(numbers, (key for key, _ in new), strict=True)))
            added = dict(zip(numbers, (trial for _, trial in new), strict=True))
            for table, rows in self._to_rows(added):
                if rows:
                    self._insert(connection, table, rows)

    def prepare(self) -> None:
        """Bring the table of keys up to what is stored, so that `add` can rely on it.

        Raises:
            KeyError: If there is no such study.
            sqlalchemy.exc.SQLAlchemyError: If the database refuses.
        """
        make_tables(self._engine)
        table = models.TrialModel
        with self._engine.begin() as connection:
            lock_study(connection, self._study_id)
            own = table.study_id == self._study_id
            query = select(table.trial_id, table.state).where(own).order_by(table.trial_id)
            states = {number: state for number, state in connection.execute(query)}
            if len(states) == count_stored(connection, self._study_id):
                return
            user_table: Any = models.TrialUserAttributeModel
            system_table: Any = models.TrialSystemAttributeModel
            user = self._read_attributes(connection, user_table, [own, user_table.key == DIGEST_ATTR])
            system = self._read_attributes(connection, system_table, [own, system_table.key == TRIAL_ATTR])
            keys = {
                number: to_key(state, user[number], system[number])
                for number, state in states.items()
                if number in system
            }
            replace_keys(connection, self._study_id, keys)

    def _add_trials(self, connection: Connection, trials: Sequence[FrozenTrial]) -> Sequence[int]:
        """Add the rows of trials to a study that is locked; return their ids."""
        table = models.TrialModel
        own = table.study_id == self._study_id
        # Numbers and ids rise together, and an index has the latter: counting would pass over all.
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

    def _to_rows(self, trials: Mapping[int, FrozenTrial]) -> Iterator[tuple[Any, list[dict[str, Any]]]]:
        """Yield ``(table, rows)`` of everything that belongs to trials, which are given by id."""
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
                    "distribution_json": self._distribution_json[name],
                }
                for key, trial in trials.items()
                for name, value in trial.params.items()
            ],
        )
        user = {key: trial.user_attrs for key, trial in trials.items()}
        yield models.TrialUserAttributeModel, _attribute_rows(user)
        system = {key: trial.system_attrs for key, trial in trials.items()}
        yield models.TrialSystemAttributeModel, _attribute_rows(system)

    def _insert(self, connection: Connection, table: Any, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows whose values are what the database holds.

        The driver gets them as they are: SQLAlchemy would go through every cell of 73 rows a trial.
        """
        if table not in self._statements:
            columns = list(rows[0])
            self._statements[table] = insert(table.__table__).compile(self._engine, column_keys=columns)
        statement = self._statements[table]
        values = (
            rows if statement.positiontup is None else list(map(itemgetter(*statement.positiontup), rows))
        )
        connection.exec_driver_sql(statement.string, values)

    def read(self, batch: int | None = None) -> list[StoredTrial]:
        """Return the study's trials, or those of one batch, in the order in which they were stored.

        Raises:
            OtherParametersError: If a trial has other parameters.
            sqlalchemy.exc.SQLAlchemyError: If the database refuses.
        """
        with self._engine.connect() as connection:
            only: list[Any] = [models.TrialModel.study_id == self._study_id]
            if batch is not None:
                numbers = find_trial_ids(connection, self._study_id, batch)
                only.append(models.TrialModel.trial_id.in_(numbers))
            keys = select(models.TrialModel.trial_id).where(*only).order_by(models.TrialModel.trial_id)
            order = connection.scalars(keys).all()
            params = self._read_params(connection, only)
            user = self._read_attributes(connection, models.TrialUserAttributeModel, only)
            system = self._read_attributes(connection, models.TrialSystemAttributeModel, only)
        return [StoredTrial(params.get(key, {}), user.get(key, {}), system.get(key, {})) for key in order]

    def completion_times(self) -> list[datetime]:
        """Return when the finished trials were finished, in local time and in order."""
        with Session(self._engine) as session:
            own = models.TrialModel.study_id == self._study_id
            ended = [
                trial.datetime_complete for trial in session.scalars(select(models.TrialModel).where(own))
            ]
        return sorted(time for time in ended if time is not None)

    def _read_params(self, connection: Connection, only: Sequence[Any]) -> dict[int, dict[str, Any]]:
        """Return the parameters of each trial, by its id."""
        table = models.TrialParamModel
        known: dict[tuple[str, str], BaseDistribution] = {}  # each distinct text is parsed and compared once
        params: dict[int, dict[str, Any]] = {}
        for key, name, value, text in self._select_own(
            connection, only, table, table.param_name, table.param_value, table.distribution_json
        ):
            distribution = known.get((name, text))
            if distribution is None:
                distribution = known[name, text] = json_to_distribution(text)
                if distribution != self._distributions.get(name):
                    raise OtherParametersError(f"a trial has another parameter '{name}': {distribution}")
            params.setdefault(key, {})[name] = distribution.to_external_repr(value)
        for one in params.values():
            if missing := self._distributions.keys() - one.keys():
                raise OtherParametersError(f"a trial lacks the parameter '{min(missing)}'")
        return params

    def _read_attributes(
        self, connection: Connection, table: Any, only: Sequence[Any]
    ) -> dict[int, dict[str, Any]]:
        """Return the attributes that ``table`` holds of each trial, by the trial's id."""
        attributes: dict[int, dict[str, Any]] = {}
        for key, name, value in self._select_own(connection, only, table, table.key, table.value_json):
            attributes.setdefault(key, {})[name] = json.loads(value)
        return attributes

    def _select_own(
        self, connection: Connection, only: Sequence[Any], table: Any, *columns: Any
    ) -> Iterator[Any]:
        """Yield ``(trial id, *columns)`` of the rows of ``table`` that belong to the trials meant by ``only``."""
        query = select(table.trial_id, *columns).join(models.TrialModel).where(*only)
        yield from connection.execute(query, execution_options={"yield_per": _FETCH_ROWS})


def _attribute_rows(attributes: Mapping[int, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of attributes, which are given by trial id and name."""
    return [
        {"trial_id": key, "key": name, "value_json": json.dumps(value)}
        for key, values in attributes.items()
        for name, value in values.items()
    ]


def _utc(time: datetime | None) -> datetime | None:
    """Return a local time as the tables hold it."""
    return None if time is None else time.astimezone(UTC).replace(tzinfo=None)
