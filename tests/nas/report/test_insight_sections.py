"""What the report says was learned: numbers in words, drawn as points with intervals, and the checklist."""

from __future__ import annotations

import shutil
from pathlib import Path

import plotly.graph_objects as go
import pytest

from nas.insight.choice_shares import Choice
from nas.insight.effects import Effect
from nas.insight.lessons import ALONE, SUPERNET, Lesson, find_lessons
from nas.ranking.agreement import Estimate
from nas.report.insight_sections import insight_section, plot_effects, select_drawn
from nas.report.study_report import write_report
from search_spaces.errors import StudyError
from tests.helpers.studies import make_study
from tests.nas.insight.planted import TABLE

OPERATOR, POS, WINDOW = Choice(1, "operator"), Choice(1, "pos"), Choice(1, "window_size", "lsa")
EFFECTS = (
    Effect(OPERATOR, "<lsa>", "dwconv", Estimate(1.2, 0.4, 2.1), 12),
    Effect(OPERATOR, "gsa", "dwconv", Estimate(0.1, -0.4, 0.6), 12),
    Effect(POS, "cpe", "none", Estimate(0.2, -0.1, 0.5), 20),
    Effect(WINDOW, "8", "2", Estimate(-1.0, -1.5, -0.6), 9),
)


def test_effects_are_points_with_intervals_under_their_choices() -> None:
    drawn = select_drawn(EFFECTS)
    assert [effect.value for effect in drawn] == ["<lsa>", "gsa", "8"]  # of encodings none is clear
    plot = plot_effects(drawn)
    assert plot.layout.yaxis.ticktext == (
        "<b>stage 1, operator</b>",
        "&lt;lsa&gt; : dwconv",
        "gsa : dwconv",
        "<b>stage 1, lsa&#x27;s window_size</b>",
        "8 : 2",
    )
    clear, unclear = plot.data
    assert (clear.name, clear.x, clear.y) == ("clear", (1.2, -1.0), (1, 4))
    assert clear.error_x.array == pytest.approx((0.9, 0.4))
    assert clear.error_x.arrayminus == pytest.approx((0.8, 0.5))
    assert (unclear.x, unclear.y) == ((0.1,), (2,))
    assert "1.0 points (0.6 to 1.5) less" in clear.hovertext[1]


def test_a_supernets_opinion_is_called_that() -> None:
    figures: dict[str, go.Figure] = {}
    text = insight_section([Lesson(ALONE, 24, (), ()), Lesson(SUPERNET, 99, EFFECTS, ())], figures)
    assert "By designs trained alone" in text and "Too few designs" in text
    assert "By the supernet's opinion" in text and "may not bear it out" in text
    assert "&lt;lsa&gt; reaches 1.2 points (0.4 to 2.1) more than dwconv" in text and "<lsa>" not in text
    assert list(figures) == ["effects-1"]
    unclear = (EFFECTS[2],)
    assert "No difference is beyond noise for encoding (stage 1)." in insight_section(
        [Lesson(SUPERNET, 50, unclear, ())], figures
    )
    assert list(figures) == ["effects-1"] and insight_section([], figures) == ""


def test_the_report_has_what_trained_designs_teach(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", 6)
    assert [(each.source, each.designs) for each in find_lessons(study, study.records())] == [(SUPERNET, 6)]
    (study.folder / "ranking").mkdir()
    shutil.copy(TABLE, study.folder / "ranking" / "trainings.json")
    write_report(study)
    text = study.report_file.read_text(encoding="utf-8")
    assert "By designs trained alone" in text and "Stage 2, operator, at equal MACs: " in text
    assert '"effects-0"' in text and "Too few designs" in text
    assert "Good practice" in text and "<b>does not</b>" in text and "one run, of seed 0" in text


def test_a_damaged_table_is_one_sentence(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", 6)
    (study.folder / "ranking").mkdir()
    (study.folder / "ranking" / "trainings.json").write_text("{}")
    with pytest.raises(StudyError, match=r"cannot read .*trainings\.json"):
        write_report(study)
