"""The copy of a study that Optuna's dashboard shows: what it holds, what it leaves alone, how it looks."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

import optuna
import pytest
from optuna.artifacts import get_all_artifact_meta

from nas.report.dashboard_study import DashboardStudy
from nas.study.attributes import study_attributes, write_attributes
from nas.study.folder import Study
from search_spaces.active import active_values
from tests.helpers.browser import visiting
from tests.helpers.studies import make_study, unseen_trials


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return make_study(tmp_path / "study", 20, max_macs="60k")


@pytest.fixture
def shown(study: Study, tmp_path: Path) -> DashboardStudy:
    return DashboardStudy(study, tmp_path / "artifacts")


def test_trials_have_what_is_active_and_their_constraints_names(study: Study, shown: DashboardStudy) -> None:
    rejected = replace(unseen_trials(study, 1, batch=8)[0], rejected="macs 61k > 60k")
    study.open_store().add([rejected])
    assert shown.refresh() == 1
    records, space = study.records(), study.space()
    trials = shown.copy.trials
    assert len(trials) == len(records) and shown.copy.metric_names == ["top1", "macs"]
    for record, trial in zip(records, trials, strict=True):
        assert trial.params == active_values(space, record.architecture)
        assert len(trial.params) < len(record.params) or len(record.architecture.stages[0].blocks) == 2
        assert trial.user_attrs["over MACs of 60k"] == pytest.approx(record.scores["macs"] / 60_000 - 1)
        state = optuna.trial.TrialState.COMPLETE if record.complete else optuna.trial.TrialState.PRUNED
        assert trial.state == state and trial.user_attrs["digest"] == record.architecture.digest
    assert {trial.state.name for trial in trials} == {"COMPLETE", "PRUNED"}


def test_the_study_is_described(study: Study, shown: DashboardStudy) -> None:
    from optuna_dashboard import get_note

    attrs, note = shown.copy.user_attrs, get_note(shown.copy)
    assert attrs["command"] == "nas search" and attrs["space"] == str(study.space())
    assert attrs["limits"] == "macs at most 60k" and attrs["objectives"] == "top1, macs"
    best = study.front()[0]["digest"]
    assert note.startswith("# study\n") and f"| `{best}` | top-1 " in note and attrs["commit"] in note
    names = [each.filename for each in get_all_artifact_meta(shown.copy)]
    assert names[:2] == [f"01-{best}.svg", f"01-{best}.json"] and names[-1] == "trials.csv"


def test_the_database_says_what_the_study_is(study: Study) -> None:
    store = study.open_store()
    write_attributes(study, store)
    attrs = optuna.load_study(storage=study.url, study_name=store.study.study_name).user_attrs
    assert {name: attrs.get(name) for name in study_attributes(study)} == study_attributes(study)
    assert study.open_store().records() == study.records()  # it is still known as its own


def test_new_trials_are_added_once_and_the_study_is_left_alone(study: Study, shown: DashboardStudy) -> None:
    before = study.folder.joinpath("study.db").read_bytes()
    assert shown.refresh() == 0
    assert study.folder.joinpath("study.db").read_bytes() == before
    study.open_store().add(unseen_trials(study, 2, batch=9))
    assert (shown.refresh(), shown.refresh()) == (2, 0)
    assert len(shown.copy.trials) == len(study.records()) == 22


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def address(shown: DashboardStudy) -> Iterator[str]:
    import optuna_dashboard

    app = optuna_dashboard.wsgi(shown.storage, artifact_store=shown.artifact_store)
    with make_server("127.0.0.1", 0, app, handler_class=_Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/dashboard/studies/0"
        server.shutdown()
        thread.join()


def test_what_is_deleted_in_the_dashboard_is_not_deleted_in_the_study(study: Study, address: str) -> None:
    where = address.replace("/dashboard/studies", "/api/studies")
    request = urllib.request.Request(where, b"{}", {"Content-Type": "application/json"}, method="DELETE")
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status == 204
    assert len(study.records()) >= 20


def test_it_is_seen_in_a_browser(study: Study, address: str) -> None:
    best = study.front()[0]["digest"]
    with visiting(address) as visit:
        visit.page.set_viewport_size({"width": 1280, "height": 2600})
        for text in ("Study User Attributes", str(study.space()), f"01-{best}.svg"):
            visit.page.get_by_text(text).first.wait_for(timeout=20_000)
        drawing = visit.page.locator("img[src^='/artifacts/']").first
        drawing.wait_for(timeout=20_000)
        assert drawing.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
        visit.page.get_by_text("Trade-off, with errors").first.wait_for(timeout=20_000)
        titles = [each for each in visit.overlapping(".g-gtitle text, .legendtext") if each[0]]
        assert titles == []
        hosts = {request.split("/")[2] for request in visit.requests if request.startswith("http")}
        assert hosts == {address.split("/")[2]}
        visit.page.goto(f"{address}/note")
        visit.page.get_by_role("heading", name="The front").wait_for(timeout=20_000)
