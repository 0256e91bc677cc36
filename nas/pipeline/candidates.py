"""Which designs are retrained: those of the front, named ones, published ones, and the baselines beside them."""

from __future__ import annotations

from collections.abc import Sequence

from nas.search.trial_store import TrialRecord
from nas.study.designs import SAMPLED, Design, find_design
from nas.study.folder import Study
from nas.training.retraining import MODES, Candidate
from search_spaces.analogues import analogues
from search_spaces.architecture import Architecture
from search_spaces.errors import RequestError
from search_spaces.space import Space


def choose_candidates(
    study: Study,
    *,
    named: Sequence[str] = (),
    top: int = 1,
    modes: tuple[str, ...] | None = None,
    baselines: bool = False,
) -> list[Candidate]:
    """Return what to retrain of a study, each design once.

    Args:
        study: The study.
        named: Designs by digest, published name or file.
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


def candidates_of_front(
    study: Study, front: Sequence[TrialRecord], *, baselines: bool = False
) -> list[Candidate]:
    """Return what to retrain of a front that a search has just found."""
    designs = [Design(trial.architecture, trial.origin) for trial in front]
    return to_candidates(study, [*designs, *(list_baselines(study.space()) if baselines else ())], None)


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
