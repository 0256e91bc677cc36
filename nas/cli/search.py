"""``nas search``: the main job."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from nas.cli.options import with_setting_options
from nas.cli.render import front_notes, front_table, halving_table, next_steps, output, print_json, summary
from nas.study.setting import OUTPUT, RUN
from search_spaces.errors import RequestError


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
            rich_help_panel=RUN,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="A study.yaml: the defaults of all options that it holds settings of.", rich_help_panel=RUN
        ),
    ] = None,
    from_study: Annotated[
        str | None,
        typer.Option(
            help="Search this study's trained supernet again, with other limits, objectives, sampler or seed, in "
            "a study of its own.",
            rich_help_panel=RUN,
        ),
    ] = None,
    gate: Annotated[
        float | None,
        typer.Option(
            min=-1,
            max=1,
            metavar="TAU",
            help="First train 16 designs alone, and warn where the supernet's order of them does not surely have this "
            "Kendall tau.",
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
    from nas.pipeline.candidates import count_candidates
    from nas.pipeline.following import Following
    from nas.pipeline.models import best_of_search, export_result, plan_retraining_after, run_retraining
    from nas.pipeline.plan import describe_plan, plan_search
    from nas.pipeline.plan_json import plan_to_json
    from nas.pipeline.request import SearchRequest
    from nas.pipeline.resumable import resumable
    from nas.pipeline.run import run_search
    from nas.pipeline.time_estimate import estimate_time
    from nas.ranking.agreement import LEAST_DESIGNS
    from nas.report.study_report import write_report
    from nas.runtime.console import log

    if export and not retrain:
        raise RequestError("--export exports a retrained design; add --retrain 1")
    if baselines and not retrain:
        raise RequestError("--baselines are retrained beside designs of the front; add --retrain 1")
    if "candidates" in given and not retrain:
        raise RequestError("--candidates are those of which --retrain chooses; add --retrain 1")
    plan = plan_search(SearchRequest(given, config, budget, study, storage, storage_file, from_study))
    if gate is not None and not plan.settings.needs_supernet:
        raise RequestError("--gate judges a supernet, and this search trains none; leave it out")
    if gate is not None and plan.space.size < LEAST_DESIGNS:
        raise RequestError(
            f"--gate judges an order, which takes {LEAST_DESIGNS} designs or more, and of space {plan.space.name} "
            f"there are {plan.space.size}; leave it out"
        )
    count_candidates(plan.settings, retrain, given.get("candidates"))
    following = Following(retrain, baselines, export, gate)
    for line in [*describe_plan(plan), *following.describe(plan)]:
        log.say(line)
    if dry_run:
        time = estimate_time(plan, following)
        for line in time.lines():
            log.say(line)
        if as_json:
            print_json(plan_to_json(plan, following, time))
        return
    command = ["nas", *sys.argv[1:]]
    results: list[dict[str, Any]] = []
    exported, halved = None, False
    with resumable(command), plan.study.lock.hold(command):
        front = run_search(plan, command, gate)
        if retrain:
            results = run_retraining(
                plan_retraining_after(plan, retrain, baselines=baselines), command=command
            )
            if export:
                best = best_of_search(plan.study, results)
                exported = plan.study.export_folder(best["digest"])
                export_result(plan.study, best, exported, ("pt2", "onnx"))
        write_report(plan.study)
    if as_json:
        print_json(summary(plan.study, front, results, exported))
        return
    output.print(front_table(front, results))
    output.print(front_notes(front, plan.study.count_evaluated()), soft_wrap=True, markup=False)
    for trial in front:
        output.print(f"{trial.architecture.digest}  {trial.architecture}", soft_wrap=True, markup=False)
    if halved and (record := plan.study.halving()):
        output.print(halving_table(record, results))
    output.print(next_steps(plan.study, results, exported), soft_wrap=True, markup=False)
