"""Where a search keeps its trials: an Optuna study in SQLite, PostgreSQL or MySQL.

Trials are proposed in memory, and every finished one is added to the stored study at once and whole: a sampler
that asks the database for each of a hundred parameters takes longer than evaluating the design. A trial also
says its batch and its index there, from which a search that goes on rebuilds what its sampler knew.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NotRequired

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState
from pydantic import TypeAdapter
from typing_extensions import TypedDict  # that of typing is not understood by pydantic before Python 3.12

from nas.runtime.console import log
from nas.runtime.error_text import first_line
from nas.runtime.secrets import redact
from nas.runtime.uncertainty import Accuracy, decode_bits, encode_bits
from nas.search.constraint_attrs import CONSTRAINTS_ATTR, constraint_attrs_of
from nas.search.database_wait import insist
from nas.search.lease import Lease
from nas.search.objectives import Direction, directions_of
from nas.search.optuna_trials import (
    NoDriverError,
    OtherParametersError,
    PublicStudyTrials,
    StoredTrial,
    StudyTrials,
)
from nas.search.ownership import TRIAL_ATTR, Owner, check_owner, claim
from nas.search.proposers import to_distributions
from nas.search.storage import check_objectives, open_storage, refuse_damage
from nas.search.storage_url import clean
from search_spaces.architecture import Architecture
from search_spaces.choices import Choice, Value
from search_spaces.errors import StudyError
from search_spaces.named_designs import is_plain

_NOT_SCORES = {
    "digest",
    "design",
    "origin",
    "rejected",
    "failed",
    "stopped_after",
}  # user attributes that are none


class _StoredTrial(TypedDict):
    """What a trial's attributes hold, which a damaged database may not."""

    batch: int
    place: int
    repeat: bool
    architecture: dict[str, Any]
    origin: str
    scores: dict[str, float]
    images: NotRequired[int | None]
    correct: NotRequired[str | None]
    rejected: NotRequired[str | None]
    failed: NotRequired[str | None]
    stopped_after: NotRequired[int | None]


_STORED_TRIAL = TypeAdapter(_StoredTrial)


@dataclass(frozen=True)
class TrialRecord:
    """One finished trial.

    Args:
        batch: Number of the batch of proposals it belongs to.
        index_in_batch: Its index there.
        params: Every choice as drawn, inactive ones too.
        architecture: The design they make.
        scores: What is known of it; without accuracy where it was rejected beforehand.
        rejected: The constraint it violates, by what was known beforehand or by what was measured of it; or None.
        origin: ``sampled``, or the name of the design where the search began with it.
        repeat: Whether its scores were answered from an earlier trial.
        stopped_after: Validation images after which racing stopped it, and which its scores are of; or None.
        images: Validation images that its accuracy is of; None where it has none, or an earlier version stored it.
        correct: Which of them were right, as the bits of a number.
        sampler_attrs: What the sampler noted on the trial.
        failed: Why it could not be evaluated, or None.
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
    images: int | None = None
    correct: int | None = field(default=None, repr=False)
    sampler_attrs: Mapping[str, Any] = field(default_factory=dict)
    failed: str | None = None

    @property
    def is_analogue(self) -> bool:
        """Whether it is like a published design, and so proposed first."""
        return self.origin != "sampled" and not is_plain(self.origin)

    @property
    def complete(self) -> bool:
        """Whether it has all its scores, its own or those of an earlier trial of its design."""
        return self.rejected is None and self.failed is None

    @property
    def evaluated(self) -> bool:
        """Whether a forward pass was spent on it."""
        was_measured = self.rejected is None or self.images is not None
        return was_measured and self.failed is None and not self.repeat

    @property
    def measured(self) -> bool:
        """Whether it was evaluated on all validation images."""
        return self.evaluated and self.stopped_after is None

    @property
    def eligible(self) -> bool:
        """Whether it may be on the front: it was evaluated on all validation images, and keeps the limits."""
        return self.measured and self.rejected is None

    @property
    def accuracy(self) -> Accuracy | None:
        """Its accuracy with the images it is of, or None if it has none."""
        top1 = self.scores.get("top1")
        return None if top1 is None else Accuracy(top1, self.images, self.correct)


class Store:
    """A stored study, opened to add trials; `for_reading` is for those who only read.

    Args:
        url: SQLAlchemy URL.
        name: The study's name in it.
        objectives: Score names.
        choices: The space's parameters.
        owner: Whose it is; it is made his where it is nobody's.
        directions: Of the objectives; None for those of the built-in scores.

    Raises:
        StudyError: If the storage cannot be opened, or holds a study of that name that is another's or has other
            objectives.
    """

    def __init__(
        self,
        url: str,
        name: str,
        objectives: tuple[str, ...],
        choices: tuple[Choice, ...],
        owner: Owner | None = None,
        directions: list[Direction] | None = None,
    ) -> None:
        storage, url = open_storage(url), clean(url)
        wanted = directions_of(objectives) if directions is None else directions
        study = insist(url, lambda: _open_study(storage, url, name, objectives, owner, wanted), creates=True)
        self._attach(storage, study, url, objectives, choices)
        self._waits = True
        insist(url, self._trials.prepare, creates=True)

    def _attach(
        self,
        storage: optuna.storages.RDBStorage,
        study: optuna.Study,
        url: str,
        objectives: tuple[str, ...],
        choices: tuple[Choice, ...],
    ) -> None:
        self.study, self.url, self.objectives = study, url, objectives
        self.storage = storage
        self.lease: Lease | None = None  # under which trials are added; None where nobody else can
        self.on_added: Callable[[TrialRecord], None] = lambda record: None  # called with what is stored
        self._waits = False  # who only reads is told at once that nothing answers
        self.distributions: dict[str, BaseDistribution] = dict(to_distributions(choices))
        self._trials = _open_trials(storage, study, self.distributions)

    @classmethod
    def for_reading(
        cls,
        storage: optuna.storages.RDBStorage,
        name: str,
        url: str,
        objectives: tuple[str, ...],
        choices: tuple[Choice, ...],
    ) -> Store:
        """Return the study of a storage that was opened for reading, which holds one of that name."""
        store = cls.__new__(cls)
        study = optuna.load_study(storage=storage, study_name=name)
        store._attach(storage, study, url, objectives, choices)
        return store

    def records(self) -> list[TrialRecord]:
        """Return all finished trials in the order of their proposals.

        Raises:
            StudyError: If the study holds trials of another space, or the database is damaged.
        """
        with refuse_damage(self.url):
            try:
                trials = insist(self.url, self._trials.read) if self._waits else self._trials.read()
            except OtherParametersError:
                raise StudyError(
                    f"study '{self.study.study_name}' in {self.url} holds trials of another space; choose "
                    "another --study or --storage"
                ) from None
            records = [_to_record(trial) for trial in trials if TRIAL_ATTR in trial.system_attrs]
            return sorted(records, key=lambda record: (record.batch, record.index_in_batch))

    def read_batch(self, batch: int) -> dict[int, TrialRecord]:
        """Return the stored trials of one batch, by their index in it."""
        with refuse_damage(self.url):
            trials = insist(self.url, lambda: self._trials.read(batch))
            return {record.index_in_batch: record for record in map(_to_record, trials)}

    def completion_times(self) -> list[datetime]:
        """Return when the trials were finished, in local time and in order."""
        with refuse_damage(self.url):
            return self._trials.completion_times()

    def add(self, records: Sequence[TrialRecord]) -> None:
        """Store finished trials but for those that are stored; when this returns, no kill can lose them.

        Raises:
            StudyError: If another driver has taken the lease; then nothing is stored.
            WorkError: If the database does not answer for long, or there is no room in it.
        """
        if records:
            trials = [self.to_frozen_trial(record) for record in records]
            token = None if self.lease is None else self.lease.token
            try:
                insist(self.url, lambda: self._trials.add(trials, token))
            except NoDriverError:
                assert self.lease is not None
                raise self.lease.lost() from None
        for record in records:
            self.on_added(record)

    def to_frozen_trial(self, record: TrialRecord) -> FrozenTrial:
        """Return a record as an Optuna trial that was finished now."""
        complete = record.complete
        # Optuna's ``create_trial`` would copy and compare the distributions of all parameters once more.
        ended = datetime.now()
        return FrozenTrial(
            number=0,
            trial_id=0,
            state=_state_of(record),
            value=None,
            values=[record.scores[name] for name in self.objectives] if complete else None,
            datetime_start=ended - timedelta(seconds=record.scores.get("seconds", 0.0) if complete else 0.0),
            datetime_complete=ended,
            params=dict(record.params),
            distributions=self.distributions,
            user_attrs=_to_user_attrs(record),
            system_attrs=_to_system_attrs(record),
            intermediate_values={},
        )


def _open_study(
    storage: optuna.storages.RDBStorage,
    url: str,
    name: str,
    objectives: tuple[str, ...],
    owner: Owner | None,
    directions: list[Direction],
) -> optuna.Study:
    """Return a study to be written to; it is made where there is none of that name."""
    if owner is not None:
        check_owner(storage, url, name, owner)
    check_objectives(storage, url, name, objectives, directions)
    try:
        study = optuna.create_study(
            storage=storage, study_name=name, directions=directions, load_if_exists=True
        )
    except ValueError as error:
        raise StudyError(f"cannot open study '{name}' in {url}: {redact(first_line(error))}") from None
    if owner is not None:
        claim(study, owner)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(list(objectives))
    return study


def _open_trials(
    storage: optuna.storages.RDBStorage, study: optuna.Study, distributions: Mapping[str, BaseDistribution]
) -> StudyTrials:
    """Return a study's trials through its tables, or the slow way where these were not tested."""
    try:
        from nas.search import optuna_tables
    except ImportError:
        reason = f"meets tables of Optuna {optuna.__version__} that were not tested"
    else:
        schema = optuna_tables.unsupported_schema(storage)
        if schema is None:
            study_id = storage.get_study_id_from_name(study.study_name)
            return optuna_tables.TableStudyTrials(storage, study_id, distributions)
        reason = f"has a database with a schema that was not tested: {schema}"
    log.say(
        f"study '{study.study_name}' {reason}; its trials go through Optuna's public interface, which takes "
        "about 0.3 s each"
    )
    return PublicStudyTrials(storage, study, distributions)


def _state_of(record: TrialRecord) -> TrialState:
    """Return the state in which a record's trial ended."""
    if record.rejected is not None:
        return TrialState.PRUNED
    return TrialState.COMPLETE if record.complete else TrialState.FAIL


def _to_user_attrs(record: TrialRecord) -> dict[str, Any]:
    """Return what people read of a trial, in the dashboard for instance."""
    attrs: dict[str, Any] = {
        "design": str(record.architecture),
        "digest": record.architecture.digest,
        "origin": record.origin,
        **record.scores,
    }
    if record.rejected is not None:
        attrs["rejected"] = record.rejected
    if record.failed is not None:
        attrs["failed"] = record.failed
    # A stopped trial is complete: its accuracy so far is below that of a rival that is as good in all else,
    # so a sampler learns what it is worth, and it is on no front of Optuna's either.
    if record.stopped_after is not None:
        attrs["stopped_after"] = record.stopped_after
    return attrs


def _to_system_attrs(record: TrialRecord) -> dict[str, Any]:
    """Return what programs read of a trial."""
    attrs = {
        **record.sampler_attrs,
        TRIAL_ATTR: {
            "batch": record.batch,
            "place": record.index_in_batch,
            "repeat": record.repeat,
            "architecture": record.architecture.to_json(),
            **_images_to_json(record),
        },
    }
    if violations := list(constraint_attrs_of(attrs).values()):
        attrs[CONSTRAINTS_ATTR] = violations
    return attrs


def _images_to_json(record: TrialRecord) -> dict[str, Any]:
    """Return the images of a trial's accuracy and which of them were right; nothing where it has none."""
    values = {"images": record.images, "correct": encode_bits(record.correct, record.images)}
    return {name: value for name, value in values.items() if value is not None}


def _to_record(trial: StoredTrial) -> TrialRecord:
    """Return a stored trial as a record.

    Raises:
        ValueError: If a value in it is of another kind than what was stored.
    """
    attrs, ours = trial.user_attrs, trial.system_attrs[TRIAL_ATTR]
    scores = {name: value for name, value in attrs.items() if name not in _NOT_SCORES}
    _STORED_TRIAL.validate_python({**attrs, **ours, "scores": scores})
    return TrialRecord(
        batch=ours["batch"],
        index_in_batch=ours["place"],
        params=trial.params,
        architecture=Architecture.from_json(ours["architecture"]),
        scores=scores,
        rejected=attrs.get("rejected"),
        failed=attrs.get("failed"),
        origin=attrs["origin"],
        repeat=ours["repeat"],
        stopped_after=attrs.get("stopped_after"),
        images=ours.get("images"),
        correct=decode_bits(ours.get("correct"), ours.get("images")),
        sampler_attrs={
            name: value
            for name, value in trial.system_attrs.items()
            if name not in (TRIAL_ATTR, CONSTRAINTS_ATTR)
        },
    )
