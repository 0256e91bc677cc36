"""Optuna's dashboard of a study, for this machine alone."""

from __future__ import annotations

import errno
import sys
import tempfile
import threading
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from nas.report.dashboard_study import DashboardStudy
from nas.search.storage import open_storage_for_reading
from nas.search.storage_url import clean
from nas.study.folder import Study
from search_spaces.errors import NasError, RequestError, StudyError

#: The only address served: the dashboard has no login and lets anyone delete studies.
HOST = "127.0.0.1"
_REFRESH_SECONDS = 15.0  # between two looks at a study that somebody works on


class _Server(ThreadingMixIn, WSGIServer):
    """Answers requests in parallel: a page asks for several things at once."""

    daemon_threads = True


class _Handler(WSGIRequestHandler):
    """Does not print a line for every request."""

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


def serve(study: Study, port: int) -> None:
    """Serve the dashboard of a study's copy on 127.0.0.1 until Ctrl-C; trials of a search that runs are added.

    Args:
        study: The study; nothing is written to it.
        port: TCP port.

    Raises:
        RequestError: If the port cannot be used.
        StudyError: If the study cannot be read, or has no trials yet.
    """
    import optuna_dashboard  # brings scikit-learn, which sets environment variables when it is imported

    if study.find_store() is None:
        raise StudyError(f"there are no trials in {study.url} yet; let the search of the study begin first")
    with tempfile.TemporaryDirectory(prefix="nas-dashboard-") as folder:
        shown = DashboardStudy(study, Path(folder))
        app = optuna_dashboard.wsgi(shown.storage, artifact_store=shown.artifact_store)
        ended = threading.Event()
        threading.Thread(target=_keep_up, args=(shown, ended), daemon=True).start()
        try:
            _serve(app, port, str(study.folder))
        finally:
            ended.set()


def serve_stored(url: str, port: int) -> None:
    """Serve the dashboard of a storage itself on 127.0.0.1 until Ctrl-C; what visitors change is changed there.

    Args:
        url: SQLAlchemy URL of the storage.
        port: TCP port.

    Raises:
        RequestError: If the port cannot be used.
        StudyError: If the storage cannot be opened.
    """
    import optuna_dashboard  # brings scikit-learn, which sets environment variables when it is imported

    storage = open_storage_for_reading(url)
    if storage is None:
        raise StudyError(f"there are no trials in {url} yet; let the search of the study begin first")
    _serve(optuna_dashboard.wsgi(storage), port, clean(url))


def _keep_up(shown: DashboardStudy, ended: threading.Event) -> None:
    """Copy new trials as long as somebody works on the study."""
    while not ended.wait(_REFRESH_SECONDS):
        try:
            if shown.source.lock.holder() is not None:
                shown.refresh()
        except NasError as error:
            sys.stderr.write(f"warning: the dashboard is not kept up to date: {error}\n")
            return


def _serve(app: Any, port: int, what: str) -> None:
    """Answer requests to an application until Ctrl-C."""
    try:
        server = make_server(HOST, port, app, _Server, _Handler)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            problem = f"port {port} is in use"
        elif error.errno == errno.EACCES:
            problem = f"port {port} may not be used by this user"
        else:
            problem = f"port {port} cannot be used ({error.strerror})"
        raise RequestError(
            f"{problem}; choose another with --port, for example --port {_free_port()}"
        ) from None
    with server:
        sys.stderr.write(f"dashboard of {what} at http://{HOST}:{port}/dashboard (Ctrl-C ends it)\n")
        sys.stderr.flush()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            sys.stderr.write("dashboard ended\n")


def _free_port() -> int:
    with WSGIServer((HOST, 0), _Handler) as probe:
        return int(probe.server_port)
