"""A search whose trials are tasks of a Ray cluster: each takes trials of the search's queue, as any other process of the search does."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from potstill.errors import PotstillError, warn
from potstill.machine.cache import cache_folder
from potstill.ray.connect import connected, gpus, one_line, told
from potstill.ray.room import NODE_TIME, first_words, room
from potstill.ray.worker import Place, warn_here, warned
from potstill.recipe.file import read_recipe
from potstill.search.database import PAUSE
from potstill.search.queue import Queue
from potstill.search.record import Search, search_folder
from potstill.search.search import search as run

TWICE = "its worker died, and so did that of the trial that it replaces"
IDLE = 3  # workers in a row that may die before they have taken a trial


def search(
    recipe: str,
    space: str | Path,
    *,
    address: str,
    cores: int = 1,
    workers: int | None = None,
    overrides: list[str] | tuple[str, ...] = (),
    out: str | Path | None = None,
    storage: str | None = None,
    resume: bool = False,
) -> Search:
    """Search as `potstill.search.search.search` does, with tasks of a Ray cluster that take the trials and the run at the end.

    A trial whose worker died is put back at once, and fails where that happens again.

    Args:
        recipe: a path that every node sees, or a shipped name.
        space: the YAML file that says what to try.
        address: as `connected` takes it.
        cores: of a trial; where the cluster has GPUs and the recipe may use them, a trial has one beside them.
        workers: how many trials run at once, at most; None: as many as the cluster has room for, nodes that join later too.
        overrides: what `--set` changes in the recipe, as `key=value`.
        out: the folder of the search, which every node sees; default runs/<name of the recipe>-search.
        storage: SQLAlchemy's URL of a database that every node reaches; default: the SQLite file search.db in `out`.
        resume: go on with a search that no process works on.

    Returns:
        The record of the search, as written to search.json.

    Raises:
        PotstillError: something from outside is wrong, no trial could be scored, or SQLite would be shared by several machines.
    """
    base = read_recipe(recipe, overrides)
    folder = search_folder(base.name, Path(out) if out is not None else None).absolute()
    with connected(address, (folder.parent, cache_folder().absolute())) as ray, one_line("search"):
        machines = {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
        if len(machines) > 1 and (storage is None or storage.startswith("sqlite")):
            problem = f"SQLite is for one machine, and the cluster has {len(machines)}"
            raise PotstillError("--storage", problem, "name a database of PostgreSQL that all of them reach: postgresql://…")
        on_gpus = base.training.device != "cpu" and gpus(ray) > 0
        elsewhere = partial(_empty, ray, cores, on_gpus, workers)
        return run(recipe, space, overrides=overrides, out=folder, storage=storage, resume=resume, elsewhere=elsewhere)


def _empty(
    ray: Any,
    cores: int,
    on_gpus: bool,
    workers: int | None,
    queue: Queue,
    work: Callable[..., None],
    look: Callable[[], None],
    end: bool,
) -> None:
    """Have tasks of the cluster run all that is left of a queue.

    There are as many tasks as trials are left: those that find no room now begin when another has ended, or a node joins.

    Args:
        ray: the package, joined to a cluster.
        cores: of a task.
        on_gpus: whether a task has a GPU beside them.
        workers: how many tasks, at most.
        queue: of the trials, or of the run at the end.
        work: what a task calls, with a name of its own.
        look: called again and again.
        end: whether it is the run at the end, which is never given up for good.

    Raises:
        PotstillError: that of a task; the cluster has no room for one; the run at the end has lost its worker twice.
    """
    room(ray, 1, on_gpus, least=cores)
    task = ray.remote(num_cpus=cores, num_gpus=int(on_gpus), max_retries=0)(_work)
    place, deaths, idle = Place.here(), 0, 0
    running: dict[Any, str] = {}
    try:
        while left := queue.left():
            look()
            for _ in range(min(len(left), workers or len(left)) - len(running)):
                name = uuid.uuid4().hex
                running[task.remote(place, work, name)] = name
            done, _ = ray.wait(list(running), timeout=PAUSE)
            for each in done:
                name = running.pop(each)
                if (died := _death(ray, each)) is None:
                    idle = 0
                    continue
                deaths += 1
                had_trial = queue.put_back(name, "" if end else TWICE)
                idle = 0 if had_trial else idle + 1
                if idle > IDLE:
                    remedy = "see `ray status`; the same command with --resume goes on"
                    raise PotstillError("search", f"{idle} workers in a row died before they had a trial ({died})", remedy)
                if end and deaths > 1:
                    raise PotstillError(
                        "search", f"the run at the end lost its worker twice ({died})", "the same command with --resume goes on"
                    )
                warn("search", f"a worker died ({died})", "what it was at is put back, once" if had_trial else "it had taken no trial yet")
                room(ray, 1, on_gpus, least=cores, patience=NODE_TIME)
        look()
    finally:
        for each in running:
            ray.cancel(each, force=True)


def _work(place: Place, work: Callable[..., None], name: str) -> tuple[PotstillError | None, list[str]]:
    """What a task does; the mistake that it met, and the warnings that are meant for the user."""
    with warned() as texts:
        found: PotstillError | None = told(_entered, place, work, name)
    return found, texts


def _entered(place: Place, work: Callable[..., None], name: str) -> None:
    place.enter()
    work(worker=name)


def _death(ray: Any, task: Any) -> str | None:
    """What is known of the death of a task's worker; None where the task ended well, and its warnings are passed on.

    Raises:
        PotstillError: the task's own.
        RayTaskError: a bug in the task.
    """
    try:
        found, texts = ray.get(task)
    except ray.exceptions.RayTaskError:
        raise
    except ray.exceptions.RayError as error:
        return first_words(error)
    warn_here(texts)
    if isinstance(found, PotstillError):
        raise found
    return None
