"""Finished trials into an Optuna study in a database and out of it, through Optuna's public interface.

Works with any version of Optuna, and is slow: ``Study.add_trial`` looks the study, the trial and the parameter's
distribution up again for each parameter (0.17 s for a design of 73 parameters on one core, as long as evaluating
a small one), and ``Study.get_trials`` makes an object of every cell and two distributions of every parameter
(6 ms a trial). `nas.search.optuna_tables` is the fast way where the database is one that it knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from nas.search.drivers import is_driver
from nas.search.own_tables import make_tables
from nas.search.ownership import TRIAL_ATTR
from nas.search.trial_keys import key_of


class OtherParametersError(ValueError):
    """A trial has other parameters than the space that it is read for."""


class NoDriverError(Exception):
    """Trials were to be stored by a process that is no driver of the study any more."""


@dataclass(frozen=True)
class StoredTrial:
    """What a database holds of a trial.

    Args:
        params: Its parameters.
        user_attrs: What people read.
        system_attrs: What programs noted.
    """

    params: dict[str, Any]
    user_attrs: dict[str, Any]
    system_attrs: dict[str, Any]


class StudyTrials(Protocol):
    """The trials of one study, all of which have the same parameters."""

    def prepare(self) -> None:
        """Make ready for `add`."""

    def add(self, trials: Sequence[FrozenTrial], token: str | None = None) -> None:
        """Store finished trials, numbered on from the study's last trial; those that are stored are left out.

        Raises:
            NoDriverError: If ``token`` is given and no driver of the study has it.
        """

    def read(self, batch: int | None = None) -> list[StoredTrial]:
        """Return the study's trials, or those of one batch, in the order in which they were stored.

        Raises:
            OtherParametersError: If a trial has other parameters.
        """

    def completion_times(self) -> list[datetime]:
        """Return when the finished trials were finished, in local time and in order."""


class PublicStudyTrials:
    """`StudyTrials` through Optuna's public interface; each trial is a transaction of its own.

    Args:
        storage: The database.
        study: The study in it.
        distributions: The parameters, by name.
    """

    def __init__(
        self,
        storage: optuna.storages.RDBStorage,
        study: optuna.Study,
        distributions: Mapping[str, BaseDistribution],
    ) -> None:
        self._storage, self._study, self._distributions = storage, study, dict(distributions)
        self._stored: set[tuple[int, int]] | None = None  # None where that has to be read

    def prepare(self) -> None:
        """See `StudyTrials.prepare`."""
        make_tables(self._storage.engine)
        self._stored = None

    def add(self, trials: Sequence[FrozenTrial], token: str | None = None) -> None:
        """See `StudyTrials.add`; who loses the right between the check and the end still stores."""
        if token is not None:
            with self._storage.engine.begin() as connection:
                if not is_driver(
                    connection, self._storage.get_study_id_from_name(self._study.study_name), token
                ):
                    raise NoDriverError
        # After a failure nobody knows which of them were stored.
        stored, self._stored = self._stored, None
        if stored is None:
            known = self._study.get_trials(deepcopy=False)
            stored = {key_of(trial).trial for trial in known if TRIAL_ATTR in trial.system_attrs}
        for trial in trials:
            if (key := key_of(trial).trial) not in stored:
                self._study.add_trial(trial)
                stored.add(key)
        self._stored = stored

    def read(self, batch: int | None = None) -> list[StoredTrial]:
        """See `StudyTrials.read`."""
        trials = self._study.get_trials(deepcopy=False)
        if batch is not None:
            ours = [trial for trial in trials if TRIAL_ATTR in trial.system_attrs]
            trials = [trial for trial in ours if key_of(trial).batch == batch]
        for trial in trials:
            if trial.params and trial.distributions != self._distributions:
                raise OtherParametersError(
                    f"trial {trial.number} has other parameters: {sorted(trial.params)}"
                )
        return [StoredTrial(trial.params, trial.user_attrs, trial.system_attrs) for trial in trials]

    def completion_times(self) -> list[datetime]:
        """See `StudyTrials.completion_times`."""
        ended = (trial.datetime_complete for trial in self._study.get_trials(deepcopy=False))
        return sorted(time for time in ended if time is not None)
