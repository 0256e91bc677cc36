"""What a retraining reached after each of its epochs, in a table beside its result."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from nas.runtime.files import write_text

FILE_NAME = "history.csv"


@dataclass(frozen=True)
class Epoch:
    """One epoch of a training.

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


class EpochHistory:
    """The table of a training; what an interrupted one wrote stays.

    Args:
        path: The file.
        done: Epochs that the training's checkpoint has done; later rows are of steps that are trained again.
    """

    def __init__(self, path: Path, done: int) -> None:
        self.path = path
        self.epochs = [row for row in read_history(path) if row.epoch <= done]

    def add(self, epoch: Epoch) -> None:
        """Append an epoch, in place of what there was of it, and write the table."""
        self.epochs = [row for row in self.epochs if row.epoch < epoch.epoch] + [epoch]
        text = io.StringIO()
        table = csv.DictWriter(text, [field.name for field in fields(Epoch)], lineterminator="\n")
        table.writeheader()
        table.writerows(asdict(row) for row in self.epochs)
        write_text(self.path, text.getvalue())


def read_history(path: Path) -> list[Epoch]:
    """Return the epochs that a table has, none where there is no table."""
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return [
            Epoch(int(row["epoch"]), *(float(row[field.name]) for field in fields(Epoch)[1:]))
            for row in csv.DictReader(file)
        ]
