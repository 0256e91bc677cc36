"""Finished trials into Optuna's tables, many at once.

``Study.add_trial`` looks the study, the trial and the parameter's distribution up again for each parameter
of a trial: 0.17 s for a design of 73 parameters on one core, as long as evaluating a small one. Here a
batch of trials is one transaction of a few statements over the same tables, through the table classes that
Optuna itself writes with.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial
from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session


def add_trials(storage: optuna.storages.RDBStorage, study_id: int, trials: Sequence[FrozenTrial]) -> None:
    """Store finished trials, all of them or none.

    Their parameters must have the distributions that the study's other trials have: unlike
    ``Study.add_trial``, this does not compare them.

    Args:
        storage: The database.
        study_id: The study's number in it.
        trials: What to add, numbered on from the study's last trial.

    Raises:
        KeyError: If there is no such study.
        sqlalchemy.exc.SQLAlchemyError: If the database refuses.
    """
    with Session(storage.engine) as session, session.begin():
        # The lock makes reading the last number and adding the next ones one action for all processes.
        models.StudyModel.find_or_raise_by_id(study_id, session, for_update=True)
        count = select(func.count()).where(models.TrialModel.study_id == study_id)
        number = session.execute(count).scalar_one()
        stored = [
            models.TrialModel(
                study_id=study_id,
                number=number + offset,
                state=trial.state,
                datetime_start=trial.datetime_start,
                datetime_complete=trial.datetime_complete,
            )
            for offset, trial in enumerate(trials)
        ]
        session.add_all(stored)
        session.flush()
        spelled: dict[int, str] = {}
        rows: dict[Any, list[dict[str, Any]]] = {}
        for model, trial in zip(stored, trials, strict=True):
            for table, values in _rows(trial, spelled):
                rows.setdefault(table, []).append({"trial_id": model.trial_id, **values})
        for table, added in rows.items():
            session.execute(insert(table), added)


def _rows(trial: FrozenTrial, spelled: dict[int, str]) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield ``(table, columns)`` of everything that belongs to a trial.

    Args:
        trial: The trial.
        spelled: JSON of the distributions met so far; trials share the objects.
    """
    for objective, value in enumerate(trial.values or ()):
        number, kind = models.TrialValueModel.value_to_stored_repr(value)
        yield models.TrialValueModel, {"objective": objective, "value": number, "value_type": kind}
    for name, value in trial.params.items():
        distribution = trial.distributions[name]
        if id(distribution) not in spelled:
            spelled[id(distribution)] = distribution_to_json(distribution)
        yield (
            models.TrialParamModel,
            {
                "param_name": name,
                "param_value": distribution.to_internal_repr(value),
                "distribution_json": spelled[id(distribution)],
            },
        )
    yield from _attributes(models.TrialUserAttributeModel, trial.user_attrs)
    yield from _attributes(models.TrialSystemAttributeModel, trial.system_attrs)


def _attributes(table: Any, values: Mapping[str, Any]) -> Iterator[tuple[Any, dict[str, Any]]]:
    for key, value in values.items():
        yield table, {"key": key, "value_json": json.dumps(value)}
