"""Where metrics can be sent beside the study's own tables: TensorBoard's event files, or MLflow."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from nas.runtime.extras import require_package
from search_spaces.errors import RequestError, nearest

KINDS = ("tensorboard", "mlflow")
METAVAR = "tensorboard|mlflow[:URI]"
_METRICS_AT_ONCE = 1000  # which a server of MLflow takes in one request


class Tracker(Protocol):
    """What takes metrics."""

    def write(self, run: str, step: int, metrics: Mapping[str, float]) -> None:
        """Add the metrics of a run's step; they may be held back until `flush`."""

    def flush(self) -> None:
        """Write what is held back."""

    def close(self) -> None:
        """Let go of what is open."""


@dataclass(frozen=True)
class TrackerSpec:
    """A tracker as it was asked for.

    Args:
        kind: One of ``KINDS``.
        uri: MLflow's server or database; empty for a database in the study's folder.
    """

    kind: str
    uri: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.uri}" if self.uri else self.kind

    def open(self, folder: Path, name: str, runs: dict[str, str]) -> Tracker:
        """Open it for a study.

        Args:
            folder: The study's folder.
            name: The study's name.
            runs: Ids of its runs by name, which are added to; MLflow alone has them.
        """
        if self.kind == "tensorboard":
            return _TensorBoard(folder / "tensorboard")
        return _MLflow(self.uri or f"sqlite:///{folder.resolve() / 'mlflow.db'}", name, runs)


def parse_tracker(text: str) -> TrackerSpec:
    """Read ``tensorboard``, ``mlflow`` or ``mlflow:URI``.

    Raises:
        RequestError: If it is none of them, holds a password, or its package is not installed.
    """
    kind, _, uri = text.partition(":")
    if kind not in KINDS:
        raise RequestError(f"--track: unknown tracker '{kind}' ({nearest(kind, KINDS)})")
    if uri and kind != "mlflow":
        raise RequestError(f"--track {kind} takes no address; its files are in the study's folder")
    if uri and urlsplit(uri).password:
        raise RequestError(
            "--track: a password in a command line can be read by others; put it into MLFLOW_TRACKING_PASSWORD"
        )
    require_package(kind, f"--track {kind}")
    return TrackerSpec(kind, uri)


class _TensorBoard:
    """Event files, a folder for every run: ``tensorboard --logdir`` draws them together."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writers: dict[str, Any] = {}

    def write(self, run: str, step: int, metrics: Mapping[str, float]) -> None:
        """Add scalars to the run's file."""
        from torch.utils.tensorboard import SummaryWriter

        if run not in self._writers:
            self._writers[run] = SummaryWriter(str(self.folder / run))
        for name, value in metrics.items():
            self._writers[run].add_scalar(name, value, step)

    def flush(self) -> None:
        """Write what is buffered."""
        for writer in self._writers.values():
            writer.flush()

    def close(self) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()


class _MLflow:
    """Runs of an experiment that is called as the study; a server is asked once for many metrics, as it takes them."""

    def __init__(self, uri: str, experiment: str, runs: dict[str, str]) -> None:
        from mlflow import MlflowClient

        self._runs = runs
        self._waiting: dict[str, list[Any]] = {}
        self._logged: set[str] = set()  # runs that this process has logged to
        with _without_warnings():
            self._client = MlflowClient(tracking_uri=uri)
            found = self._client.get_experiment_by_name(experiment)
            self._experiment = found.experiment_id if found else self._client.create_experiment(experiment)

    def write(self, run: str, step: int, metrics: Mapping[str, float]) -> None:
        """Keep metrics for the run."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._waiting.setdefault(run, []).extend(
            Metric(name, value, now, step) for name, value in metrics.items()
        )

    def flush(self) -> None:
        """Log what was kept to its runs, which are made where they are not there yet."""
        with _without_warnings():
            for run, metrics in self._waiting.items():
                if run not in self._runs:
                    self._runs[run] = self._client.create_run(self._experiment, run_name=run).info.run_id
                for first in range(0, len(metrics), _METRICS_AT_ONCE):
                    self._client.log_batch(self._runs[run], metrics=metrics[first : first + _METRICS_AT_ONCE])
            self._logged.update(self._waiting)
            self._waiting.clear()

    def close(self) -> None:
        """Mark the runs as finished, as far as this process goes; more can be logged to them later."""
        with _without_warnings():
            for run in self._logged:
                self._client.set_terminated(self._runs[run])


@contextmanager
def _without_warnings() -> Iterator[None]:
    """MLflow uses what SQLAlchemy 2.1 will remove, and says so at every query."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
