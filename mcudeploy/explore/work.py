# SPDX-License-Identifier: Apache-2.0
"""Measuring many candidates: each once, kept on disk, on several processes or on a cluster.

A job is a network and a board. Its key is a digest of the layers, of the board, and of the code
that measures, so equal networks under different names are measured once, an interrupted search
goes on where it stopped, and no result outlives the code that made it. Results are written to
their own file by rename, so that a reader never sees half of one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import cache
from multiprocessing import active_children, get_context
from pathlib import Path

from mcudeploy.board import Board
from mcudeploy.deployment_stream import StreamMode
from mcudeploy.errors import InputError, ToolError
from mcudeploy.explore.candidate import Need, measure
from mcudeploy.processes import end_with_parent
from mcudeploy.resources import cache_folder
from mcudeploy.zoo.net import Layer, Network

Progress = Callable[[int, int], None]
"""Called with the jobs done and all jobs."""

_MEASURED_BY = (
    "zoo", "graph", "operators", "memory", "budget.py", "board.py", "board_flash.py", "explore",
    "deployment_stream.py",
)  # fmt: skip
_FEW = 8
"""Up to so many jobs are not worth another process."""


@dataclass(frozen=True)
class Job:
    """`layers` are a Network's, as plain values that other processes can be sent."""

    name: str
    layers: tuple[tuple[object, ...], ...]
    board: str
    """The board as JSON."""
    stream: StreamMode = "off"

    @property
    def key(self) -> str:
        text = json.dumps([code_digest(), repr(self.layers), self.board, self.stream])
        return hashlib.sha256(text.encode()).hexdigest()


def make_job(network: Network, board_json: str, stream: StreamMode = "off") -> Job:
    layers = tuple(
        (layer.kind, layer.name, layer.inputs, layer.shape, tuple(sorted(layer.options.items())))
        for layer in network.layers
    )
    return Job(network.name, layers, board_json, stream)


def run_job(job: Job) -> Need:
    """Measure one candidate, wherever this runs."""
    layers = tuple(
        Layer(kind, name, inputs, shape, dict(options))  # type: ignore[arg-type, call-overload]
        for kind, name, inputs, shape, options in job.layers
    )
    return measure(Network(job.name, layers), Board.model_validate_json(job.board), job.stream)


@cache
def code_digest() -> str:
    """A digest of the sources that a result depends on."""
    package = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for entry in _MEASURED_BY:
        path = package / entry
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.suffix in (".py", ".json"):
                digest.update(file.relative_to(package).as_posix().encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()


class Store:
    """Results on disk, one small JSON file each."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_folder("explore")

    def get(self, key: str) -> Need | None:
        """A stored result; None when there is none or it is damaged."""
        try:
            return Need(**json.loads(self._file(key).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def put(self, key: str, need: Need) -> None:
        file = self._file(key)
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=".")
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump(dataclasses.asdict(need), out)
        os.replace(name, file)

    def _file(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key[2:]}.json"


def run_jobs(
    jobs: Sequence[Job],
    *,
    processes: int | None = None,
    scheduler: str | None = None,
    store: Store | None = None,
    progress: Progress | None = None,
) -> list[Need]:
    """The needs of `jobs`, in their order; known and equal jobs are not run again.

    `processes` defaults to the cores that may be used; `scheduler` is the address of a Dask
    scheduler that takes their place. Raises ToolError without Dask or its scheduler.
    """
    store = store or Store()
    keys = [job.key for job in jobs]
    known = {key: need for key in dict.fromkeys(keys) if (need := store.get(key)) is not None}
    missing = {key: job for key, job in zip(keys, jobs, strict=True) if key not in known}
    tell = progress or (lambda done, total: None)
    total = len(known) + len(missing)
    tell(len(known), total)
    for key, need in _results(missing, processes, scheduler):
        store.put(key, need)
        known[key] = need
        tell(len(known), total)
    return [known[key] for key in keys]


def _results(
    jobs: Mapping[str, Job], processes: int | None, scheduler: str | None
) -> Iterator[tuple[str, Need]]:
    if processes is not None and processes < 1:
        raise InputError("at least one process is needed", where="--processes")
    workers = min(processes or _cores(), len(jobs))
    if scheduler is not None:
        return _on_cluster(jobs, scheduler)
    if workers <= 1 or len(jobs) <= _FEW:
        return ((key, run_job(job)) for key, job in jobs.items())
    return _on_processes(jobs, workers)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _interrupt_blocked() -> Iterator[None]:
    """Processes started meanwhile never see Ctrl-C, which reaches every process of a terminal:
    the parent alone decides what becomes of it. It gets what came meanwhile at the end."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _on_processes(jobs: Mapping[str, Job], workers: int) -> Iterator[tuple[str, Need]]:
    pool = ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=end_with_parent
    )
    try:
        with _interrupt_blocked():
            waiting: dict[Future[Need], str] = {
                pool.submit(run_job, job): key for key, job in jobs.items()
            }
        while waiting:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                yield waiting.pop(future), future.result()
    except BaseException:
        for worker in active_children():  # nobody waits for what is being measured
            worker.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _on_cluster(jobs: Mapping[str, Job], scheduler: str) -> Iterator[tuple[str, Need]]:
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise ToolError(
            "Dask is not installed", where="--scheduler",
            mend="pip install 'mcudeploy[cluster]'",
        ) from None  # fmt: skip
    try:
        client = Client(scheduler, timeout=20)
    except (OSError, TimeoutError, ValueError) as error:
        raise ToolError(
            f"no Dask scheduler answers: {error}", where=scheduler,
            mend="start one with `dask scheduler` and give its address, e.g. tcp://HOST:8786",
        ) from None  # fmt: skip
    with client:
        futures = [client.submit(run_job, job, key=key) for key, job in jobs.items()]
        for future in as_completed(futures):
            yield future.key, future.result()
