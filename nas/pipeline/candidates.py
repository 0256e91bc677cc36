"""Which designs are retrained: those of the front, named ones, published ones, and the baselines beside them."""

from __future__ import annotations

from collections.abc import Sequence

from nas.pipeline.ranking import SCORE_NAMES, supernet_weights, trainings_file
from nas.ranking.calibration import LEAST_TRAINED, calibrate
from nas.ranking.trained_designs import TrainingTable
from nas.runtime.console import log
from nas.search.halving import CANDIDATES_EACH, Spread, choose_spread
from nas.search.trial_store import TrialRecord
from nas.study.designs import SAMPLED, Design, find_design
from nas.study.folder import Study
from nas.study.settings import Settings
from nas.training.retraining import MODES, Candidate
from search_spaces.analogues import analogues
from search_spaces.architecture import Architecture
from search_spaces.errors import RequestError
from search_spaces.space import Space


def choose_candidates(
    study: Study,
    *,
    named: Sequence[str | Architecture] = (),
    top: int = 1,
    modes: tuple[str, ...] | None = None,
    baselines: bool = False,
) -> list[Candidate]:
    """Return what to retrain of a study, each design once.

    Args:
        study: The study.
        named: Designs by digest, published name, file or value.
        top: How many designs of the front, best first; none of them where designs are named without baselines.
        modes: From which weights; None trains from both where the supernet has them, else from scratch.
        baselines: Whether the analogues of published designs are retrained too, and the front beside named designs.

    Raises:
        RequestError: If a design is not to be found, cannot take the study's images, or cannot inherit.
    """
    designs = [] if named and not baselines else _designs_of_front(study, top)
    designs += [find_design(text, study) for text in named]
    if baselines:
        designs += list_baselines(study.space())
    return to_candidates(study, designs, modes)


def choose_to_halve(study: Study, keep: int, candidates: int | None = None) -> list[Spread]:
    """Return the candidates of which a halving leaves ``keep``; none where the best of the front are taken as they are.

    Args:
        study: A study whose search is finished.
        keep: Designs that will be trained to the end.
        candidates: How many there are; None for as many as the study's settings say.

    Raises:
        RequestError: If they are fewer than ``keep``.
    """
    count = count_candidates(study.settings(), keep, candidates)
    if count == keep:
        return []
    records = study.records()
    spread = choose_spread(records, study.goal(), count, calibrated_merits(study, records))
    return spread if len(spread) > keep else []


def calibrated_merits(study: Study, records: Sequence[TrialRecord]) -> dict[str, float] | None:
    """Return the accuracies that a study's designs are predicted to reach alone, by digest.

    None where a gate or ``nas rank`` has trained too few designs of the study to correct the supernet's scores by.
    """
    ranking, goal = study.ranking(), study.goal()
    if ranking is None or ranking.get("supernet") != str(supernet_weights(study)):
        return None
    table, epochs = TrainingTable(trainings_file(study), {}), int(ranking["epochs"])
    scores = {each["digest"]: each["scores"].get(SCORE_NAMES[goal.quality]) for each in ranking["designs"]}
    measured = [record for record in records if record.measured]
    known = {digest: score for digest, score in scores.items() if score is not None}
    known |= {record.architecture.digest: goal.merit(record.scores) for record in measured}
    trained = [each for each in table.trained(epochs) if each.architecture.digest in known]
    if len(trained) < LEAST_TRAINED:
        return None
    log.say(f"candidates by the supernet's scores, corrected by {len(trained)} designs trained alone")
    return calibrate(known, [record.architecture for record in measured], trained)


def count_candidates(settings: Settings, keep: int, candidates: int | None = None) -> int:
    """Return of how many candidates ``keep`` designs are to be chosen; ``keep`` where nothing scored designs.

    Raises:
        RequestError: If they are fewer than ``keep``, or nothing scored them.
    """
    asked = settings.candidates if candidates is None else candidates
    if asked is not None and asked < keep:
        raise RequestError(
            f"--candidates {asked} are fewer than the {keep} designs to be retrained; give {keep} or more"
        )
    if not settings.needs_supernet:
        if candidates is not None:
            raise RequestError(
                "--candidates are chosen by their accuracy with the supernet's weights, and this search trains no "
                "supernet; leave it out"
            )
        return keep
    return CANDIDATES_EACH * keep if asked is None else asked


def list_baselines(space: Space) -> list[Design]:
    """Return the analogues of the published designs."""
    return [Design(architecture, name) for name, architecture in analogues(space)]


def to_candidates(study: Study, designs: Sequence[Design], modes: tuple[str, ...] | None) -> list[Candidate]:
    """Return designs, each once, with the modes that each can be trained in.

    Raises:
        RequestError: If one is to inherit and cannot.
    """
    space, has_supernet = study.space(), study.settings().needs_supernet
    unique = {design.architecture.digest: design for design in reversed(designs)}
    candidates = []
    for digest in dict.fromkeys(design.architecture.digest for design in designs):
        design = unique[digest]
        why = space.incompatibility(design.architecture) if has_supernet else "the search trained no supernet"
        if why is not None and "inherit" in (modes or ()):
            name = digest if design.origin == SAMPLED else design.origin
            raise RequestError(
                f"{name} cannot inherit the supernet's weights: {why}; leave --inherit out to train it from scratch"
            )
        candidates.append(Candidate(design, modes or (MODES if why is None else ("scratch",))))
    return candidates


def _designs_of_front(study: Study, top: int) -> list[Design]:
    return [
        Design(Architecture.from_json(entry["architecture"]), entry.get("origin", SAMPLED))
        for entry in study.front()[:top]
    ]
