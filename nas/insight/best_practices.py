"""How far a study keeps to the published best practices of NAS research, read from its own records.

The fourteen practices are those of Lindauer & Hutter, "Best Practices for Scientific Research on Neural Architecture
Search" (JMLR 21, 2020; arXiv 1909.02453), by their numbers there, in our words. A verdict is on what the files of the
study and of studies beside it hold, and says which: what nobody wrote down cannot be known, and is not taken for done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any

from nas.insight.spent_time import compute_spent_times, is_supernet_complete
from nas.runtime.console import duration
from nas.search.trial_store import TrialRecord
from nas.study.fingerprint import IMAGES, SPACE, find_differences
from nas.study.folder import Study
from nas.study.settings import Settings
from search_spaces.errors import NasError

COMPLIES, FAILS, UNKNOWN = "complies", "does not", "cannot be known"
SECTIONS = {2: "releasing code", 3: "comparing methods", 4: "reporting details"}  # of the paper
_SEED_AND_RATE = ("seed", "drop_path")  # of recipes: the one has to differ, the other follows a design's size
_SHOWN = 5


@dataclass(frozen=True)
class Check:
    """One practice.

    Args:
        number: Its number in the paper.
        section: The paper's section, of ``SECTIONS``.
        practice: What it asks for.
        verdict: ``COMPLIES``, ``FAILS`` or ``UNKNOWN``.
        reason: Why, in a sentence.
        record: The files that this was read from.
    """

    number: int
    section: int
    practice: str
    verdict: str
    reason: str
    record: str

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Neighbour:
    """A study of the same images and space.

    Args:
        differs: The settings in which it differs.
        sampler: How its designs were proposed.
    """

    differs: frozenset[str]
    sampler: str | None


@dataclass(frozen=True)
class Records:
    """What is read of a study, and of those in the folder beside it.

    Args:
        study: The study.
        trials: Its trials.
        searching: How long they took, or None where that is not known.
    """

    study: Study
    trials: Sequence[TrialRecord]
    searching: timedelta | None

    @cached_property
    def origin(self) -> Mapping[str, Any]:
        """Where the study came from."""
        return self.study.provenance()

    @cached_property
    def settings(self) -> Settings:
        """The study's settings."""
        return self.study.settings()

    @cached_property
    def results(self) -> list[dict[str, Any]]:
        """Retrained networks, those from random weights alone."""
        return [each for each in self.study.results() if each["mode"] == "scratch"]

    @cached_property
    def ranked(self) -> list[dict[str, Any]]:
        """Designs of ``nas rank``."""
        ranking = self.study.ranking()
        return [] if ranking is None else ranking["designs"]

    @cached_property
    def beside(self) -> dict[str, Neighbour]:
        """The studies in the folder beside this one that are of the same images and space, by name."""
        identity, found = self.study.identity(), dict[str, Neighbour]()
        if identity is None:
            return found
        for folder in sorted(self.study.folder.resolve().parent.iterdir()):
            try:
                other = None if folder == self.study.folder.resolve() else Study(folder).identity()
            except NasError:  # a damaged neighbour proves nothing
                continue
            if other is not None:
                differs = find_differences(identity.fingerprint, other.fingerprint).keys()
                if not differs & {IMAGES, SPACE}:
                    settings = frozenset("seed" if name.endswith(".seed") else name for name in differs)
                    found[folder.name] = Neighbour(settings, other.fingerprint.get("sampler"))
        return found


_Verdict = tuple[str, str, str]


def check_practices(study: Study, trials: Sequence[TrialRecord], searching: timedelta | None) -> list[Check]:
    """Return the verdict on every practice, in the paper's order.

    Args:
        study: The study.
        trials: Its trials.
        searching: How long they took, or None where that is not known.

    Raises:
        StudyError: If a record of the study is damaged.
    """
    records = Records(study, trials, searching)
    return [
        Check(number, section, practice, *judge(records))
        for number, (section, practice, judge) in enumerate(_PRACTICES, start=1)
    ]


def _training_code(records: Records) -> _Verdict:
    files = "provenance.json, study.yaml"
    commit = records.origin.get("commit")
    if commit is None:
        return UNKNOWN, "no commit is recorded, so that the code cannot be found", files
    recipe = records.settings.retraining
    return (
        COMPLIES,
        f"commit {commit[:12]}; both recipes are in full, that of retraining with {recipe.epochs} epochs and seed "
        f"{recipe.seed}; whether the code is public is not recorded",
        files,
    )


def _method_code(records: Records) -> _Verdict:
    files = "provenance.json, study.yaml"
    commit, settings = records.origin.get("commit"), records.settings
    if commit is None:
        return UNKNOWN, "no commit is recorded, so that the code cannot be found", files
    reason = (
        f"commit {commit[:12]}; sampler {settings.sampler}, batches of {settings.batch}, seed {settings.seed}"
    )
    return COMPLIES, reason, files


def _as_it_ran(records: Records) -> _Verdict:
    dirty = records.origin.get("dirty")
    if dirty is None:
        return UNKNOWN, "whether the code differed from its commit is not recorded", "provenance.json"
    if dirty:
        return FAILS, "the code that ran had changes that are in no commit", "provenance.json"
    return COMPLIES, "the code that ran is that of its commit, without changes", "provenance.json"


def _same_benchmark(records: Records) -> _Verdict:
    files = "retrained/*/scratch/result.json"
    baselines = sorted(
        {each["origin"] for each in records.results if each.get("origin", "sampled") != "sampled"}
    )
    found = [each for each in records.results if each.get("origin", "sampled") == "sampled"]
    if not found or not baselines:
        lacking = "nothing else" if found else "no design that the search proposed"
        return FAILS, f"{lacking} was trained on these images by this recipe to compare with", files
    return COMPLIES, f"on the same images and split: {_list(baselines)} beside {len(found)} found", files


def _ablations(records: Records) -> _Verdict:
    single = {
        name: next(iter(other.differs))
        for name, other in records.beside.items()
        if len(other.differs) == 1 and "seed" not in other.differs
    }
    if not single:
        return (
            FAILS,
            "no study beside it differs from it in one setting alone",
            "study.json of studies beside it",
        )
    text = _list([f"{what} ({name})" for name, what in single.items()])
    return COMPLIES, f"studies that differ in one setting: {text}", "study.json of studies beside it"


def _same_protocol(records: Records) -> _Verdict:
    files = "retrained/*/scratch/result.json"
    if len(records.results) < 2:
        return UNKNOWN, f"{len(records.results)} networks were trained from random weights", files
    first, *others = (each["recipe"] for each in records.results)
    differing = sorted(
        {
            name
            for other in others
            for name in {*first, *other} - set(_SEED_AND_RATE)
            if first.get(name) != other.get(name)
        }
    )
    if differing:
        return FAILS, f"recipes of retrained networks differ in {_list(differing)}", files
    count = len(records.results)
    return COMPLIES, f"{count} networks by one recipe, chosen on validation images, tested once", files


def _over_time(records: Records) -> _Verdict:
    if not records.trials or records.searching is None:
        return UNKNOWN, "no trial has a time", "the trials"
    text = f"each of {len(records.trials)} trials has its time, and the history shows the best so far"
    return COMPLIES, text, "the trials"


def _random_baselines(records: Records) -> _Verdict:
    files = "study.json of studies beside it, ranking.json"
    sampled = (
        f"of random designs {len(records.ranked)} were trained alone, evenly over the MACs"
        if records.ranked
        else "no random designs were trained alone"
    )
    searches = [
        name
        for name, other in records.beside.items()
        if other.sampler == "random" and other.differs <= {"sampler", "seed"}
    ]
    if records.settings.sampler == "random":
        return FAILS, f"this is random search itself, and nothing is compared with it; {sampled}", files
    if searches and records.ranked:
        return COMPLIES, f"random search in {_list(searches)}; {sampled}", files
    lacking = f"random search in {_list(searches)}, but" if searches else "no random search beside it;"
    return FAILS, f"{lacking} {sampled}", files


def _several_runs(records: Records) -> _Verdict:
    files = "study.json of studies beside it, study.yaml"
    others = [name for name, other in records.beside.items() if other.differs == {"seed"}]
    seed = records.settings.seed
    if not others:
        return FAILS, f"one run, of seed {seed}, and none of another seed beside it", files
    return (
        COMPLIES,
        f"{len(others) + 1} runs that differ in their seed: this one ({seed}), {_list(others)}",
        files,
    )


def _tabular(records: Records) -> _Verdict:
    if not records.ranked:
        return FAILS, "no table of trained designs was used; nas rank makes one, or takes one", "ranking.json"
    text = f"the supernet's order was judged on {len(records.ranked)} designs trained alone"
    return COMPLIES, text, "ranking.json"


def _confounders(records: Records) -> _Verdict:
    files = "provenance.json, retrained/*/scratch/result.json"
    origins = [records.origin, *(each.get("provenance") or {} for each in records.results)]
    known = [each for each in origins if each.get("packages")]
    if len(known) < 2:
        return UNKNOWN, "fewer than two runs have their versions recorded", files
    differing = [name for name in ("platform", "python", "devices", "cpu_count") if _varies(known, name)]
    packages: list[Mapping[str, Any]] = [each["packages"] for each in known]
    differing += [name for name in sorted({*packages[0]}) if _varies(packages, name)]
    if differing:
        return FAILS, f"runs differ in {_list(differing)}", files
    return (
        COMPLIES,
        f"{len(known)} runs on one kind of machine with the same versions of all libraries",
        files,
    )


def _tuning(records: Records) -> _Verdict:
    default = Settings()
    changed = [name for name, value in vars(records.settings).items() if value != getattr(default, name)]
    text = f"all settings are there, {_list(changed) or 'none'} other than the defaults"
    return UNKNOWN, f"{text}; how they were found, and at what cost, is not recorded", "study.yaml"


def _whole_time(records: Records) -> _Verdict:
    study, settings = records.study, records.settings
    spent = compute_spent_times(study, records.searching)
    files = ", ".join(dict.fromkeys(each.record for each in spent)) or "times.json"
    known = _list([f"{each.phase} {duration(each.seconds)}" for each in spent]) or "nothing"
    if not spent:
        return FAILS, "no time is recorded", files
    if settings.trains_supernet and not is_supernet_complete(study):
        return FAILS, f"recorded: {known}; the time of the supernet's training is not, or not whole", files
    if settings.needs_supernet and not settings.trains_supernet:
        return FAILS, f"recorded: {known}; the supernet was trained elsewhere, its time is not here", files
    return COMPLIES, known if settings.trains_supernet else f"{known}; there is no supernet", files


def _setup(records: Records) -> _Verdict:
    origin, packages = records.origin, records.origin.get("packages") or {}
    lacking = [name for name in ("platform", "python") if not origin.get(name)]
    lacking += [] if origin.get("devices") or origin.get("cpu_count") else ["hardware"]
    lacking += [] if packages.get("torch") else ["versions of libraries"]
    lacking += [] if origin.get("command") else ["command"]
    if lacking:
        return FAILS, f"not recorded: {_list(lacking)}", "provenance.json"
    hardware = ", ".join(origin.get("devices") or []) or f"{origin['cpu_count']} CPU cores"
    text = f"{hardware}, torch {packages['torch']}, {len(packages)} versions, command and settings"
    return COMPLIES, text, "provenance.json, study.yaml, space.yaml, data.json"


def _varies(values: Sequence[Mapping[str, Any]], name: str) -> bool:
    return any(each.get(name) != values[0].get(name) for each in values)


def _list(names: Sequence[str]) -> str:
    """Return names as a list, a long one cut off."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


_PRACTICES: tuple[tuple[int, str, Callable[[Records], _Verdict]], ...] = (
    (2, "code and settings of the final trainings can be had", _training_code),
    (2, "code and settings of the search can be had", _method_code),
    (2, "the code is the one that ran, tidy or not", _as_it_ran),
    (3, "what is compared shares images, split, space and training", _same_benchmark),
    (3, "parts of the method are left out or changed one by one", _ablations),
    (3, "what is compared is chosen and tested in one way", _same_protocol),
    (3, "quality is shown over what it cost to reach", _over_time),
    (3, "random designs and random search are compared with", _random_baselines),
    (3, "runs are repeated with other seeds, which are named", _several_runs),
    (3, "tables of trained designs are used where there are any", _tabular),
    (3, "machines and versions are the same for all that is compared", _confounders),
    (4, "it is said how settings were tuned, and what that cost", _tuning),
    (4, "the cost of everything is given, from first to last step", _whole_time),
    (4, "hardware, versions and all other details are given", _setup),
)
