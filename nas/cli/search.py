"""``nas search``: the main job."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from nas.cli.completion import complete_study
from nas.cli.options import RayAddress, Track, with_setting_options
from nas.cli.render import front_notes, front_table, halving_table, next_steps, output, print_json, summary
from nas.study.setting import OUTPUT, RUN


@with_setting_options
def search(
    given: dict[str, Any],
    *,
    budget: Annotated[
        str,
        typer.Option(
            help="What may be used: auto, 8gpu, 2cpu; optionally ,12h and ,500trials.", rich_help_panel=RUN
        ),
    ] = "auto",
    study: Annotated[
        str | None,
        typer.Option(
            help="Folder, or name under studies/.",
            show_default="the names of space and images",
            rich_help_panel=RUN,
            autocompletion=complete_study,
        ),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            help="Optuna storage URL, without a password.",
            show_default="NAS_STORAGE, else SQLite in the study's folder",
            rich_help_panel=RUN,
        ),
    ] = None,
    storage_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the storage URL, readable by its owner alone: for a URL with a password.",
            show_default="none",
            rich_help_panel=RUN,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="A study.yaml: the defaults of all options that it holds settings of.",
            show_default="none",
            rich_help_panel=RUN,
        ),
    ] = None,
    from_study: Annotated[
        str | None,
        typer.Option(
            help="Search this study's trained supernet again, with other limits, objectives, sampler or seed, in "
            "a study of its own.",
            show_default="none",
            rich_help_panel=RUN,
            autocompletion=complete_study,
        ),
    ] = None,
    join: Annotated[
        bool,
        typer.Option(
            "--join",
            help="Where the study is searched already, share that search: no design is evaluated twice.",
            rich_help_panel=RUN,
        ),
    ] = False,
    ray_address: RayAddress = None,
    gate: Annotated[
        float | None,
        typer.Option(
            min=-1,
            max=1,
            metavar="TAU",
            help="First train 16 designs alone, and warn where the supernet's order of them does not surely have this "
            "Kendall tau.",
            show_default="no gate",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    retrain: Annotated[
        int,
        typer.Option(min=0, help="Then retrain this many designs alone, to the end.", rich_help_panel=OUTPUT),
    ] = 0,
    baselines: Annotated[
        bool,
        typer.Option(
            "--baselines",
            help="Retrain the analogues of the published designs as well.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    export: Annotated[
        bool,
        typer.Option("--export", help="Then export the best retrained design.", rich_help_panel=OUTPUT),
    ] = False,
    track: Track = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print the plan and how long it will take, and stop; nothing is written but caches.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print the result as JSON on standard output.", rich_help_panel=OUTPUT),
    ] = False,
) -> None:
    """Train a supernet, search it, and print the Pareto front; run again, it resumes."""
    from nas.api.search import prepare_search
    from nas.pipeline.following import Following
    from nas.pipeline.request import SearchRequest
    from nas.runtime.console import log

    request = SearchRequest(
        given, config, budget, study, storage, storage_file, from_study, join=join, ray_address=ray_address
    )
    job = prepare_search(request, Following(retrain, baselines, export, gate), track)
    for line in job.describe():
        log.say(line)
    if dry_run:
        time = job.estimate()
        for line in time.lines():
            log.say(line)
        if as_json:
            print_json(job.to_json(time))
        return
    found, folder = job.run(["nas", *sys.argv[1:]]), job.plan.study
    front, results = found.front, found.results
    if as_json:
        print_json(summary(folder, front, results, found.exported))
        return
    output.print(front_table(front, results))
    output.print(front_notes(front, folder.count_evaluated()), soft_wrap=True, markup=False)
    for trial in front:
        output.print(f"{trial.architecture.digest}  {trial.architecture}", soft_wrap=True, markup=False)
    if found.halving is not None:
        output.print(halving_table(found.halving, results))
    output.print(next_steps(folder, results, found.exported), soft_wrap=True, markup=False)
