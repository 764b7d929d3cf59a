"""Many versions of one recipe, ranked on dev; the best is trained once more as a run of its own, and only that run reads the tests."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from potstill.errors import PotstillError
from potstill.progress import progress
from potstill.report.search_page import write_search_page
from potstill.results import REPORT_FILE, machine
from potstill.search_queue import ANOTHER, HEARTBEAT, PAUSE, Queue, connected
from potstill.search_record import Search
from potstill.search_trials import Work


def search(
    recipe: str,
    space: str | Path,
    *,
    overrides: Sequence[str] = (),
    out: str | Path | None = None,
    storage: str | None = None,
    workers: int = 1,
    resume: bool = False,
) -> Search:
    """Try a recipe's settings, choose the best by dev, train it once more, and score that run on the tests.

    The same call in another process, or on another machine with the same `storage`, shares the trials.

    Args:
        recipe: a path, or a shipped name.
        space: the file that says what to try.
        out: default runs/<name of the recipe>-search.
        storage: SQLAlchemy's URL of a database; default a SQLite file in `out`.
        workers: processes that this one starts, itself among them.
        resume: go on with a search that nobody works on.

    Raises:
        PotstillError: something from outside is wrong, or no trial could be scored.
        KeyboardInterrupt: Ctrl-C; the trial that ran waits again.
    """
    work = Work(recipe, Path(space), tuple(overrides), Path(out) if out is not None else None)
    folder = work.folder
    if workers > 1 and "latency" in work.space.objectives:
        raise PotstillError("--workers", "several on one machine spoil each other's latency", "use one, or drop the objective")
    if folder.exists() and not folder.is_dir():
        raise PotstillError(folder, "is a file", "choose another --out")
    url = storage or f"sqlite:///{folder.absolute() / 'search.db'}"
    with connected(url) as database:
        queue, last = work.queues(database)
        _require_wanted(queue, last, resume, folder)
        with _helpers(workers, folder, (recipe, Path(space), tuple(overrides), folder), url):
            with progress("search", len(queue.trials()), "trials") as advance:
                queue.work(partial(work.trial, queue), work.sampler, _shower(queue, advance))
        last.work(partial(work.best, queue), work.sampler)
        record = work.record(queue, last.trials(TrialState.COMPLETE)[-1].user_attrs)
    record.write(folder)
    write_search_page(record, folder / REPORT_FILE)
    return record


def _require_wanted(queue: Queue, last: Queue, resume: bool, folder: Path) -> None:
    """Raise a PotstillError where a search is there that nobody works on and nobody asked to go on with."""
    if resume or not queue.joined or not queue.started:
        return
    if last.trials(TrialState.COMPLETE):
        raise PotstillError(folder, "holds a finished search", f"add --resume to write its page again, or {ANOTHER}")
    before, looks = (queue.life(), last.life()), 0
    # A kill leaves its trial running: only a further sign of life tells. Without one that runs, a worker may be between two.
    while looks < 4 or (looks * PAUSE < 2.5 * HEARTBEAT and (queue.trials(TrialState.RUNNING) or last.trials(TrialState.RUNNING))):
        time.sleep(PAUSE)
        if (queue.life(), last.life()) != before:
            return
        looks += 1
    raise PotstillError(folder, "holds a search that was stopped", f"add --resume to go on with it, or {ANOTHER}")


def _shower(queue: Queue, advance: Any) -> Any:
    """Moves the bar to as many trials as are done anywhere."""
    seen = [0]

    def look() -> None:
        trials = queue.trials()
        left = sum(trial.state in (TrialState.WAITING, TrialState.RUNNING) for trial in trials)
        done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        finished = sum(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) or "why" in trial.user_attrs for trial in trials)
        note = f"best {max(trial.values[0] for trial in done):.2f}" if done else ""
        advance(finished - seen[0], note=f"{left} left {note}".strip())
        seen[0] = finished

    return look


@contextmanager
def _helpers(workers: int, folder: Path, arguments: tuple[Any, ...], url: str) -> Iterator[None]:
    """Further processes that take trials while the block runs; they are waited for at its end.

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
    """One further process: trials, and nothing at their end."""
    stream = log.open("w", encoding="utf-8", buffering=1)
    sys.stdout = sys.stderr = stream
    work = Work(*arguments)
    with connected(url) as database:
        queue, _ = work.queues(database)
        queue.work(partial(work.trial, queue), work.sampler)
