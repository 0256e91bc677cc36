"""How many workers one driver keeps busy: the real search, lease, Ray and database, with workers that sleep.

``simulated.py`` says what is simulated. Candidates take a second on average, and differ among each other as they did
where they were measured. Each cell is a process of its own; killed and started again, the script goes on with the cells
that ``results.json`` does not have. PostgreSQL is the server that the tests start, with durable commits::

    python studies/scale/run.py --measure    # times.json: evaluations of designs of the nano supernet, on one core
    python studies/scale/run.py              # 20 minutes on 2 cores
    python studies/scale/run.py --table      # the tables of NOTES.md
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import sqlalchemy

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))  # the helpers of tests, for their server

from nas.bench.search import PhaseTimer  # noqa: E402
from nas.cluster.budget import WorkerAllocation  # noqa: E402
from nas.runtime.files import write_json  # noqa: E402
from nas.runtime.lock import Holder  # noqa: E402
from nas.runtime.provenance import provenance  # noqa: E402
from nas.search.lease import Lease  # noqa: E402
from nas.search.loop import Search, SearchConfig, analytic_costs  # noqa: E402
from nas.search.objectives import Goal  # noqa: E402
from nas.search.storage_url import sqlite_url  # noqa: E402
from nas.search.trial_store import Store, TrialRecord  # noqa: E402
from nas.study.settings import Settings, choose_ahead  # noqa: E402
from search_spaces.declaration import load_declaration  # noqa: E402
from search_spaces.space import Space  # noqa: E402

#: Designs of each cell, by workers: 60 seconds of work for each, 20 where there are very many.
DESIGNS = {1: 60, 8: 480, 64: 3840, 256: 5120}
#: Designs of the cell that looks for growth, in which evaluations take no time, and those between two of its marks.
MANY, MARK = 10_000, 1_000
#: Designs that are measured, and validation images each of them is measured on.
MEASURED, MEASURED_IMAGES = 200, 500


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the cells that are missing, or what else is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", action="store_true", help="measure evaluations instead, into times.json")
    parser.add_argument("--table", action="store_true", help="print the tables of what was run")
    parser.add_argument("--only", help="run this cell alone, for example 64-sqlite")
    parser.add_argument("--out", type=Path, default=HERE / "results.json", help="the results")
    parser.add_argument(
        "--scratch", type=Path, default=Path(tempfile.gettempdir()), help="folder for databases"
    )
    options = parser.parse_args(arguments)
    if options.measure:
        write_json(HERE / "times.json", {"seconds": measure_times(), "provenance": provenance(0, sys.argv)})
        return
    results = json.loads(options.out.read_text()) if options.out.exists() else {}
    if options.table:
        print("\n".join(to_tables(results)))
        return
    if options.only is not None:
        cell = run_cell(options.only, options.scratch)
        write_json(options.out, {**results, options.only: cell})
        print(json.dumps({name: value for name, value in cell.items() if name != "provenance"}), flush=True)
        return
    for name in names_of_cells():
        if name not in results:
            command = [
                sys.executable,
                __file__,
                "--only",
                name,
                "--out",
                options.out,
                "--scratch",
                options.scratch,
            ]
            subprocess.run(command, check=True)
            results = json.loads(options.out.read_text())


def names_of_cells() -> list[str]:
    """Return the cells: workers and database, with the sampler where it is not the default one, and the two of growth."""
    cells = [f"{workers}-{database}" for workers in DESIGNS for database in ("sqlite", "postgresql")]
    return [*cells, "64-sqlite-nsga2", "many-sqlite", "many-sqlite-nsga2"]


def run_cell(name: str, scratch: Path) -> dict[str, Any]:
    """Run one cell in this process and return what it gave."""
    from simulated import SimulatedPopulation, cluster, count_nodes

    size, database, *other = name.split("-")
    many, sampler = size == "many", other[0] if other else "screened"
    workers = 64 if many else int(size)
    designs, times = (MANY, []) if many else (DESIGNS[workers], read_times())
    with serving(database, scratch) as url, cluster(workers):
        population = SimulatedPopulation(WorkerAllocation(workers, 0.0, 1.0, "cpu"), times)
        found = drive(
            url, population, designs, sampler, workers, mark=MARK if many else max(1, designs // 10)
        )
    return {
        "workers": workers,
        "nodes": count_nodes(workers),
        "database": database,
        "sampler": sampler,
        **found,
        "provenance": provenance(0, sys.argv),
    }


def drive(url: str, population: Any, designs: int, sampler: str, workers: int, mark: int) -> dict[str, Any]:
    """Search as `nas.pipeline.run` does, with clocks on it."""
    space, goal, watch = scale_space(), Goal(), PhaseTimer()
    store = Store(url, "scale", goal.objectives, space.choices)
    store.lease = Lease(store.storage, store.study, store.url, Holder.of_this_process(sys.argv), "scale")
    lease, config = store.lease, search_config(goal, sampler, designs, workers)
    watch.add_to(store, add="store")
    marks: list[dict[str, float]] = []
    busy = 0.0

    def look(done: int) -> None:
        marks.append(
            {
                "designs": done,
                "wall": time.perf_counter() - began[0],
                "core": time.process_time() - began[1],
                "main": time.thread_time() - began[2],
                "store_wall": watch.wall["store"],
                "store_core": watch.core["store"],
                "transactions": watch.calls["store"],
                "busy": busy,
                "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                **database_size(store.storage.engine),
            }
        )

    def on_result(record: TrialRecord, done: int) -> None:
        nonlocal busy
        lease.require()
        busy += record.scores["seconds"]
        if done % mark == 0 or done == designs:
            look(done)

    with lease.hold():
        search = Search(space, store, config, population, analytic_costs, meanwhile=population.serve)
        began = time.perf_counter(), time.process_time(), time.thread_time()
        records = search.run(on_result)
    return {
        "designs": sum(record.evaluated for record in records),
        "trials": len(records),
        "busy_share": marks[-1]["busy"] / (workers * marks[-1]["wall"]),
        "marks": marks,
    }


def search_config(goal: Goal, sampler: str, designs: int, workers: int) -> SearchConfig:
    """Return how a search of so many workers proposes."""
    return SearchConfig(goal, sampler=sampler, trials=designs, ahead=choose_ahead(Settings(space="twins_cswin"), (), workers, None).ahead)


def scale_space() -> Space:
    """Return the space that is searched: the main job's at 28 px, of 73 parameters."""
    return load_declaration("twins_cswin").space("nano", 28, 1, 10)


def read_times() -> list[float]:
    """Return the measured seconds of evaluations, scaled to a second on average."""
    seconds = json.loads((HERE / "times.json").read_text())["seconds"]
    mean = fmean(seconds)
    return [one / mean for one in seconds]


def measure_times() -> list[float]:
    """Return the seconds of a core that designs take, evaluated one by one by a worker of the product."""
    from random import Random

    import torch

    from nas.data.dataset import load_data
    from nas.evaluation.population import EvaluationWorker, payload_from_data
    from supernet.supernet import Supernet

    torch.set_num_threads(1)
    space, rng, seconds = scale_space(), Random(0), []
    payload = payload_from_data(Supernet(space), load_data("mnist5k"), MEASURED_IMAGES, seed=0)
    worker = EvaluationWorker(payload, "cpu")
    for _ in range(MEASURED):
        design, began = space.sample(rng), time.process_time()
        worker.score([(design.to_json(), 0.0)])
        seconds.append(time.process_time() - began)
    return seconds


@contextlib.contextmanager
def serving(database: str, scratch: Path) -> Iterator[str]:
    """Yield the URL of an empty database, which is gone after the block."""
    with tempfile.TemporaryDirectory(prefix="nas-scale-", dir=scratch) as folder:
        if database == "sqlite":
            yield sqlite_url(Path(folder, "study.db"))
            return
        from tests.helpers.servers import PostgreSql
        from tests.helpers.servers import serving as start

        class Durable(PostgreSql):
            """The tests' server, which here waits for the disk as a server of people's does."""

            def command(self) -> list[str | Path]:
                return [one for one in super().command() if one != "-F"]

        with start(Durable) as server:
            yield server.url


def database_size(engine: sqlalchemy.Engine) -> dict[str, int]:
    """Return the bytes and the rows of a database."""
    tables = sqlalchemy.inspect(engine).get_table_names()
    with engine.connect() as connection:
        rows = sum(
            connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()
            for table in tables
        )
        if engine.dialect.name == "sqlite":
            size = os.path.getsize(str(engine.url.database))
        else:
            size = connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one()
    return {"bytes": size, "rows": rows}


def to_tables(results: dict[str, Any]) -> Iterator[str]:
    """Yield the tables, in Markdown."""
    yield (
        "| workers | nodes | database | sampler | candidates | candidates/s | of ideal | driver ms a candidate | "
        "of it storage | waiting for storage | trials a transaction |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for cell in results.values():
        last, ms = cell["marks"][-1], 1e3 / cell["designs"]
        shares = (last["core"] * ms, last["store_core"] * ms, (last["store_wall"] - last["store_core"]) * ms)
        if not last["busy"]:
            continue
        yield (
            f"| {cell['workers']} | {cell['nodes']} | {cell['database']} | {cell['sampler']} | {cell['designs']} | "
            f"{cell['designs'] / last['wall']:.1f} | {100 * cell['busy_share']:.1f}% | "
            + " | ".join(f"{one:.1f}" for one in shares)
            + f" | {cell['trials'] / last['transactions']:.1f} |"
        )
    for name, cell in results.items():
        if cell["marks"][-1]["busy"]:
            continue
        yield ""
        yield f"{name}: {cell['designs']} designs that take no time"
        yield ""
        yield "| designs | driver ms a design | of it storage | rows a design | bytes a design | driver MB |"
        yield "|---|---|---|---|---|---|"
        first = dict.fromkeys(cell["marks"][0], 0.0)
        for mark in cell["marks"]:
            count = mark["designs"] - first["designs"]
            core, store, rows, size = (
                (mark[one] - first[one]) / count for one in ("core", "store_core", "rows", "bytes")
            )
            yield (
                f"| {int(first['designs']) + 1}-{int(mark['designs'])} | {1e3 * core:.1f} | {1e3 * store:.1f} | "
                f"{rows:.1f} | {size:.0f} | {mark['rss_mb']:.0f} |"
            )
            first = mark


def format_times(seconds: Sequence[float]) -> str:
    """Return mean and spread of measured seconds."""
    return f"{fmean(seconds):.3f} ± {stdev(seconds):.3f} s, {min(seconds):.3f} to {max(seconds):.3f} s"


if __name__ == "__main__":
    main()
