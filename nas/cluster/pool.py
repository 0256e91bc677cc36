"""Ray: finding the cluster, and a pool of workers that outlives its members.

The only file that imports ray. Ray listens on all interfaces unless told otherwise before it is
imported; a cluster that this program starts stays on 127.0.0.1.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ANSWER_SECONDS = 3.0
_SAVING_SECONDS = 60.0  # for rank 0 of an interrupted team to write its checkpoint


def cluster_address() -> str | None:
    """Return the address of the cluster to use, or None: of ``RAY_ADDRESS``, else of a running ``ray start``.

    Ray's own ``auto`` would also find the private cluster of another search on this machine, and end with it.
    """
    if named := os.environ.get("RAY_ADDRESS"):
        return None if named == "local" else named
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    try:
        started = Path(folder, "ray", "ray_current_cluster").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return started if answers(started) else None  # a file outlives its cluster


def answers(address: str) -> bool:
    """Return whether something listens at ``host:port``; Ray takes minutes to find that nothing does."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), _ANSWER_SECONDS):
            return True
    except (OSError, ValueError, OverflowError):
        return False


def _settle() -> None:
    """Set what Ray reads from the environment when it is imported, where the user has not."""
    address = cluster_address()
    host = "127.0.0.1" if address is None else address.rpartition(":")[0]
    # 0 keeps everything on 127.0.0.1; workers on other machines must be able to call this one back.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0" if _loopback(host) else "1")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # ``ray start`` asks for the user's token wherever there is one; a program that connects has to say so
    # itself. Only towards this machine: a token is not sent elsewhere unless RAY_AUTH_MODE says so.
    token = os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token"
    if address is not None and _own(host) and ("RAY_AUTH_TOKEN" in os.environ or Path(token).is_file()):
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _loopback(host: str) -> bool:
    return host in ("localhost", "::1", "[::1]") or host.startswith("127.")


def _own(host: str) -> bool:
    """Return whether ``host`` is an address of this machine: only such can be bound."""
    try:
        with socket.create_server((host, 0)):
            return True
    except OSError:
        return False


_settle()

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from nas.cluster.budget import WorkerAllocation
from nas.runtime import interrupt
from nas.runtime.console import log
from search_spaces.errors import BudgetError, NasError, WorkError

TRIES = 3  # workers that one item may kill before it is given up


@dataclass(frozen=True)
class Cluster:
    """What there is to work with.

    Args:
        cpus: CPU cores.
        gpus: GPUs.
        where: ``this machine`` or the cluster, for messages.
        running: Whether a Ray cluster runs already.
    """

    cpus: float
    gpus: float
    where: str
    running: bool


def survey() -> Cluster:
    """Return what is there, connecting to a running Ray cluster if there is one.

    A cluster is one that ``RAY_ADDRESS`` names or that ``ray start`` made on this machine.

    Raises:
        BudgetError: If ``RAY_ADDRESS`` names a cluster that does not answer.
    """
    if not ray.is_initialized():
        address = cluster_address()
        if address is None:
            return Cluster(len(os.sched_getaffinity(0)), _cuda_devices(), "this machine", running=False)
        plain = address != "auto" and "://" not in address
        try:
            if plain and not answers(address):
                raise ConnectionError("nothing listens there")
            _init(address=address)
        except (RayError, ConnectionError, RuntimeError, ValueError) as error:
            raise BudgetError(
                f"the Ray cluster at {address} does not answer ({_reason(error)}); start it, or set "
                "RAY_ADDRESS=local to use this machine alone"
            ) from None
    resources = ray.cluster_resources()
    nodes = len([node for node in ray.nodes() if node["Alive"]])
    where = f"the Ray cluster of {nodes} node{'s' if nodes > 1 else ''}"
    return Cluster(resources.get("CPU", 0), resources.get("GPU", 0), where, running=True)


def start(cluster: Cluster) -> None:
    """Start Ray on this machine unless a cluster runs already.

    Raises:
        WorkError: If Ray does not start.
    """
    for attempt in range(TRIES):
        if ray.is_initialized():
            return
        try:
            _init(address="local", num_cpus=int(cluster.cpus), num_gpus=int(cluster.gpus))
        # Ray gives its processes 30 s, which a busy machine may exceed, and raises a plain Exception then.
        except Exception as error:
            ray.shutdown()
            log.note(f"Ray did not start ({_last(error)})")
            if attempt == TRIES - 1:
                raise WorkError(
                    f"Ray does not start on this machine ({_last(error)}); run the same command again when the "
                    "machine is less busy"
                ) from error


def stop() -> None:
    """Leave the cluster; one that this program started ends."""
    if ray.is_initialized():
        ray.shutdown()


def _init(**arguments: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        extra: dict[str, Any] = {"include_dashboard": False} if arguments["address"] == "local" else {}
        answer = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(logging_level=logging.ERROR, log_to_driver=False, **arguments, **extra)
        finally:
            if threading.current_thread() is threading.main_thread():
                # Ray takes SIGTERM for itself, to end the process at once; a search is to save and say more.
                signal.signal(signal.SIGTERM, answer)


def _reason(error: BaseException) -> str:
    chain = [error]
    while (before := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(before)
    if "InvalidAuthToken" in "".join(map(str, chain)):
        return "it asks for a token: set RAY_AUTH_MODE=token and give this machine the cluster's token"
    return (str(error).splitlines() or [type(error).__name__])[0]


def _cuda_devices() -> int:
    import torch  # slow to import; only needed where no cluster answers

    return torch.cuda.device_count()


class _Worker:
    """Holds what ``factory`` made and calls it."""

    def __init__(self, factory: Callable[..., Any], threads: int, device: str, payload: Any) -> None:
        import torch

        torch.set_num_threads(threads)
        usable = device if torch.cuda.is_available() else "cpu"  # a logical GPU of a test cluster is a CPU
        self.held = factory(payload, usable)

    def ready(self) -> str:
        return ray.get_runtime_context().get_node_id()

    def call(self, method: str, item: Any) -> Any:
        return getattr(self.held, method)(item)


@dataclass(frozen=True)
class Done:
    """A finished item.

    Args:
        index: Its place among the items given.
        value: What the method returned.
    """

    index: int
    value: Any


class Pool:
    """Workers that each hold one object, spread over the cluster as a plan says.

    Args:
        plan: How many workers with what each.
        factory: ``(payload, device) -> object``, an importable function.
        payload: What the factory needs; arrays in it are stored once per node and mapped by its workers.
    """

    def __init__(self, plan: WorkerAllocation, factory: Callable[..., Any], payload: Any) -> None:
        self.plan, self.factory = plan, factory
        self.payload = ray.put(payload)
        self._actors: dict[Any, Any] = {}  # ready-reference or running call -> actor
        self._idle: list[Any] = []
        self._slots: dict[Any, int] = {}  # actor -> its place among the workers
        self._stillborn = 0  # workers in a row that died before they were ready
        for place in range(plan.workers):
            self._spawn(place)

    def _spawn(self, place: int) -> None:
        options: Any = ray.remote(_Worker).options(
            num_cpus=self.plan.cpus_per_worker, num_gpus=self.plan.gpus_per_worker
        )
        threads = max(1, int(self.plan.cpus_per_worker))
        actor = options.remote(self.factory, threads, self.plan.device, self.payload)
        self._actors[actor.ready.remote()] = actor
        self._slots[actor] = place

    def map(self, method: str, items: Iterable[Any], preferred_workers: Sequence[int] = ()) -> Iterator[Done]:
        """Yield results as they come, each item exactly once, whatever workers die.

        Args:
            method: What the held object is called by.
            items: Its arguments.
            homes: For each item the worker (modulo their number) that had better take it, having memory of
                its like. Another takes it only when it has nothing else to do.

        Raises:
            Interrupted: If the user asked to stop.
            WorkError: If the method fails, or one item outlives several workers.
        """
        waiting = list(enumerate(items))
        running: dict[Any, tuple[int, Any]] = {}
        deaths: dict[int, int] = {}
        while waiting or running:
            while waiting and self._idle:
                actor = self._idle.pop()
                index, item = waiting.pop(self._preferred(actor, waiting, preferred_workers))
                reference = actor.call.remote(method, item)
                self._actors[reference] = actor
                running[reference] = (index, item)
            interrupt.check()
            finished, _ = ray.wait(list(self._actors), num_returns=1, timeout=0.5)
            for reference in finished:
                actor = self._actors.pop(reference)
                task = running.pop(reference, None)
                try:
                    value = ray.get(reference)
                except RayTaskError as error:
                    self._idle.append(actor)  # it failed at this item, not for good
                    raise _failure(error) from error
                except (RayActorError, RayError) as error:
                    log.note(f"a worker died ({type(error).__name__}); starting another")
                    with contextlib.suppress(RayError):
                        ray.kill(actor)
                    if task is None:
                        self._stillborn += 1
                        if self._stillborn >= max(TRIES, self.plan.workers):
                            raise WorkError(f"workers die while they start: {_last(error)}") from None
                    self._spawn(self._slots.pop(actor))
                    if task is not None:
                        deaths[task[0]] = deaths.get(task[0], 0) + 1
                        if deaths[task[0]] >= TRIES:
                            raise WorkError(
                                f"evaluating {task[1]} killed {TRIES} workers, most likely for lack of memory; use "
                                "fewer workers (--budget) or a smaller batch"
                            ) from None
                        waiting.insert(0, task)
                    continue
                self._stillborn = 0
                self._idle.append(actor)
                if task is not None:
                    yield Done(task[0], value)

    def _preferred(self, actor: Any, waiting: list[tuple[int, Any]], preferred_workers: Sequence[int]) -> int:
        """Return the position in ``waiting`` of what a worker does next."""
        if not preferred_workers:
            return 0
        own = [
            n
            for n, (i, _) in enumerate(waiting)
            if preferred_workers[i] % self.plan.workers == self._slots[actor]
        ]
        return own[0] if own else len(waiting) - 1

    def close(self) -> None:
        """Let the workers go."""
        for actor in (*self._idle, *self._actors.values()):
            with contextlib.suppress(RayError):
                ray.kill(actor)
        self._idle, self._actors, self._slots = [], {}, {}


def _failure(error: RayTaskError) -> Exception:
    cause = error.cause
    if isinstance(cause, NasError):
        return cause
    log.note(str(error))
    return WorkError(f"a worker failed: {_last(cause or error)} (the whole message is in the study's log)")


def _last(error: BaseException) -> str:
    """Return the last line of an error's message, which names the error where a traceback is part of it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def run_trials(
    function: Callable[[Any, Any, Callable[[dict[str, Any]], None]], None],
    jobs: list[Any],
    payload: Any,
    plan: WorkerAllocation,
    folder: str,
    hear: Callable[[dict[str, Any]], None],
) -> None:
    """Run long jobs side by side as Ray Tune trials, which are restarted where they die.

    Args:
        function: ``(job, payload, report)``; resumes itself from what it saved.
        jobs: One trial each.
        payload: What all need; stored once per node.
        plan: What each trial gets.
        folder: Where Tune keeps its own files.
        hear: Told everything that trials report.

    Raises:
        Interrupted: If the user asked to stop.
        WorkError: If a trial fails again and again.
    """
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Tune's own would end the trials as if they were done
    from ray import tune

    class Hear(tune.Callback):
        def on_step_begin(self, iteration: int, trials: Any, **info: Any) -> None:
            interrupt.check()

        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any) -> None:
            hear(result)

    def trial(config: dict[str, Any], shared: Any) -> None:
        import torch

        torch.set_num_threads(max(1, int(plan.cpus_per_worker)))
        function(jobs[config["job"]], shared, tune.report)

    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(trial, shared=payload),
            {"cpu": plan.cpus_per_worker, "gpu": plan.gpus_per_worker},
        ),
        param_space={"job": tune.grid_search(list(range(len(jobs))))},
        run_config=tune.RunConfig(
            name="tune",
            storage_path=folder,
            failure_config=tune.FailureConfig(max_failures=TRIES - 1),
            callbacks=[Hear()],
            verbose=0,
        ),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results: Any = tuner.fit()
    for result in results:
        if result.error is not None:
            if isinstance(result.error, RayTaskError):
                raise _failure(result.error)
            raise WorkError(f"a training trial failed: {str(result.error).strip().splitlines()[-1]}")


def tune_with_optuna(
    objective: Callable[[dict[str, Any]], dict[str, float]],
    distributions: dict[str, Any],
    names: list[str],
    directions: Sequence[str],
    sampler: Any,
    trials: int,
    folder: str,
) -> None:
    """Search with Ray Tune and its OptunaSearch, for comparison: no search of ours runs so.

    Args:
        objective: Parameters to scores.
        distributions: Optuna's distributions by parameter.
        names: Scores that are objectives.
        directions: Optuna's direction of each.
        sampler: Optuna's sampler.
        trials: Trials.
        folder: Where Tune keeps its own files.

    Raises:
        WorkError: If a trial fails.
    """
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    def trial(config: dict[str, Any]) -> None:
        tune.report(objective(config))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        modes = [direction[:3] for direction in directions]
        algorithm = OptunaSearch(distributions, metric=names, mode=modes, sampler=sampler)
        config = tune.TuneConfig(search_alg=algorithm, num_samples=trials, reuse_actors=True)
        run = tune.RunConfig(name="optuna", storage_path=folder, verbose=0)
        results: Any = tune.Tuner(trial, tune_config=config, run_config=run).fit()
    if results.num_errors:
        raise WorkError(f"{results.num_errors} of {trials} trials of Ray Tune failed: {results.errors[0]}")


class _Rank:
    """One rank of a team; answers ``progress`` while ``work`` runs."""

    def __init__(self, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self.latest: Any = None

    def address(self) -> str:
        with socket.socket() as free:
            free.bind(("", 0))
            return f"{ray.util.get_node_ip_address()}:{free.getsockname()[1]}"

    def work(self, function: Callable[..., None], payload: Any, rank: int, world: int, address: str) -> None:
        import torch
        from torch import distributed

        backend = "nccl" if torch.cuda.is_available() else "gloo"
        distributed.init_process_group(backend, init_method=f"tcp://{address}", rank=rank, world_size=world)
        try:
            function(payload, rank, world, self._report)
        finally:
            distributed.destroy_process_group()

    def _report(self, latest: Any) -> None:
        self.latest = latest

    def progress(self) -> Any:
        return self.latest

    def interrupt(self) -> None:
        interrupt.ask()


def run_distributed(
    function: Callable[[Any, int, int, Callable[[Any], None]], None],
    payload: Any,
    plan: WorkerAllocation,
    hear: Callable[[Any], None],
) -> None:
    """Run one function on all workers of a plan at once, as ranks of a torch.distributed group.

    Plain actors rather than Ray Train, which takes some 15 s to its first step; and an interruption is
    answered at once: rank 0 saves. A team that loses a member is formed anew and goes on from its checkpoint.

    Args:
        function: ``(payload, rank, world, report)``; resumes itself from what rank 0 saved.
        payload: What all need.
        plan: How many ranks with what each.
        hear: Told what rank 0 reported last, about twice a second.

    Raises:
        Interrupted: If the user asked to stop; what was saved remains.
        WorkError: If the function fails, or teams die again and again.
    """
    stored = ray.put(payload)
    for attempt in range(TRIES):
        options: Any = ray.remote(_Rank).options(
            num_cpus=plan.cpus_per_worker, num_gpus=plan.gpus_per_worker, max_concurrency=2
        )
        team = [options.remote(max(1, int(plan.cpus_per_worker))) for _ in range(plan.workers)]
        try:
            address = ray.get(team[0].address.remote())
            running = [
                member.work.remote(function, stored, rank, len(team), address)
                for rank, member in enumerate(team)
            ]
            first = running[0]
            while running:
                interrupt.check()
                done, running = ray.wait(running, timeout=0.5)
                ray.get(done)
                latest = ray.get(team[0].progress.remote())
                if latest is not None:
                    hear(latest)
            return
        except interrupt.Interrupted:
            team[0].interrupt.remote()
            ray.wait([first], timeout=_SAVING_SECONDS)
            raise
        except RayTaskError as error:
            raise _failure(error) from error
        except RayError as error:
            log.say(
                f"a worker of the team died ({type(error).__name__}); starting the team again from its checkpoint"
            )
            if attempt == TRIES - 1:
                raise WorkError(
                    f"the team of {plan.workers} workers died {TRIES} times; see the log"
                ) from None
        finally:
            for member in team:
                with contextlib.suppress(RayError):
                    ray.kill(member)
