"""Sending a study's metrics to a tracker while it is worked on.

The study's own tables stay the record: what trainings and trials write there, whatever process or machine runs them, is
sent on from this process. How far each run was sent is kept in ``tracking.json``, so that a study that is gone on with,
sends what is new and nothing twice. A tracker that fails never stops the work.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nas.report.trackers import TrackerSpec
from nas.runtime.console import log
from nas.runtime.documents import read_json
from nas.runtime.error_text import first_line
from nas.runtime.files import write_json
from nas.study.folder import Study
from nas.training.epoch_history import FILE_NAME as HISTORY
from nas.training.epoch_history import AnyEpoch, Epoch, SupernetEpoch, read_history
from search_spaces.errors import RequestError

FILE_NAME = "tracking.json"
_SECONDS = 30.0  # between two looks at what is new
Row = tuple[str, int, Mapping[str, float]]


@contextlib.contextmanager
def follow(study: Study, spec: TrackerSpec | None, seconds: float = _SECONDS) -> Iterator[None]:
    """Send what a study writes while the block runs; nothing without a tracker.

    Args:
        study: The study; it need not be there yet.
        spec: Where to.
        seconds: Time between two looks.
    """
    if spec is None:
        yield
        return
    ended = threading.Event()
    sender = _Sender(study, spec)

    def look() -> None:
        while not ended.wait(seconds):
            sender.send()

    thread = threading.Thread(target=look, daemon=True, name="tracking")
    thread.start()
    refused = False
    try:
        yield
    except RequestError:
        refused = True  # which writes nothing, elsewhere too
        raise
    finally:
        ended.set()
        thread.join()
        if not refused:
            sender.send()
        sender.close()


class _Sender:
    """Sends rows that were not sent; the first failure of a tracker is said, and ends the sending."""

    def __init__(self, study: Study, spec: TrackerSpec) -> None:
        self._study, self._spec = study, spec
        self._tracker: Any = None
        self._state: dict[str, Any] = {"sent": {}, "runs": {}}
        self._failed = False

    def send(self) -> None:
        """Send what is new."""
        if self._failed or not self._study.settings_file.is_file():
            return
        try:
            self._send()
        except Exception as error:  # whatever a server or a library raises: the work goes on
            self._failed = True
            log.say(f"{self._spec} takes no more metrics ({type(error).__name__}: {first_line(error)})")

    def close(self) -> None:
        """Let the tracker write what it holds back."""
        if self._tracker is not None and not self._failed:
            with contextlib.suppress(Exception):
                self._tracker.close()

    def _send(self) -> None:
        file = self._study.folder / FILE_NAME
        if self._tracker is None:
            stored = read_json(file) if file.is_file() else {}
            self._state = stored.get(str(self._spec), self._state)
            self._tracker = self._spec.open(self._study.folder, self._study.name, self._state["runs"])
        sent: dict[str, list[int]] = self._state["sent"]
        new = [row for row in rows_of(self._study) if row[1] not in sent.get(row[0], ())]
        for run, step, metrics in new:
            self._tracker.write(run, step, metrics)
            sent.setdefault(run, []).append(step)
        if new:
            self._tracker.flush()
            others = read_json(file) if file.is_file() else {}
            write_json(file, {**others, str(self._spec): self._state})


def rows_of(study: Study) -> Iterator[Row]:
    """Yield the metrics of a study's trainings and trials: name of the run, step, values.

    Runs are ``supernet`` and ``retrained/DIGEST/MODE``, a step an epoch from 1, and ``trials``, a step a proposal from
    0. The accuracy on the test images is of the step behind a training's last.
    """
    yield from _epochs("supernet", study.supernet_file.with_name(HISTORY), SupernetEpoch)
    batch = study.settings().batch
    for record in study.records():
        step = record.batch * batch + record.index_in_batch
        yield "trials", step, {name: float(value) for name, value in record.scores.items()}
    for path in sorted((study.folder / "retrained").glob(f"*/*/{HISTORY}")):
        run = f"retrained/{path.parents[1].name}/{path.parent.name}"
        last = 0
        for row in _epochs(run, path, Epoch):
            yield row
            last = row[1]
        result = path.with_name("result.json")
        if result.is_file():
            yield run, last + 1, {"test_top1": float(read_json(result)["test_top1"])}


def _epochs(run: str, path: Path, kind: type[AnyEpoch]) -> Iterator[Row]:
    for epoch in read_history(path, kind):
        metrics = asdict(epoch)
        yield run, metrics.pop("epoch"), metrics
