"""What a Python program brings to a search or a retraining beside settings: functions of its own."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nas.cluster.sending import require_sendable
from nas.runtime.callbacks import NO_CALLBACKS, Callbacks
from nas.search.own_objectives import Objective
from nas.study.recipe import Recipe
from nas.training.criterion import Criterion
from nas.training.lesson import prepare_lesson
from nas.training.training_step import TrainingStep, batch_of, name_step, try_step
from search_spaces.architecture import Architecture
from search_spaces.errors import RequestError
from supernet.subnet import build_subnet

_IMAGES = 4  # on which a step is tried


@dataclass(frozen=True)
class OwnFunctions:
    """The functions of a program.

    Args:
        objectives: Scores that it computes; a study's settings declare them.
        training_step: What is minimised in its trainings; None for the recipe's loss.
        callbacks: What it is told meanwhile.
    """

    objectives: tuple[Objective, ...] = ()
    training_step: TrainingStep | None = None
    callbacks: Callbacks = NO_CALLBACKS

    def require_sendable(self) -> None:
        """Check that what workers call can be sent to them.

        Raises:
            RequestError: If something cannot.
        """
        for each in self.objectives:
            if each.measure is not None:
                require_sendable(f"measure= of objective '{each.name}'", each.measure)
        if self.training_step is not None:
            require_sendable(f"training step '{name_step(self.training_step)}'", self.training_step)

    def require_step(self, name: str | None) -> None:
        """Check that the training step by which a study trains was given, and no other.

        Args:
            name: What the study remembers it by; None for the recipe's.

        Raises:
            RequestError: If it was not.
        """
        if name is not None and self.training_step is None:
            raise RequestError(
                f"the study trains by step '{name}', a function of a Python program; go on there, with training_step= "
                "of nas.search or nas.retrain"
            )

    def try_step(self, design: Architecture, recipe: Recipe, *, taught: bool) -> None:
        """Take the training step of one's own once, on noise, with an untrained network on the CPU.

        Args:
            design: The network.
            recipe: By what it will be trained.
            taught: Whether a teacher will answer too.

        Raises:
            RequestError: If it fails, or returns no loss that trains the network.
        """
        if self.training_step is None:
            return
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            network, criterion = build_subnet(design), Criterion(recipe, design.num_classes)
            images = torch.randn(_IMAGES, design.in_channels, *design.image_size)
            answers = torch.randn(_IMAGES, design.num_classes)
            labels = torch.arange(_IMAGES) % design.num_classes
            teaching = (lambda _: answers) if taught else None
            lesson = prepare_lesson(criterion, teaching, 0, 0, images, labels)
            try_step(self.training_step, network, batch_of(lesson, criterion, 0))


NO_FUNCTIONS = OwnFunctions()
