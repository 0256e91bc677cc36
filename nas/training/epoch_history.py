"""What a training reached after each of its epochs, in a table beside its result or its checkpoint."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Generic, TypeVar

from nas.runtime.files import write_text
from search_spaces.errors import StudyError

FILE_NAME = "history.csv"


@dataclass(frozen=True)
class SupernetEpoch:
    """One epoch of a supernet's training.

    Args:
        epoch: Its number, from 1.
        loss: Mean training loss of the steps that the process made that ended the epoch, over the paths of each.
        lr: Learning rate of its last step.
        seconds: Time that these steps took.
    """

    epoch: int
    loss: float
    lr: float
    seconds: float


@dataclass(frozen=True)
class Epoch:
    """One epoch of the training of a design alone.

    Args:
        epoch: Its number, from 1.
        val_top1: Accuracy of the averaged weights on the validation images, in percent.
        loss: Mean training loss of the steps that the process made that ended the epoch.
        lr: Learning rate of its last step.
        seconds: Time that these steps took.
    """

    epoch: int
    val_top1: float
    loss: float
    lr: float
    seconds: float


AnyEpoch = TypeVar("AnyEpoch", Epoch, SupernetEpoch)


class EpochHistory(Generic[AnyEpoch]):
    """The table of a training; what an interrupted one wrote stays.

    Args:
        path: The file.
        done: Epochs that the training's checkpoint has done; later rows are of steps that are trained again.
        kind: What a row is.
    """

    def __init__(self, path: Path, done: int, kind: type[AnyEpoch]) -> None:
        self.path = path
        self.kind: type[AnyEpoch] = kind
        self.epochs: list[AnyEpoch] = [row for row in read_history(path, kind) if row.epoch <= done]

    def add(self, epoch: AnyEpoch) -> None:
        """Append an epoch, in place of what there was of it, and write the table."""
        self.epochs = [row for row in self.epochs if row.epoch < epoch.epoch] + [epoch]
        text = io.StringIO()
        table = csv.DictWriter(text, [field.name for field in fields(self.kind)], lineterminator="\n")
        table.writeheader()
        table.writerows(asdict(row) for row in self.epochs)
        write_text(self.path, text.getvalue())


def read_history(path: Path, kind: type[AnyEpoch]) -> list[AnyEpoch]:
    """Return the epochs that a table has, none where there is no table.

    Args:
        path: The file.
        kind: What a row is.

    Raises:
        StudyError: If it is damaged.
    """
    if not path.exists():
        return []
    names = [field.name for field in fields(kind)[1:]]
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return [
                kind(int(row["epoch"]), *(float(row[name]) for name in names)) for row in csv.DictReader(file)
            ]
    except (KeyError, TypeError, ValueError) as error:
        raise StudyError(f"cannot read {path}: it is no table of epochs ({error}); remove it") from None
