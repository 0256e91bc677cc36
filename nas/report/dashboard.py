"""Optuna's dashboard of a study, for this machine alone."""

from __future__ import annotations

import errno
import sys
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from nas.search.storage import open_storage_for_reading
from nas.search.storage_url import clean
from search_spaces.errors import RequestError, StudyError

#: The only address served: the dashboard has no login and lets anyone delete studies.
HOST = "127.0.0.1"


class _Server(ThreadingMixIn, WSGIServer):
    """Answers requests in parallel: a page asks for several things at once."""

    daemon_threads = True


class _Handler(WSGIRequestHandler):
    """Does not print a line for every request."""

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


def serve(url: str, port: int) -> None:
    """Serve the dashboard of a storage on 127.0.0.1 until Ctrl-C.

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
    app = optuna_dashboard.wsgi(storage)
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
        sys.stderr.write(f"dashboard of {clean(url)} at http://{HOST}:{port}/dashboard (Ctrl-C ends it)\n")
        sys.stderr.flush()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            sys.stderr.write("dashboard ended\n")


def _free_port() -> int:
    with WSGIServer((HOST, 0), _Handler) as probe:
        return int(probe.server_port)
