"""The Ray cluster to work on: finding it, starting one on this machine, leaving it.

Ray reads some of its settings from the environment when it is imported, among them whether it listens on all
interfaces, as it does unless told otherwise. Ray is therefore imported in one place, `load_ray`, which sets
them first; importing this package imports no Ray and leaves the environment as it is. A cluster that this
program starts stays on 127.0.0.1, asks for a token, and works in a folder of its own (``nas.cluster.ray_session``).
"""

from __future__ import annotations

import atexit
import functools
import logging
import os
import signal
import sys
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from nas.cluster.address import cluster_address, is_listening, is_loopback, is_this_machine
from nas.cluster.lifeline import ClusterLost, Lifeline
from nas.cluster.program import examine_nodes, require_alike, runtime_environment
from nas.cluster.ray_messages import keep_from_stdout
from nas.cluster.ray_session import ask_for_token, clear_session, session_folder, without_secrets
from nas.cluster.start_failure import explain, explain_refusal, read_log_ends
from nas.runtime.console import log
from nas.runtime.error_text import last_line
from nas.runtime.extras import require_package
from search_spaces.errors import BudgetError, NasError, WorkError

MAX_ATTEMPTS = 3  # at what a dying process may have spoilt: a start of Ray, an item, a trial, a team

_own: Cluster | None = None  # what this process has started, if the cluster is its own
_lifeline: Lifeline | None = None
_address: str | None = None  # of the cluster that this process is connected to, where it is not its own


@dataclass(frozen=True)
class Cluster:
    """The resources to work with.

    Attributes:
        cpus: CPU cores.
        gpus: GPUs.
        where: ``this machine`` or the cluster, for messages.
        running: Whether a Ray cluster runs already.
    """

    cpus: float
    gpus: float
    where: str
    running: bool


def ray_environment(address: str | None) -> dict[str, str]:
    """Return the settings that Ray is to find in the environment where the user has not set them.

    Args:
        address: Of the cluster that is used, or None for a private one.
    """
    host = "127.0.0.1" if address is None else address.rpartition(":")[0]
    settings = {
        # 0 keeps everything on 127.0.0.1; workers on other machines must be able to call this one back.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0" if is_loopback(host) else "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_AUTO_CONNECT": "0",  # a call after the cluster is lost would start another one
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
    # ``ray start`` asks for the user's token wherever there is one; a program that connects has to say so
    # itself. Only towards this machine: a token is not sent elsewhere unless RAY_AUTH_MODE says so.
    token = os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token"
    has_token = "RAY_AUTH_TOKEN" in os.environ or Path(token).is_file()
    if address is not None and has_token and is_this_machine(host):
        settings["RAY_AUTH_MODE"] = "token"
    return settings


def load_ray() -> ModuleType:
    """Import Ray after setting what it reads from the environment for the cluster that is found.

    The settings stay: every process that Ray starts inherits them, also long after this.
    """
    if "ray" not in sys.modules:  # as it is in workers, whose settings came with the cluster
        _prepare_environment(cluster_address())
    return _import_ray()


def _load_ray_for(address: str | None) -> ModuleType:
    """Import Ray as `load_ray` does, for a cluster that is known; None for a private one."""
    if "ray" not in sys.modules:
        _prepare_environment(address)
    return _import_ray()


def _prepare_environment(address: str | None) -> None:
    if address is None:
        ask_for_token()
    for name, value in ray_environment(address).items():
        os.environ.setdefault(name, value)


@functools.cache
def _import_ray() -> ModuleType:
    require_package("ray", "searching and training on workers")
    import ray
    import ray.exceptions
    import ray.util

    keep_from_stdout(ray)
    return ray


def is_connected() -> bool:
    """Return whether this process is connected to a cluster; does not import Ray to find that it is not."""
    return "ray" in sys.modules and bool(load_ray().is_initialized())


def survey(address: str | None = None, *, require_same_libraries: bool = True) -> Cluster:
    """Return the resources there are, connecting to a running Ray cluster if there is one.

    One that this process has started for an earlier search is this machine still.

    Args:
        address: Which cluster, as ``--ray-address`` takes it; None for the one that ``RAY_ADDRESS`` names or that
            ``ray start`` made on this machine.
        require_same_libraries: Whether a cluster is refused whose nodes cannot run what this process sends them.

    Raises:
        BudgetError: If the cluster does not answer or is refused, or this process works on another one.
    """
    if not is_connected():
        named = cluster_address(address)
        if named is None:
            return Cluster(len(os.sched_getaffinity(0)), _count_gpus(), "this machine", running=False)
        _connect(named, is_option=address is not None)
        if require_same_libraries:
            _require_alike()
    elif address is not None:
        _require_same(cluster_address(address))
    ray = load_ray()
    resources = ray.cluster_resources()
    if is_private():
        return Cluster(resources.get("CPU", 0), resources.get("GPU", 0), "this machine", running=False)
    nodes = len([node for node in ray.nodes() if node["Alive"]])
    where = f"the Ray cluster of {nodes} node{'s' if nodes > 1 else ''}"
    return Cluster(resources.get("CPU", 0), resources.get("GPU", 0), where, running=True)


def _require_alike() -> None:
    """Leave a cluster whose nodes cannot run what this process sends them; say what else differs there.

    Raises:
        BudgetError: If there are such nodes.
    """
    try:
        differences = require_alike(examine_nodes(load_ray()))
    except BudgetError:
        stop()
        raise
    for difference in differences:
        log.say(f"warning   {difference}")


def _require_same(address: str | None) -> None:
    """Check that the cluster that is asked for is the one that this process is connected to.

    Raises:
        BudgetError: If it is another; Ray's settings cannot be changed once it is imported.
    """
    connected = None if is_private() else _address
    if address != connected:
        raise BudgetError(
            f"this process works on {'this machine' if connected is None else connected} already; start another one "
            f"for --ray-address {address or 'local'}"
        )


def is_private() -> bool:
    """Return whether this process started the cluster that it is connected to, so that nobody else uses it."""
    return _own is not None and is_connected()


def start(cluster: Cluster) -> None:
    """Start Ray on this machine unless a cluster runs already.

    Raises:
        WorkError: If Ray does not start.
    """
    global _own
    if is_connected():
        return
    _load_ray_for(None)
    folder = session_folder()
    _stop_at_exit()
    for attempt in range(MAX_ATTEMPTS):
        try:
            # Without the dashboard, which nobody asked for and which listens too.
            with without_secrets():
                _init(
                    address="local",
                    num_cpus=int(cluster.cpus),
                    num_gpus=int(cluster.gpus),
                    include_dashboard=False,
                    _temp_dir=str(folder),
                )
            _own = cluster
            _watch()
            return
        # Ray gives its processes 30 s, which a busy machine may exceed, and raises a plain Exception then.
        except Exception as error:
            reason = explain(error, folder)
            log.note(f"Ray did not start: {reason}\n{read_log_ends(folder)}")
            stop()
            if attempt == MAX_ATTEMPTS - 1:
                raise WorkError(f"Ray does not start on this machine: {reason}") from error


def stop() -> None:
    """Leave the cluster; one that this program started ends, and what it had in its folder goes."""
    global _own, _lifeline
    if _lifeline is not None:
        _lifeline.close()
        _lifeline = None
    if "ray" in sys.modules:
        load_ray().shutdown()
    _own = None
    clear_session()


def require_alive() -> None:
    """Check that Ray itself runs, before it ends this process because it does not.

    Raises:
        ClusterLost: If it does not.
    """
    if _lifeline is not None:
        _lifeline.check()


def restart(lost: ClusterLost) -> None:
    """Start Ray again where it is lost and was this process's own; all workers and objects are gone.

    Raises:
        ClusterLost: If it is another's.
        WorkError: If it does not start.
    """
    cluster = _own
    stop()
    if cluster is None:
        raise lost
    reason, _, _ = str(lost).partition(";")
    log.say(f"{reason}; starting Ray again")
    start(cluster)


def _watch() -> None:
    """Watch the parts of Ray that this process is connected to."""
    global _lifeline
    ray = load_ray()
    context = ray.get_runtime_context()
    here = next((node for node in ray.nodes() if node["NodeID"] == context.get_node_id()), None)
    if here is not None:
        _lifeline = Lifeline(here["RayletSocketName"], context.gcs_address, private=_own is not None)


@functools.cache
def _stop_at_exit() -> None:
    """Stop the cluster when this process ends, before its folder is removed."""
    atexit.register(stop)


def to_user_error(error: Any) -> NasError:
    """Return the error to raise where a task of Ray failed with ``error``, a ``RayTaskError``.

    Errors of ours reach the user as they are; all others are logged in full and shortened to a line.
    """
    cause = error.cause
    if isinstance(cause, NasError):
        return cause
    log.note(str(error))
    reason = last_line(cause or error)
    return WorkError(f"a worker failed: {reason} (the whole message is in the study's log)")


def _connect(address: str, *, is_option: bool) -> None:
    global _address
    ray = _load_ray_for(address)
    try:
        if not is_listening(address):
            raise ConnectionError("nothing listens there")
        _init(address=address, runtime_env=runtime_environment())
        _address = address
        _watch()
    except (ray.exceptions.RayError, ConnectionError, RuntimeError, ValueError) as error:
        raise BudgetError(explain_refusal(address, error, is_option=is_option)) from None


def _init(**arguments: Any) -> None:
    ray = load_ray()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        handler = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(logging_level=logging.ERROR, log_to_driver=False, **arguments)
        finally:
            if threading.current_thread() is threading.main_thread():
                # Ray takes SIGTERM for itself, to end the process at once; a search has to save and say more.
                signal.signal(signal.SIGTERM, handler)


def _count_gpus() -> int:
    import torch  # slow to import; only needed where no cluster answers

    return torch.cuda.device_count()
