"""The report as people see it: on wide and narrow screens, light and dark, and what a click does."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from nas.report.study_report import write_report
from nas.study.folder import Study
from nas.training.epoch_history import FILE_NAME, Epoch, EpochHistory, SupernetEpoch
from tests.helpers.browser import file_address, visiting
from tests.helpers.studies import make_study, unseen_trials, write_result

COLOURS = "element => [getComputedStyle(element).color, getComputedStyle(element).backgroundColor]"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the report of a study with all that a report can show, baselines and learning curves among it."""
    study = make_study(tmp_path_factory.mktemp("browser") / "study", 24)
    records = study.records()
    names = ("swin", "cswin", "twins_svt", "twins_pcpvt", "dwnet_dynamic")
    study.open_store().add(
        [
            replace(trial, origin=f"{name}-like", scores={**trial.scores, "top1": 93.2 + at / 5})
            for at, (name, trial) in enumerate(zip(names, unseen_trials(study, 5, batch=9), strict=True))
        ]
    )
    designs = [record.architecture for record in records[:3]]
    for number, design in enumerate(designs):
        further = {"val_images": 500, "params": 1000}
        if number == 2:
            further["origin"] = "cswin-like"
        write_result(study, design, "scratch", 95.0 + number / 2, 94.5 + number / 2, **further)
        history = EpochHistory(study.retraining_folder(design.digest, "scratch") / FILE_NAME, 0, Epoch)
        for epoch in range(1, 13):
            history.add(Epoch(epoch, 80 + epoch, 2 / epoch, 0.01, 1.5))
    supernet = EpochHistory(study.supernet_file.with_name(FILE_NAME), 0, SupernetEpoch)
    for epoch in range(1, 25):
        supernet.add(SupernetEpoch(epoch, 2.3 / epoch, 0.01, 2.5))
    write_report(study)
    return study.report_file


@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (390, "dark")], ids=["wide and light", "narrow and dark"]
)
def test_it_reads_well_and_asks_nobody(page: Path, width: int, scheme: str) -> None:
    with visiting(file_address(page), width, scheme) as visit:
        visit.page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        drawn = visit.page.locator(".figure .main-svg").count()
        assert drawn >= 2 * len(visit.page.query_selector_all(".figure")) > 10
        assert visit.overlapping() == []
        assert visit.sideways() <= 0
        assert (visit.complaints, visit.requests) == ([], [])
        text, paper = (visit.page.eval_on_selector(name, COLOURS) for name in (".drawing text", "body"))
        light = [sum(map(int, re.findall(r"\d+", each)[:3])) for each in (text[0], paper[1])]
        assert (light[0] < light[1]) is (scheme == "light")


def test_a_click_on_a_head_sorts(page: Path) -> None:
    with visiting(file_address(page)) as visit:
        section = visit.page.locator("section", has=visit.page.locator("#section-the-pareto-front"))
        column = [head.inner_text() for head in section.locator("th").all()].index("MACs")

        def shown() -> list[float]:
            cells = section.locator(f"tbody td:nth-child({column + 1})").all()
            scale = {"k": 1e3, "M": 1e6}
            return [float(cell.inner_text()[:-1]) * scale[cell.inner_text()[-1]] for cell in cells]

        before = shown()
        section.get_by_role("button", name="MACs", exact=True).click()
        assert shown() == sorted(before) and len(set(before)) > 2
        section.get_by_role("button", name="MACs", exact=True).click()
        assert shown() == sorted(before, reverse=True)
        digests = section.locator("tbody td:first-child").all_inner_texts()
        section.get_by_role("button", name="digest").click()
        assert section.locator("tbody td:first-child").all_inner_texts() == sorted(digests)


def test_what_it_was_made_from_can_be_saved(page: Path, tmp_path: Path) -> None:
    with visiting(file_address(page)) as visit:
        with visit.page.expect_download() as saved:
            visit.page.get_by_role("link", name="study-trials.csv").click()
        saved.value.save_as(tmp_path / "trials.csv")
    lines = (tmp_path / "trials.csv").read_text().splitlines()
    records = Study(page.parent).records()
    assert len(lines) == len(records) + 1 == 30 and lines[0].startswith(
        "trial,batch,place,digest,origin,outcome,on_front"
    )
    assert records[0].architecture.digest in lines[1]
