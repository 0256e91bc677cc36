"""Commands that look at what there is: report, dashboard, analyze, data, show, doctor."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.completion import complete_published, complete_study
from nas.cli.options import DESIGNS, DataDir, Json, RayAddress, SkipBroken, StudyName
from nas.cli.render import (
    data_lines,
    findings_table,
    health_lines,
    output,
    print_json,
    similarities_table,
)
from nas.study.setting import DATA, OUTPUT, RUN
from search_spaces.errors import ArchitectureError, RequestError

if TYPE_CHECKING:
    from nas.study.folder import Study


def report(
    studies: Annotated[
        list[str],
        typer.Argument(
            metavar="STUDY...",
            help="Folders of studies, or their names under studies/.",
            autocompletion=complete_study,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="HTML file to write; several studies need one.",
            show_default="report.html in the study",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a study's report, or several studies side by side, as one self-contained HTML page."""
    from nas.study.find import find_study

    found = [find_study(name) for name in studies]
    for study in found:
        study.require()
    if len(found) > 1:
        _compare(found, out, as_json)
    else:
        _report_one(found[0], out, as_json)


def _report_one(study: Study, out: Path | None, as_json: bool) -> None:
    from nas.report.study_report import write_report

    if out is not None:
        raise RequestError(
            f"--out is for several studies; the report of one links to the files beside it, and is {study.report_file}"
        )
    findings = write_report(study)
    if as_json:
        lessons, checks, spent = (
            [each.to_json() for each in part] for part in (findings.lessons, findings.checks, findings.spent)
        )
        page = str(study.report_file)
        print_json({"page": page, "learned": lessons, "good_practice": checks, "spent": spent})
        return
    output.print(str(study.report_file), soft_wrap=True, markup=False)


def _compare(studies: list[Study], out: Path | None, as_json: bool) -> None:
    from nas.report.comparison_page import write_comparison
    from nas.report.study_comparison import compare_studies

    if out is None:
        raise RequestError(
            "a page of several studies belongs to none of them; say with --out where to write it"
        )
    if out.is_dir():
        raise RequestError(f"--out {out} is a folder; give an HTML file in it")
    comparison = compare_studies(studies)
    write_comparison(comparison, out)
    if as_json:
        print_json({"page": str(out), **comparison.to_json()})
        return
    output.print(str(out), soft_wrap=True, markup=False)


def dashboard(
    study: StudyName,
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.", rich_help_panel=RUN)
    ] = 8080,
    stored: Annotated[
        bool,
        typer.Option(
            "--stored",
            help="Show the stored trials themselves, parameters without effect included; what is deleted is gone.",
            rich_help_panel=RUN,
        ),
    ] = False,
) -> None:
    """Serve Optuna's dashboard of a study on 127.0.0.1 until interrupted."""
    from nas.report.dashboard import serve, serve_stored
    from nas.study.find import find_study

    found = find_study(study)
    found.require()
    if stored:
        serve_stored(found.url, port)
    else:
        serve(found, port)


def analyze(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="STUDY|DIR...", help="Studies and export folders.", autocompletion=complete_study
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(help="Images to look at.", show_default="those of the study", rich_help_panel=DATA),
    ] = None,
    data_dir: DataDir = None,
    skip_broken: SkipBroken = False,
    images: Annotated[
        int, typer.Option(min=4, help="Most validation images to look at.", rich_help_panel=DATA)
    ] = 512,
    out: Annotated[
        Path | None,
        typer.Option(
            help="HTML file to write.", show_default="similarity.html in the study", rich_help_panel=OUTPUT
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure how soon the features of trained designs are like their last ones, side by side (CKA)."""
    from nas.pipeline.request import require_data_dir_to_count, require_skip_broken_to_count
    from nas.report import similarity
    from nas.runtime.files import require_writable

    if data is None and data_dir is not None:
        raise RequestError("--data-dir says where the images of --data lie; add --data")
    if data is None and skip_broken:
        raise RequestError(
            "--skip-broken is about the images of --data, and a study has settled it; add --data"
        )
    if data is not None:
        require_data_dir_to_count(data, data_dir)
        require_skip_broken_to_count(data, skip_broken)
    if out is not None:
        require_writable(out.parent)
    result = similarity.analyze(sources, data, data_dir, images, out, skip_broken=skip_broken)
    if as_json:
        print_json(result)
        return
    output.print(similarities_table(result["designs"]))
    if result["out"] is not None:
        output.print(f"drawn in {result['out']}", soft_wrap=True, markup=False)


def data(
    spec: Annotated[
        str,
        typer.Argument(
            metavar="SPEC", help="mnist5k, folder:PATH, the URL of a folder or archive, or a name timm knows."
        ),
    ],
    data_dir: DataDir = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            help="Side of the images in pixels.", show_default="the data's own, or 224", rich_help_panel=DATA
        ),
    ] = None,
    skip_broken: SkipBroken = False,
    as_json: Json = False,
) -> None:
    """Say how a set of images is read: parts, classes, splits, files passed over, every broken file."""
    from nas.pipeline.images import require_usable, survey_images
    from nas.pipeline.request import require_data_dir_to_count, require_skip_broken_to_count

    require_data_dir_to_count(spec, data_dir)
    require_skip_broken_to_count(spec, skip_broken)
    summary = survey_images(spec, data_dir, image_size)
    if as_json:
        print_json(summary.to_json())
    else:
        for line in data_lines(summary):
            output.print(line, soft_wrap=True, markup=False)
    if not skip_broken:
        require_usable(summary)


def show(
    arch: Annotated[
        str,
        typer.Argument(
            metavar="ARCH",
            help="A published name, JSON file, export folder, or digest.",
            autocompletion=complete_published,
        ),
    ],
    study: Annotated[
        str | None,
        typer.Option(
            help="The study that a digest belongs to, or whose images a design is to take.",
            rich_help_panel=DESIGNS,
            autocompletion=complete_study,
            show_default="none",
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="MACS",
            help="Scale it in width and depth to so many MACs, e.g. 4M; same as ARCH@4M.",
            rich_help_panel=DESIGNS,
            show_default="as it is",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Draw one design with its sizes and costs."""
    from nas.report.description import describe
    from nas.report.terminal import draw_design
    from nas.search.objectives import parse_quantity
    from nas.study.designs import find_architecture, find_design
    from nas.study.find import find_study

    if at is not None:
        parse_quantity("--at", at)
        arch = f"{arch}@{at}"
    try:
        if study is None:
            architecture = find_architecture(arch)
        else:
            architecture = find_design(arch, find_study(study)).architecture
    except ArchitectureError as error:
        if at is None:
            raise
        raise ArchitectureError(f"--at {at}: {error}") from None
    description = describe(architecture, arch)
    if as_json:
        print_json(description)
    else:
        output.print(draw_design(description))


def doctor(
    study: Annotated[
        str | None,
        typer.Argument(
            metavar="[STUDY]",
            help="A study to check and mend.",
            show_default="this machine",
            autocompletion=complete_study,
        ),
    ] = None,
    ray_address: RayAddress = None,
    as_json: Json = False,
) -> int:
    """Say what this machine and its cluster offer and lack; or check a study's files and mend what can be mended."""
    if study is not None:
        if ray_address is not None:
            raise RequestError(
                "--ray-address is for what this machine and its cluster offer; leave it out to check a study"
            )
        return _examine_study(study, as_json)
    from nas.cluster.doctor import examine, format_finding

    findings = examine(ray_address)
    if as_json:
        print_json(findings)
    else:
        output.print(findings_table({name: format_finding(finding) for name, finding in findings.items()}))
    return 0


def _examine_study(name: str, as_json: bool) -> int:
    """Check a study; return the exit code: 1 where something stays wrong."""
    from nas.pipeline.study_doctor import examine_study
    from nas.study.find import find_study

    health = examine_study(find_study(name), ["nas", *sys.argv[1:]])
    if as_json:
        print_json(health.to_json())
    else:
        for line in health_lines(health):
            output.print(line, soft_wrap=True, markup=False)
    return 0 if health.is_sound else 1
