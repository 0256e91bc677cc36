"""The kinds of JSON files that a study consists of, for `nas.runtime.documents.read_document`.

Each names what readers rely on; files hold more, and keys that are not named here are kept as they are.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, ConfigDict, Field
from typing_extensions import TypedDict  # that of typing is not understood by pydantic before Python 3.12

from search_spaces.architecture import Architecture
from search_spaces.errors import ArchitectureError

_OPEN = ConfigDict(extra="allow", allow_inf_nan=False)


def _require_architecture(value: dict[str, Any]) -> dict[str, Any]:
    try:
        Architecture.from_json(value)
    except (ArchitectureError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(str(error)) from None
    return value


#: The JSON of a design that can be built.
ArchitectureJson = Annotated[dict[str, Any], AfterValidator(_require_architecture)]
#: What a design is told by; folders are called so, hence no path and nothing else.
Digest = Annotated[str, Field(pattern=r"^[0-9a-z]{1,64}$")]
#: The name of a file in the folder of what names it.
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}$")]
#: From which weights a design was trained; folders are called so.
Mode = Literal["scratch", "inherit"]
#: A share of images in percent.
Percent = Annotated[float, Field(ge=0, le=100)]
Count = Annotated[int, Field(ge=0)]


class Result(TypedDict):
    """``result.json`` of a retrained design."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    digest: Digest
    mode: Mode
    architecture: ArchitectureJson
    macs: Count
    val_top1: Percent
    test_top1: Percent
    test_images: Annotated[int, Field(ge=1)]
    val_images: NotRequired[Annotated[int, Field(ge=1)] | None]
    test_correct: NotRequired[str | None]
    own_scores: NotRequired[dict[str, float]]
    weights: FileName
    recipe: dict[str, Any]
    origin: NotRequired[str]
    published: NotRequired[bool]


class TeacherRecord(TypedDict):
    """``teacher/DIGEST.json``: who has taught, and how good that one is."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    name: str
    digest: Digest
    images: str
    val_top1: Percent
    val_images: Annotated[int, Field(ge=1)]


class FrontEntry(TypedDict):
    """A design of ``front.json``."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    digest: Digest
    architecture: ArchitectureJson
    scores: dict[str, float]


class Front(TypedDict):
    """``front.json``."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    trials: Count
    evaluated: NotRequired[Count]
    front: list[FrontEntry]


class Interval(TypedDict):
    """A statistic with its interval, null where it is undefined."""

    value: float | None
    low: float | None
    high: float | None


class OrderRecord(TypedDict):
    """How well one way to score orders designs."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    predictor: str
    designs: Count
    tau: Interval
    rho: Interval
    tau_by_quartile: list[Interval]
    regret: dict[str, float]


class RankedDesign(TypedDict):
    """A design that was trained alone."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    digest: Digest
    origin: str
    design: str
    macs: Count
    val_top1: Percent
    val_top1_by_seed: Annotated[dict[str, Percent], Field(min_length=1)]
    scores: dict[str, float | None]


class RankingRecord(TypedDict):
    """``ranking.json``."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    predictors: Annotated[list[OrderRecord], Field(min_length=1)]
    baselines: list[OrderRecord]
    ceiling: list[OrderRecord]
    designs: list[RankedDesign]


class RungRecord(TypedDict):
    """A pause of all trainings: after so many epochs, and how many designs went on."""

    epochs: Annotated[int, Field(ge=1)]
    keep: Annotated[int, Field(ge=1)]


class HalvingCandidate(TypedDict):
    """A design that was trained alone until it fell out, or to the end."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    digest: Digest
    origin: str
    why: str
    design: str
    macs: float
    cost: float
    supernet_top1: Percent
    merit: float
    on_front: bool
    val_top1: dict[str, Percent]
    out_after: int | None


class HalvingRecord(TypedDict):
    """``halving.json``."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    epochs: Annotated[int, Field(ge=1)]
    keep: Annotated[int, Field(ge=1)]
    rungs: list[RungRecord]
    cost: str
    val_images: Annotated[int, Field(ge=1)]
    candidates: Annotated[list[HalvingCandidate], Field(min_length=1)]


class Provenance(TypedDict):
    """``provenance.json``, of which any part may be absent."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    commit: NotRequired[str | None]
    dirty: NotRequired[bool | None]
    packages: NotRequired[dict[str, str]]
    platform: NotRequired[str]
    cpu_count: NotRequired[int | None]
    devices: NotRequired[list[str]]
    command: NotRequired[list[str]]
    time: NotRequired[str]
