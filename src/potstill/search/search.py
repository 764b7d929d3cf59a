"""Many versions of one recipe, ranked on dev; the best is trained once more as a run of its own, and only that run reads the tests."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from potstill.errors import PotstillError
from potstill.machine.files import require_nameable
from potstill.machine.progress import progress
from potstill.results import REPORT_FILE, machine
from potstill.search.best import make_record, run_best
from potstill.search.database import PAUSE, connected
from potstill.search.page import write_search_page
from potstill.search.queue import ANOTHER, HEARTBEAT, WHY, Queue
from potstill.search.record import Search
from potstill.search.trials import Job

Elsewhere = Callable[[Queue, Callable[..., None], Callable[[], None], bool], None]
"""Has other processes empty a queue. It is given the queue; what each of them calls, with a `worker` name of its own; what it is to call
again and again; whether it is the queue of the run at the end."""


def search(
    recipe: str,
    space: str | Path,
    *,
    overrides: Sequence[str] = (),
    out: str | Path | None = None,
    storage: str | None = None,
    workers: int = 1,
    resume: bool = False,
    elsewhere: Elsewhere | None = None,
) -> Search:
    """Try a recipe's settings, choose the best by dev, train it once more, and score that run on the tests.

    The same call in another process, or on another machine with the same `storage`, shares the trials.

    Args:
        recipe: a path, or a shipped name.
        space: the YAML file that says what to try.
        overrides: what `--set` changes in the recipe, as `key=value`.
        out: the folder of the search; default runs/<name of the recipe>-search.
        storage: SQLAlchemy's URL of a database; default: the SQLite file search.db in `out`.
        workers: processes on this machine that take trials, this one among them.
        resume: go on with a search that no process works on.
        elsewhere: what has other processes take the trials, and the run at the end, in place of this one.

    Returns:
        The record of the search, as written to search.json.

    Raises:
        PotstillError: something from outside is wrong, or no trial could be scored.
    """
    job = Job(recipe, Path(space), tuple(overrides), Path(out) if out is not None else None)
    folder = job.folder
    if workers > 1 and "latency" in job.space.objectives:
        raise PotstillError("--workers", "several on one machine spoil each other's latency", "use one, or drop the objective")
    if elsewhere is not None and "latency" in job.space.objectives:
        raise PotstillError("--ray", "latencies of several machines do not compare", "search without it, or drop the objective")
    require_nameable(folder)
    if folder.exists() and not folder.is_dir():
        raise PotstillError(folder, "is a file", "choose another --out")
    url = storage or f"sqlite:///{folder.absolute() / 'search.db'}"
    arguments = (recipe, Path(space), tuple(overrides), folder)
    with connected(url) as database:
        queue, last = job.queues(database)
        _require_wanted(queue, last, resume, folder)
        with progress("search", len(_done(queue)) + len(queue.left()), "trials") as advance:
            look = _shower(queue, advance)
            if elsewhere is not None:
                elsewhere(queue, partial(work, arguments, url, False), look, False)
            else:
                with _helpers(workers, folder, arguments, url):
                    queue.work(partial(job.trial, queue), job.sampler, look)
        if elsewhere is not None:
            elsewhere(last, partial(work, arguments, url, True), lambda: None, True)
        else:
            last.work(partial(run_best, job, queue), job.sampler)
        record = make_record(job, queue, last.trials(TrialState.COMPLETE)[-1].user_attrs)
    record.write(folder)
    write_search_page(record, folder / REPORT_FILE)
    return record


def _require_wanted(queue: Queue, last: Queue, resume: bool, folder: Path) -> None:
    """Check that a search that is there already is to be gone on with, or that another process works on it.

    Raises:
        PotstillError: the search is finished or was stopped, and `resume` is not set.
    """
    if resume or not queue.joined or not queue.started:
        return
    if last.trials(TrialState.COMPLETE):
        raise PotstillError(folder, "holds a finished search", f"add --resume to write its page again, or {ANOTHER}")
    before, looks = (queue.heartbeats(), last.heartbeats()), 0
    # A kill leaves its trial running: only a further sign of life tells. Without one that runs, a worker may be between two.
    while looks < 4 or (looks * PAUSE < 2.5 * HEARTBEAT and (queue.trials(TrialState.RUNNING) or last.trials(TrialState.RUNNING))):
        time.sleep(PAUSE)
        if (queue.heartbeats(), last.heartbeats()) != before:
            return
        looks += 1
    raise PotstillError(folder, "holds a search that was stopped", f"add --resume to go on with it, or {ANOTHER}")


def _done(queue: Queue) -> list[FrozenTrial]:
    """The trials that came to an end of their own: those that were lost are not among them."""
    return [trial for trial in queue.trials() if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) or WHY in trial.user_attrs]


def _shower(queue: Queue, advance: Callable[..., None]) -> Callable[[], None]:
    """What moves the bar to as many trials as are done in all processes."""
    shown = 0

    def look() -> None:
        nonlocal shown
        done = _done(queue)
        scores = [trial.values[0] for trial in done if trial.state == TrialState.COMPLETE]
        best = f" best {max(scores):.2f}" if scores else ""
        advance(len(done) - shown, note=f"{len(queue.left())} left{best}")
        shown = len(done)

    return look


@contextmanager
def _helpers(workers: int, folder: Path, arguments: tuple[Any, ...], url: str) -> Iterator[None]:
    """Start further processes that take trials, and wait for them at the end of the block.

    Args:
        workers: how many processes there are to be, this one among them.
        folder: where each writes its log. The log of one that ends well is removed.
        arguments: those of their Job.
        url: the database.

    Raises:
        PotstillError: one of them failed.
    """
    if workers == 1:
        yield
        return
    import torch

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, machine().cores // workers)))
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    folder.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")  # torch and databases do not survive a fork
    logs = [folder / f"worker-{number}.log" for number in range(2, workers + 1)]
    children = [context.Process(target=_help, args=(log, arguments, url), daemon=True) for log in logs]
    for child in children:
        child.start()
    try:
        yield
        for log, child in zip(logs, children):
            child.join()
            if child.exitcode:
                said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""]
                raise PotstillError(log, f"this worker ended with status {child.exitcode}: {said[-1]}", "--resume goes on without it")
            log.unlink(missing_ok=True)
    finally:
        for child in children:
            child.terminate()


def _help(log: Path, arguments: tuple[Any, ...], url: str) -> None:
    """What a further process does: it takes trials, and leaves the run at the end to the first process."""
    Thread(target=_end_with_parent, daemon=True).start()
    sys.stdout = sys.stderr = log.open("w", encoding="utf-8", buffering=1)
    work(arguments, url, False)


def work(arguments: tuple[Any, ...], url: str, end: bool, worker: str = "") -> None:
    """Share a search that another process has begun, until nothing of it is left.

    Args:
        arguments: those of its Job.
        url: its database.
        end: take the run at the end, and not the trials.
        worker: as `Queue.work` takes it.
    """
    job = Job(*arguments)
    with connected(url) as database:
        queue, last = job.queues(database)
        if end:
            last.work(partial(run_best, job, queue), job.sampler, worker=worker)
        else:
            queue.work(partial(job.trial, queue), job.sampler, worker=worker)


def _end_with_parent() -> None:
    """End this process as soon as the one that started it has ended, be it killed: its trial is then lost, and will be run again."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
