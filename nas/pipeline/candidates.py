"""Which designs are retrained: those of the front, named ones, published ones, and the baselines beside them."""

from __future__ import annotations

from collections.abc import Sequence

from nas.search.halving import CANDIDATES_EACH, Spread, choose_spread
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
    spread = choose_spread(study.records(), study.goal(), count)
    return spread if len(spread) > keep else []


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
