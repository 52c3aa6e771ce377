"""Where per-shard work runs: in this process, in several, or on a Ray cluster. What it does is the same function of the same tasks."""

import os
import pickle
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from threading import Thread
from typing import Any, Final, Literal, Protocol

from curate.errors import DoesNotFitError, InputError, MissingExtraError, OptionError, UsageError, did_you_mean
from curate.progress import Progress, Silent

ENGINES: Final = ("local", "ray")
TRIES: Final = 3  # that a task may take a worker down
AHEAD: Final = 2  # tasks at a Ray worker
REACHED_IN: Final = 5.0  # seconds for a cluster to answer
ENDED_IN: Final = 20.0  # seconds for its workers to close what they hold; on a busy machine a model takes some
WITHOUT_NEWS: Final = 30.0  # seconds until a wait is explained
OBJECT_STORE: Final = 1 << 28  # bytes; tasks and results are small, what is large lies in stores

EngineName = Literal["local", "ray"]


class Engine(Protocol):
    """Maps a function over tasks, in their order. A worker that is lost costs its task, which is done again."""

    is_remote: bool  # whether tasks leave this process, so that they must be able to

    def map(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]: ...


@contextmanager
def engine(name: str, workers: int, address: str | None = None, gpus: float = 0.0, progress: Progress | None = None) -> Iterator[Engine]:
    """An engine to work with, and its end. `gpus` is the share of a GPU that a Ray worker takes; `address` a Ray cluster's.

    UsageError for what does not go together, MissingExtraError without Ray, InputError where the cluster does not answer; all at once.
    """
    check(name, address, gpus)
    if name == "ray":
        with _on_ray(workers, address, gpus, progress or Silent()) as made:
            yield made
    elif workers > 1:
        with _Processes(workers, progress or Silent()) as processes:
            yield processes
    else:
        yield Here()


@contextmanager
def holding(value: bytes, workers: int, progress: Progress) -> Iterator[Engine]:
    """Processes of this machine, each of which unpickles `value` once, before its first task; `held` gives a task what came of it."""
    with _Processes(workers, progress, value) as processes:
        yield processes


def held() -> Any:
    """In a process of `holding`: what it holds."""
    return _held[0]


def check(name: str, address: str | None, gpus: float) -> None:
    """OptionError or UsageError for an engine that there is not, or an address or a share of a GPU that has no use."""
    if name not in ENGINES:
        raise OptionError(f'No engine "{name}".{did_you_mean(name, ENGINES)} There are: {", ".join(ENGINES)}.')
    if name != "ray" and address is not None:
        raise UsageError("--ray-address goes with --engine ray. Add it, or leave the address out.")
    if name != "ray" and gpus:
        raise UsageError("--worker-gpus goes with --engine ray. Add it, or leave the share out.")


class Here:
    """This process, one task after another."""

    is_remote = False

    def map(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        return map(function, tasks)


class _Processes:
    """Processes of this machine. They are started afresh, not forked: what threads and GPUs hold does not survive a fork."""

    is_remote = True

    def __init__(self, workers: int, progress: Progress, held: bytes | None = None) -> None:
        self._workers, self._progress, self._held = workers, progress, held
        self._pool = self._started()

    def __enter__(self) -> "_Processes":
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def map(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        todo = list(tasks)
        waiting: list[Future[Any]] = [self._pool.submit(function, task) for task in todo]
        lost = 0
        for index in range(len(todo)):
            while True:
                try:
                    yield waiting[index].result()
                    break
                except BrokenProcessPool:
                    lost += 1
                    if lost > TRIES:
                        raise DoesNotFitError(_died(lost)) from None
                    self._progress.note("A worker process died; what it was at is done again.")
                    self._pool.shutdown(cancel_futures=True)
                    self._pool = self._started()
                    waiting = [one if _is_done(one) else self._pool.submit(function, task) for one, task in zip(waiting, todo, strict=True)]

    def _started(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self._workers, get_context("spawn"), _begin, (self._held,))


_held: Final[list[Any]] = []  # of this process, where it is a worker that holds something


def _begin(held: bytes | None) -> None:
    """What a worker does first."""
    Thread(target=_end_with_parent, daemon=True).start()
    if held is not None:
        _held.append(pickle.loads(held))


def _end_with_parent() -> None:
    """A parent that is killed tells its workers nothing, and they would wait for tasks without end."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


class _Ray:
    """Actors of a Ray cluster, each with what its scorer holds open.

    An actor that has no room yet gets no task, so a busy cluster costs time and a job never waits for what another has taken. Two
    tasks are at an actor at most, so that none sits idle between them.
    """

    is_remote = True

    def __init__(self, ray: Any, workers: int, gpus: float, progress: Progress) -> None:
        self._ray, self._gpus, self._progress = ray, gpus, progress
        kind = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=TRIES, max_task_retries=TRIES)(_Actor)
        self._actors = [kind.remote() for _ in range(workers)]
        self._starting = {actor.is_there.remote(): actor for actor in self._actors}
        self._ready: list[Any] = []

    def map(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        todo = deque(enumerate(tasks))
        at: dict[Any, tuple[int, Any]] = {}  # a task's future → its number and its actor
        found: dict[int, Any] = {}
        for number in range(len(todo)):
            while number not in found:
                self._send(function, todo, at)
                future = self._next([*at, *self._starting])
                if future in self._starting:
                    self._ready.append(self._starting.pop(future))
                else:
                    done, _ = at.pop(future)
                    found[done] = self._result(future)
            yield found.pop(number)

    def _send(self, function: Callable[[Any], Any], todo: "deque[tuple[int, Any]]", at: dict[Any, tuple[int, Any]]) -> None:
        for _ in range(AHEAD):
            for actor in self._ready:
                if todo and sum(other is actor for _, other in at.values()) < AHEAD:
                    number, task = todo.popleft()
                    at[actor.do.remote(function, task)] = number, actor

    def _next(self, futures: list[Any]) -> Any:
        done: list[Any] = []
        while not done:
            done, _ = self._ray.wait(futures, num_returns=1, timeout=WITHOUT_NEWS)
            if not done and not self._ready:
                self._progress.note(f"The Ray cluster has no room for a worker ({_size(self._gpus)}) yet; waiting for it.")
        return done[0]

    def _result(self, future: Any) -> Any:
        try:
            return self._ray.get(future)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause if isinstance(error.cause, Exception) else error from None
        except self._ray.exceptions.RayActorError:
            raise DoesNotFitError(_died(TRIES + 1)) from None

    def end(self) -> None:
        """Lets the actors close what they hold open, and gives their room back."""
        ended = [actor.__ray_terminate__.remote() for actor in self._ready]
        if ended:
            self._ray.wait(ended, num_returns=len(ended), timeout=ENDED_IN)
        for actor in self._actors:
            self._ray.kill(actor)


class _Actor:
    def is_there(self) -> bool:
        return True

    def do(self, function: Callable[[Any], Any], task: Any) -> Any:
        return function(task)


@contextmanager
def _on_ray(workers: int, address: str | None, gpus: float, progress: Progress) -> Iterator[_Ray]:
    """Connects to a cluster, or starts one on this machine. What is already connected stays so afterwards."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no call home
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # a worker without a GPU share sees what this process sees
    try:
        import ray
    except ImportError:
        raise MissingExtraError('--engine ray needs Ray. Install it: pip install "curatekit[ray]"') from None
    mine = not ray.is_initialized()
    if mine:
        _connect(ray, workers, address)
    try:
        _require_room(ray.cluster_resources(), gpus)
        made = _Ray(ray, workers, gpus, progress)
        try:
            yield made
        finally:
            made.end()
    finally:
        if mine:
            ray.shutdown()


def _connect(ray: Any, workers: int, address: str | None) -> None:
    quietly: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    # Workers of this machine find the package where this process found it, installed or not.
    paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    local: dict[str, Any] = {"num_cpus": workers, "include_dashboard": False, "object_store_memory": OBJECT_STORE}
    if address is not None:
        _require_answer(address)
    try:
        ray.init(address=address, **quietly, **({} if address else {**local, "runtime_env": {"env_vars": paths}}))
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f'The Ray cluster at "{address}"' if address else "A Ray cluster on this machine"
        raise InputError(
            f"{where} could not be had: {str(error).splitlines()[0]}. Check `ray status`, or leave --engine ray out."
        ) from None


def _require_room(has: Mapping[str, float], gpus: float) -> None:
    """DoesNotFitError where not even one worker could ever run, which Ray would wait for without end."""
    if has.get("CPU", 0) < 1 or has.get("GPU", 0) < gpus:
        raise DoesNotFitError(
            f"A worker needs {_size(gpus)}; the Ray cluster has {has.get('CPU', 0):g} CPU and {has.get('GPU', 0):g} GPU in all. "
            "Add a node to it, or lower --worker-gpus."
        )


def _size(gpus: float) -> str:
    return f"1 CPU and {gpus:g} GPU" if gpus else "1 CPU"


def _require_answer(address: str) -> None:
    """InputError at once where nothing listens: Ray itself would go on trying for a minute."""
    import socket

    host, _, port = address.rpartition("//")[2].rpartition(":")
    if address in ("auto", "local") or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=REACHED_IN).close()
    except OSError as error:
        raise InputError(
            f'No Ray head answers at "{address}" ({error}). Start one with `ray start --head`, '
            "or leave --ray-address out for a cluster of this machine."
        ) from None


def _is_done(future: Future[Any]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _died(times: int) -> str:
    return (
        f"Worker processes died {times} times, most often for lack of memory. What is finished is saved; "
        "run the same command again with fewer --workers, or, where it scores, a smaller --shard-rows in a new --out. "
        'A script of your own that uses workers needs `if __name__ == "__main__":` around what it does.'
    )
