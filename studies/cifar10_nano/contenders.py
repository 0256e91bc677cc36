"""What the headline compares at equal MACs: found, published, homogeneous and random designs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from nas.ranking.trained_designs import TrainingTable
from search_spaces.analogues import DesignPattern, analogue, analogues
from search_spaces.architecture import Architecture
from search_spaces.block import Block
from search_spaces.cost import costs
from search_spaces.errors import ArchitectureError, SpaceError, WorkError
from search_spaces.scaling import scale_to_macs
from search_spaces.space import Space

#: Largest share of the MACs by which designs that count as equal may miss them.
TOLERANCE = 0.05
FOUND, PUBLISHED, HOMOGENEOUS, RANDOM, PLAIN = "found", "published", "homogeneous", "random", "plain"
#: The published families, as `analogues` calls them.
FAMILIES = (
    "twins_svt-like",
    "twins_pcpvt-like",
    "cswin-like",
    "dwnet-like",
    "dwnet_dynamic-like",
    "refiner-like",
    "swin-like",
)
#: The block that a homogeneous design has throughout, with the encoding of its paper; lengths are the nearest offered.
BLOCKS = {
    "dwconv 3x3": Block("dwconv", (("kernel_size", 3), ("dynamic", "none"))),
    "dwconv 5x5": Block("dwconv", (("kernel_size", 5), ("dynamic", "none"))),
    "dynamic dwconv 3x3": Block("dwconv", (("kernel_size", 3), ("dynamic", "homogeneous"))),
    "lsa": Block("lsa", (("window_size", 4),), "rpe"),
    "gsa": Block("gsa", (("sr_ratio", 1),), "cpe"),
    "cswin": Block("cswin", (("stripe_width", 2),), "lepe"),
    "refiner": Block("refiner", (("expand_ratio", 3), ("kernel_size", 3))),
}
#: Draws for each random design that is wanted, after which a band is taken to have no more.
_DRAWS = 400


@dataclass(frozen=True)
class Contender:
    """A row of the comparison.

    Args:
        group: ``found``, ``published``, ``homogeneous``, ``random`` or ``plain``.
        name: What it is called within its group.
        designs: The design by the seed of the search: one for each, or the same for all; empty where there is none.
        remark: How it comes to its MACs, or why it does not.
    """

    group: str
    name: str
    designs: Mapping[int, Architecture] = field(default_factory=dict)
    remark: str = ""


def is_equal(design: Architecture, macs: float) -> bool:
    """Return whether a design has so many MACs, within the tolerance."""
    return abs(costs(design).macs / macs - 1) <= TOLERANCE


def bring_to_macs(space: Space, design: Architecture, macs: float) -> tuple[Architecture, str]:
    """Return a design like another at so many MACs, and a remark on how that was reached.

    It is the one of the space that is nearest, if that is near enough; else the design itself in widths and depths that
    the space does not offer. Where even that is not near enough, the nearest of the space is returned, or the design.
    """
    try:
        inside = space.closest(macs, like=design)
    except SpaceError:
        inside = design
    if is_equal(inside, macs):
        return inside, "in the space" if space.contains(inside) else "outside the space"
    try:
        return scale_to_macs(design, macs), "in widths or depths that the space lacks"
    except ArchitectureError as error:
        return inside, str(error)


def published_contenders(space: Space, macs: float, seeds: Sequence[int]) -> list[Contender]:
    """Return the published families at so many MACs; those that the space cannot express have no designs."""
    known = dict(analogues(space))
    found = []
    for name in FAMILIES:
        if name not in known:
            found.append(
                Contender(PUBLISHED, name, remark="the space has not its operators, or none but another's")
            )
            continue
        found.append(_contender(PUBLISHED, name, space, known[name], macs, seeds))
    return found


def homogeneous_contenders(space: Space, macs: float, seeds: Sequence[int]) -> list[Contender]:
    """Return designs of one block throughout at so many MACs; those that not every stage offers have no designs."""
    whole = DesignPattern.of_architecture(space.largest)
    found = []
    for name, block in BLOCKS.items():
        design = analogue(whole.with_block(block), space)
        if design is None or not _is_throughout(design, block):
            found.append(Contender(HOMOGENEOUS, name, remark="not every stage offers it"))
            continue
        found.append(_contender(HOMOGENEOUS, name, space, design, macs, seeds))
    return found


def _is_throughout(design: Architecture, block: Block) -> bool:
    """Return whether all blocks have the operator, and where it is a convolution its kernel."""
    wanted = {name: value for name, value in block.settings.items() if name in ("kernel_size", "dynamic")}
    return all(
        each.operator == block.operator and wanted.items() <= each.settings.items()
        for stage in design.stages
        for each in stage.blocks
    )


def _contender(
    group: str, name: str, space: Space, design: Architecture, macs: float, seeds: Sequence[int]
) -> Contender:
    scaled, remark = bring_to_macs(space, design, macs)
    # One that is cheaper than asked is still a comparison, as what is found must beat it; one that is dearer is none.
    comparable = costs(scaled).macs <= (1 + TOLERANCE) * macs
    return Contender(group, name, dict.fromkeys(seeds, scaled) if comparable else {}, remark)


def random_designs(
    space: Space, macs: float, count: int, table: TrainingTable | None = None
) -> list[Architecture]:
    """Return distinct random designs of so many MACs: those of a table first, then ones that are drawn.

    Args:
        space: The space.
        macs: Multiply-accumulates of an image.
        count: How many.
        table: Designs that were trained alone, of which the random ones are taken; None for none.

    Raises:
        WorkError: If the space has hardly any design of so many MACs.
    """
    known = {} if table is None else table.designs
    found = {
        digest: design
        for digest, (design, origin) in known.items()
        if origin.endswith("MACs") and space.contains(design) and is_equal(design, macs)
    }
    rng = Random(0)
    for _ in range(_DRAWS * count):
        if len(found) >= count:
            return list(found.values())[:count]
        design = space.cost_tilting.sample_near(rng, macs)
        if is_equal(design, macs):
            found.setdefault(design.digest, design)
    raise WorkError(
        f"of {space} only {len(found)} designs have {macs / 1e6:.2f}M MACs within {TOLERANCE:.0%}; "
        f"ask for fewer than {count} random ones, or for other --macs"
    )
