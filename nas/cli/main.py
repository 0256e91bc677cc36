"""The command line: ``nas search``, ``retrain``, ``export``, ``evaluate``, ``report``, ``dashboard``, ...

Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 the work
failed, 2 the request was wrong, 130 interrupted. Heavy libraries are imported by the commands that need
them, so that ``nas --help`` answers at once.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from search_spaces.errors import NasError, RequestError

if TYPE_CHECKING:
    from nas.search.trial_store import TrialRecord
    from nas.study.folder import Study

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Neural architecture search for vision attention designs.",
)
output = Console(highlight=False)

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
StudyName = Annotated[
    str, typer.Argument(metavar="STUDY", help="A study's folder, or its name under studies/.")
]
Budget = Annotated[
    str, typer.Option(help="What may be used: auto, 8gpu, 2cpu; optionally ,12h and ,500trials.")
]
Compile = Annotated[
    bool, typer.Option("--compile", help="Train with blocks compiled by region; needs a C++ compiler.")
]
Formats = Annotated[str, typer.Option("--format", help="all, source, or a list of pt2, onnx.")]


@app.command()
def search(
    space: Annotated[str, typer.Option(help="Name of a space, or a YAML file.")] = "twins_cswin",
    scale: Annotated[str | None, typer.Option(help="Scale of the space; the images' size decides.")] = None,
    data: Annotated[str, typer.Option(help="mnist5k, folder:PATH, or a name timm knows.")] = "mnist5k",
    data_dir: Annotated[Path | None, typer.Option(help="Where timm's data sets lie.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side of the images in pixels.")] = None,
    budget: Budget = "auto",
    study: Annotated[str | None, typer.Option(help="Folder, or name under studies/.")] = None,
    storage: Annotated[str | None, typer.Option(help="Optuna storage URL; SQLite in the study.")] = None,
    objective: Annotated[
        str, typer.Option(help="top1, macs, params, latency_ms; comma separated.")
    ] = "top1,macs",
    max_macs: Annotated[str | None, typer.Option(help="Reject designs above, e.g. 600M.")] = None,
    max_params: Annotated[str | None, typer.Option(help="Reject designs above, e.g. 25M.")] = None,
    max_latency_ms: Annotated[float | None, typer.Option(help="Reject designs above.")] = None,
    latency_table: Annotated[
        str | None,
        typer.Option(help="A latency.json, or a table of nas bench latency; measured here otherwise."),
    ] = None,
    sampler: Annotated[str, typer.Option(help="nsga2, tpe or random.")] = "nsga2",
    batch: Annotated[int, typer.Option(help="Designs proposed at once (NSGA-II's population).")] = 32,
    policy: Annotated[str, typer.Option(help="Paths a step trains: uniform, fair or sandwich.")] = "uniform",
    sharing: Annotated[
        str, typer.Option(help="Projections per operator, or shared in a block.")
    ] = "operator",
    supernet: Annotated[str | None, typer.Option(help="Use these weights instead of training.")] = None,
    init_from: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FILE", help="Start from a published network's checkpoint; repeatable."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of the supernet.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a training step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    retrain_epochs: Annotated[int | None, typer.Option(help="Epochs of retraining.")] = None,
    validation_images: Annotated[int, typer.Option(help="Most images a candidate is scored on.")] = 2000,
    compile: Compile = False,
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0,
    racing: Annotated[
        float | None,
        typer.Option(help="Stop designs that are dominated, at this risk of being wrong, e.g. 0.05."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A study.yaml with all of these settings.")] = None,
    retrain: Annotated[int, typer.Option(min=0, help="Then retrain this many of the front.")] = 0,
    export: Annotated[bool, typer.Option("--export", help="Then export the best retrained design.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    as_json: Json = False,
) -> None:
    """Train a supernet, search it, and print the Pareto front; run again, it resumes."""
    from nas.pipeline import run as pipeline
    from nas.study.folder import STUDIES, Study, find_study
    from nas.study.recipes import RecipeOverrides
    from nas.study.settings import Settings, read_settings

    if config is not None:
        settings = read_settings(config)
    else:
        settings = Settings(
            space=space,
            scale=scale,
            data=data,
            data_dir=None if data_dir is None else str(data_dir),
            image_size=image_size,
            objectives=objective,
            max_macs=max_macs,
            max_params=max_params,
            max_latency_ms=max_latency_ms,
            latency_table=latency_table,
            sampler=sampler,
            batch=batch,
            policy=policy,
            sharing=sharing,
            supernet=supernet,
            init_from=tuple(init_from or ()),
            validation_images=validation_images,
            compile=compile,
            seed=seed,
            racing=racing,
        )
    if export and not retrain:
        raise RequestError("--export exports a retrained design; add --retrain 1")
    where = Study(STUDIES / Path(settings.space).stem) if study is None else find_study(study)
    overrides = None if config is not None else RecipeOverrides(epochs, batch_size, lr, retrain_epochs)
    job = pipeline.prepare(settings, budget, where, storage, overrides)
    for line in pipeline.describe(job):
        _say(line)
    if dry_run:
        if as_json:
            _print_json(
                {"workers": job.workers.workers, "device": job.workers.device, "study": str(where.folder)}
            )
        return
    command = ["nas", *sys.argv[1:]]
    with _resumable(command):
        front = pipeline.run(job, command)
        results: list[dict[str, Any]] = []
        exported = None
        if retrain:
            designs = [row.architecture for row in front[:retrain]]
            results = pipeline.retrain_designs(where, designs, pipeline.MODES, job.data, job.workers)
            if export:
                exported = where.exported(results[0]["digest"])
                pipeline.export_result(where, results[0], exported, ("pt2", "onnx"))
    _write_report(where)
    if as_json:
        _print_json(_summary(where, front, results, exported))
        return
    output.print(_front_table(front, results))
    for row in front:
        output.print(f"{row.architecture.digest}  {row.architecture}", soft_wrap=True, markup=False)
    _next_steps(where, results, exported)


@app.command("retrain")
def retrain_command(
    study: StudyName,
    top: Annotated[int, typer.Option(min=1, help="How many designs of the front, best first.")] = 1,
    arch: Annotated[list[str] | None, typer.Option(help="Digest, published name or JSON file.")] = None,
    from_scratch: Annotated[bool, typer.Option("--from-scratch", help="Only from random weights.")] = False,
    inherit: Annotated[bool, typer.Option("--inherit", help="Only from the supernet's weights.")] = False,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs; the study's recipe without.")] = None,
    compile: Compile = False,
    budget: Budget = "auto",
    as_json: Json = False,
) -> None:
    """Train designs of a study by themselves, from scratch and from the supernet's weights."""
    from nas.cluster import ray_cluster
    from nas.cluster.budget import allocate_workers, parse_budget
    from nas.pipeline import run as pipeline
    from nas.runtime.console import log
    from nas.study.folder import find_architecture, find_study

    where = find_study(study)
    where.require()
    parsed, cluster = parse_budget(budget), ray_cluster.survey()
    plan = allocate_workers(parsed, cluster.cpus, cluster.gpus, where=cluster.where)
    if from_scratch and inherit:
        raise RequestError("--from-scratch and --inherit exclude one another; leave both out to do both")
    modes = ("scratch",) if from_scratch else ("inherit",) if inherit else pipeline.MODES
    if arch:
        designs = [find_architecture(text, where) for text in arch]
    else:
        designs = [_design(entry) for entry in where.front()[:top]]
    space = where.space()
    for design in designs:
        own = (design.in_channels, design.num_classes)
        if own != (space.in_channels, space.num_classes):
            raise RequestError(
                f"design {design.digest} is for {own[0]} channels and {own[1]} classes but the study's images have "
                f"{space.in_channels} and {space.num_classes}; choose a design made for them"
            )
        if "inherit" in modes:
            space.values(design)
    data = pipeline.open_data(where.settings())
    log.to(where.log_file)
    ray_cluster.start(cluster)
    with _resumable(["nas", *sys.argv[1:]]):
        results = pipeline.retrain_designs(where, designs, modes, data, plan, epochs, compile)
    if as_json:
        _print_json(results)
        return
    output.print(_results_table(results))
    output.print(f"next: nas export {where.folder} --out DIR", soft_wrap=True)


@app.command("export")
def export_command(
    source: Annotated[str, typer.Argument(metavar="STUDY", help="A study with retrained designs.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write; exports/DIGEST in the study.")] = None,
    arch: Annotated[str | None, typer.Option(help="Digest of a retrained design; the best.")] = None,
    formats: Formats = "all",
    as_json: Json = False,
) -> None:
    """Write a retrained design as a standalone model and verify it."""
    from nas.export.writer import parse_formats
    from nas.pipeline.run import export_result
    from nas.study.folder import find_study

    chosen = parse_formats(formats)
    where = find_study(source)
    where.require()
    results = [result for result in where.results() if arch is None or result["digest"] == arch]
    if not results:
        what = "no retrained design" if arch is None else f"no retrained design '{arch}'"
        raise RequestError(f"study {where.folder} has {what}; run: nas retrain {where.folder}")
    best = results[0]
    folder = out or where.exported(best["digest"])
    _require_export_folder(folder)
    differences = export_result(where, best, folder, chosen)
    if as_json:
        _print_json({"folder": str(folder), "digest": best["digest"], "max_abs_difference": differences})
    else:
        output.print(f"exported to {folder}", soft_wrap=True)


@app.command("import")
def import_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A torch or safetensors checkpoint.")],
    name: Annotated[str, typer.Option("--as", help="The published network that it is of.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    formats: Formats = "source",
    as_json: Json = False,
) -> None:
    """Turn a checkpoint of a paper's authors or of timm into a standalone model of ours and verify it."""
    from nas.export.importer import import_checkpoint
    from nas.export.writer import parse_formats

    chosen = parse_formats(formats)
    _require_export_folder(out)
    result = import_checkpoint(file, name, out, chosen, ["nas", *sys.argv[1:]])
    if as_json:
        _print_json(result)
        return
    output.print(
        f"imported {result['parameters']:,} parameters of {name} with {result['num_classes']} classes to {out}",
        soft_wrap=True,
    )
    output.print(f"next: nas evaluate {out} --data SPEC\n      nas show {out}", soft_wrap=True)


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(metavar="DIR", help="An export folder.")],
    data: Annotated[str, typer.Option(help="mnist5k, folder:PATH, or a name timm knows.")],
    data_dir: Annotated[Path | None, typer.Option(help="Where timm's data sets lie.")] = None,
    as_json: Json = False,
) -> None:
    """Measure an exported model's accuracy on the test images and its throughput."""
    from nas.export.evaluate_export import evaluate_folder

    scores = evaluate_folder(model, data, data_dir)
    if as_json:
        _print_json(scores)
        return
    table = Table("score", "value")
    for name, value in scores.items():
        table.add_row(name, f"{value:.4g}" if isinstance(value, float) else str(value))
    output.print(table)


@app.command()
def report(study: StudyName) -> None:
    """Write the study's report as one self-contained HTML page."""
    from nas.study.folder import find_study

    where = find_study(study)
    where.require()
    _write_report(where)
    output.print(str(where.report_file), soft_wrap=True)


@app.command()
def dashboard(
    study: StudyName,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 8080,
) -> None:
    """Serve Optuna's dashboard of a study on 127.0.0.1 until interrupted."""
    from nas.report.dashboard import serve
    from nas.study.folder import find_study

    where = find_study(study)
    where.require()
    serve(where.url, port)


@app.command()
def analyze(
    sources: Annotated[list[str], typer.Argument(metavar="STUDY|DIR...", help="Studies and export folders.")],
    data: Annotated[str | None, typer.Option(help="Images to look at; those of the study.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where timm's data sets lie.")] = None,
    images: Annotated[int, typer.Option(min=4, help="Most validation images to look at.")] = 512,
    out: Annotated[Path | None, typer.Option(help="HTML file; similarity.html in the study.")] = None,
    as_json: Json = False,
) -> None:
    """Measure how soon the features of trained designs are like their last ones, side by side (CKA)."""
    from nas.report import similarity as measure
    from nas.runtime.files import require_writable

    if out is not None:
        require_writable(out.parent)
    result = measure.analyze(sources, data, data_dir, images, out)
    if as_json:
        _print_json(result)
        return
    output.print(_similarities(result["designs"]))
    if result["out"] is not None:
        output.print(f"drawn in {result['out']}", soft_wrap=True)


@app.command()
def spaces(as_json: Json = False) -> None:
    """List what can be searched."""
    from nas.report.terminal import drawing_spaces
    from search_spaces.declaration import known_spaces, load_declaration

    if as_json:
        _print_json(
            [
                {
                    "name": (declaration := load_declaration(name)).name,
                    "summary": declaration.summary,
                    "scales": {
                        scale: {"images": list(sides), "architectures": str(declaration.space(scale).size)}
                        for scale, sides in declaration.scales.items()
                    },
                }
                for name in known_spaces()
            ]
        )
    else:
        output.print(drawing_spaces())


@app.command()
def show(
    arch: Annotated[
        str, typer.Argument(metavar="ARCH", help="A published name, JSON file, export folder, or digest.")
    ],
    study: Annotated[str | None, typer.Option(help="The study that a digest belongs to.")] = None,
    as_json: Json = False,
) -> None:
    """Draw one design with its sizes and costs."""
    from nas.report.terminal import describe, draw
    from nas.study.folder import find_architecture, find_study

    architecture = find_architecture(arch, None if study is None else find_study(study))
    description = describe(architecture, arch)
    if as_json:
        _print_json(description)
    else:
        output.print(draw(description))


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say what this machine and its cluster offer, and what is missing."""
    from nas.cluster.doctor import examine, format_finding

    findings = examine()
    if as_json:
        _print_json(findings)
        return
    table = Table("what", "finding")
    for name, finding in findings.items():
        table.add_row(name, escape(format_finding(finding)))
    output.print(table)


@app.command()
def bench(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[BENCH...]",
            help="operators, networks, supernet, population, search, latency, compile; all but the last two.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="JSON to write: results; of latency its table.")] = None,
    html: Annotated[Path | None, typer.Option(help="Page with pictures to write.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="Threads on the CPU; torch decides.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds of each comparison.")] = None,
    image_size: Annotated[int | None, typer.Option(min=1, help="Side of the images in pixels.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images at once.")] = None,
    trials: Annotated[int | None, typer.Option(min=2, help="Trials of bench search; 2000.")] = None,
    space: Annotated[str, typer.Option(help="Name of a space, or a YAML file.")] = "twins_cswin",
    scale: Annotated[str | None, typer.Option(help="Scale of the space; the images' size decides.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes, to see that it runs.")] = False,
    as_json: Json = False,
) -> None:
    """Measure this project's speed here, each side in turn with what people use otherwise."""
    import torch

    from nas.bench import command as benches
    from nas.bench.core import Setup
    from nas.bench.show import drawn, written
    from nas.runtime.files import require_writable, write_json, write_text
    from nas.runtime.interrupt import graceful
    from nas.runtime.provenance import provenance

    names = benches.check(what or (), out)
    for file in (out, html):
        if file is not None:
            require_writable(file.parent)
    setup = Setup(
        device=benches.device_of(device),
        threads=threads or torch.get_num_threads(),
        rounds=rounds,
        image_size=image_size,
        batch_size=batch_size,
        trials=trials,
        space=space,
        scale=scale,
        quick=quick,
    )
    with graceful():
        hear = (lambda name, rows: None) if as_json else (lambda name, rows: output.print(drawn(name, rows)))
        outcome = benches.run(names, setup, hear)
    results = outcome.to_json(provenance(0, ["nas", *sys.argv[1:]]))
    if out is not None:
        write_json(out, results if outcome.table is None else outcome.table.to_json())
    if html is not None:
        write_text(html, written(outcome.rows, outcome.machine, results["provenance"]))
    if as_json:
        _print_json(results)


# -- helpers -------------------------------------------------------------------------------------


def _say(line: str) -> None:
    from nas.runtime.console import log

    log.say(line)


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


class _resumable:
    """Turns an interruption into the line that resumes the work."""

    def __init__(self, command: list[str]) -> None:
        self.command = command

    def __enter__(self) -> None:
        from nas.runtime.interrupt import graceful

        self.guard = graceful()
        self.guard.__enter__()

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        from nas.runtime.interrupt import Interrupted

        self.guard.__exit__(kind, error, trace)
        if isinstance(error, Interrupted):
            raise Interrupted(
                f"interrupted; everything done is saved, resume with: {shlex.join(self.command)}"
            )


def _require_export_folder(folder: Path) -> None:
    from nas.runtime.files import require_writable

    require_writable(folder)
    if folder.exists() and not (folder / "verification.json").exists() and any(folder.iterdir()):
        raise RequestError(f"--out {folder} is not empty and holds no export; choose another folder")


def _design(entry: dict[str, Any]) -> Any:
    from search_spaces.architecture import Architecture

    return Architecture.from_json(entry["architecture"])


def _write_report(study: Study) -> None:
    from nas.report.study_report import write_report

    write_report(study)


def _front_table(front: list[TrialRecord], results: list[dict[str, Any]]) -> Table:
    from nas.runtime.console import quantity

    table = Table("digest", "val top-1", "MACs", "params", title="Pareto front", box=SIMPLE)
    # Known of all designs or of none: an objective, a limit or a given table asks for it.
    timed = any("latency_ms" in row.scores for row in front)
    if timed:
        table.add_column("latency")
    table.add_column("retrained, test top-1")
    table.add_column("from")
    for row in front:
        scores = row.scores
        mine = [
            f"{r['test_top1']:.2f}% {r['mode']}" for r in results if r["digest"] == row.architecture.digest
        ]
        table.add_row(
            row.architecture.digest,
            f"{scores['top1']:.2f}%",
            quantity(scores["macs"]),
            quantity(scores["params"]),
            *([f"{scores['latency_ms']:.3g} ms"] if timed else []),
            "\n".join(mine),
            row.origin,
        )
    return table


def _similarities(designs: list[dict[str, Any]]) -> Table:
    """Return a column of similarities for every design, a row for every block that one of them has."""

    def shown(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    table = Table("block", *(design["label"] for design in designs), title="CKA with the last block")
    columns = [{block["place"]: block["similarity"] for block in design["blocks"]} for design in designs]
    places = {place for column in columns for place in column}
    for place in sorted(places, key=lambda place: [int(number) for number in re.findall(r"\d+", place)]):
        table.add_row(place, *("" if place not in column else shown(column[place]) for column in columns))
    table.add_section()
    table.add_row("mean, but the last", *(shown(design["mean"]) for design in designs))
    return table


def _results_table(results: list[dict[str, Any]]) -> Table:
    table = Table("digest", "trained from", "validation top-1", "test top-1")
    for result in results:
        table.add_row(
            result["digest"], result["mode"], f"{result['val_top1']:.2f}%", f"{result['test_top1']:.2f}%"
        )
    return table


def _next_steps(study: Study, results: list[dict[str, Any]], exported: Path | None) -> None:
    lines = [f"nas report {study.folder}", f"nas dashboard {study.folder}"]
    if not results:
        lines.insert(0, f"nas retrain {study.folder} --top 1")
    elif exported is None:
        lines.insert(0, f"nas export {study.folder}")
    else:
        lines.insert(0, f"nas evaluate {exported} --data {study.settings().data}")
    output.print("next: " + "\n      ".join(lines), soft_wrap=True)


def _summary(
    study: Study, front: list[TrialRecord], results: list[dict[str, Any]], exported: Path | None
) -> dict[str, Any]:
    return {
        "study": str(study.folder),
        "front": [
            {
                "digest": row.architecture.digest,
                "origin": row.origin,
                "scores": dict(row.scores),
                "design": str(row.architecture),
            }
            for row in front
        ],
        "retrained": results,
        "exported": None if exported is None else str(exported),
    }


def main() -> None:
    """Run the command line; every expected failure is one sentence and an exit code."""
    try:
        code = app(sys.argv[1:] or ["--help"], prog_name="nas", standalone_mode=False)
    except typer.Abort:
        code = 130
    except typer.TyperException as error:
        sys.stderr.write(f"nas: {_usage_sentence(error)}\n")
        code = 2
    except NasError as error:
        sys.stderr.write(f"nas: {error}\n")
        code = error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("nas: interrupted at once; run the same command again to resume\n")
        code = 130
    sys.exit(code if isinstance(code, int) else 0)


def _usage_sentence(error: typer.TyperException) -> str:
    """Return what is wrong with a command line, and which help says how it should be."""
    what = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    command = "nas" if context is None else context.command_path
    return f"{what[:1].lower()}{what[1:]}; {command} --help lists what can be typed"


if __name__ == "__main__":
    main()
