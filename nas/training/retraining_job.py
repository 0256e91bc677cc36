"""One design to be trained by itself: what decides its result, and whether that is there."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from nas.study.designs import Design
from nas.study.folder import Study
from nas.study.recipe import Recipe
from search_spaces.architecture import Architecture


@dataclass(frozen=True)
class RetrainingJob:
    """One design to train.

    Args:
        design: The design, and where it is from.
        mode: ``scratch``, or ``inherit`` to start from the supernet's weights.
        folder: Where its checkpoint and its result go.
        recipe: How to train it.
        images: Digest of the images.
        weights: Digest of the weights that it starts from, where it inherits some.
        compile: Whether its blocks are compiled.
        teacher: Digest of what teaches it beside the labels, where something does.
        training_step: Name of a program's own step, where it has one.
        until: Epochs after which it is paused, to go on later or not; None trains to the end.
    """

    design: Design
    mode: str
    folder: Path
    recipe: Recipe
    images: str
    weights: str | None = None
    compile: bool = False
    teacher: str | None = None
    training_step: str | None = None
    until: int | None = None

    def in_folder(self, folder: Path) -> RetrainingJob:
        """Return the same job with its files in another folder."""
        return replace(self, folder=folder)

    @property
    def architecture(self) -> Architecture:
        """The design itself."""
        return self.design.architecture

    @property
    def name(self) -> str:
        """How it is called in logs."""
        return f"{self.architecture.digest}/{self.mode}"

    @property
    def identity(self) -> str:
        """What its checkpoint belongs to."""
        taught = "" if self.teacher is None else f"/taught by {self.teacher}"
        stepped = "" if self.training_step is None else f"/step {self.training_step}"
        return f"{self.name}/{self.images}/{self.weights}{taught}{stepped}"

    @property
    def former_identities(self) -> list[str]:
        """What earlier versions, which knew of neither teachers nor other steps, wrote for it."""
        return [self.name] if self.teacher is None and self.training_step is None else []

    @property
    def made_from(self) -> dict[str, str | None]:
        """What its result depends on beside design, mode and recipe."""
        taught = {} if self.teacher is None else {"teacher": self.teacher}
        stepped = {} if self.training_step is None else {"training_step": self.training_step}
        return {"images": self.images, "weights": self.weights, **taught, **stepped}

    @property
    def checkpoint_file(self) -> Path:
        """Where its state is kept while it is not finished."""
        return self.folder / "checkpoint.safetensors"

    @property
    def last_epoch(self) -> int:
        """The epoch after which it is paused or finished."""
        return self.recipe.epochs if self.until is None else self.until

    @property
    def result_file(self) -> Path:
        """The file whose presence says that the job is finished."""
        return self.folder / "result.json"

    @property
    def is_finished(self) -> bool:
        """Whether its result is there, of the same recipe, images, inherited weights, teacher and step."""
        if not self.result_file.exists():
            return False
        result = Study.read_result(self.result_file)
        # Results of earlier versions do not say more; a study has one set of images and one supernet.
        earlier = {"images": self.images, "weights": self.weights}
        made_from = result.get("made_from", earlier)
        recipe = {**asdict(Recipe()), **result["recipe"]}  # which had fewer numbers
        return bool(recipe == asdict(self.recipe) and made_from == self.made_from)
