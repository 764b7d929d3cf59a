"""Training of one run by several processes of a Ray cluster: Ray Train starts them and makes the process group, and each calls `distil`."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from potstill.errors import PotstillError, warn
from potstill.machine.cache import cache_folder
from potstill.machine.held import held
from potstill.machine.relay import relayed, teller
from potstill.ray.connect import connected, gpus, one_line
from potstill.ray.room import NODE_TIME, apart, first_words, room
from potstill.ray.worker import Place, warn_here, warned
from potstill.recipe.file import open_recipe
from potstill.recipe.smoke import smoke as cut_down
from potstill.results import Run, read_run, run_folder
from potstill.run.folder import claim

AGAIN = 3  # times that a training goes on after it lost a worker
PROGRESS = ".progress.json"  # in the run folder: how far the main worker is


def train(
    recipe: str,
    *,
    address: str,
    workers: int,
    overrides: Sequence[str] = (),
    out: str | Path | None = None,
    resume: bool = False,
    smoke: bool = False,
) -> Run:
    """Run a recipe as `distil` does, in several processes of a Ray cluster.

    Where a worker is lost, all of them go on at the newest checkpoint, as long as the cluster has room for as many.

    Args:
        recipe: a path that every node sees, or a shipped name.
        address: as `connected` takes it.
        workers: how many processes; each takes a GPU where the cluster has some, else as many cores as there are for each.
        overrides: `a.b=c`, as --set takes them.
        out: the run folder, which every node sees; default runs/<name>.
        resume: go on where a broken run stopped.
        smoke: as `distil` takes it.

    Returns:
        What was measured, as results.json holds it.

    Raises:
        PotstillError: something from outside is wrong, or the cluster has no room for the workers any more.
    """
    opened = open_recipe(recipe, overrides)
    if smoke:
        opened = cut_down(opened)
    folder = run_folder(opened.name, out).absolute()
    with connected(address, (folder.parent, cache_folder().absolute())) as ray, one_line("training"):
        on_gpus = opened.training.device != "cpu" and gpus(ray) > 0
        room(ray, workers, on_gpus)
        with held(folder):
            claim(folder, opened, resume)
        # From here on the folder is this run's: its workers, and those that come after lost ones, go on with what is there.
        arguments = {"recipe": recipe, "overrides": list(overrides), "out": str(folder), "resume": True, "smoke": smoke}
        given = {"place": Place.here(), "arguments": arguments, "progress": str(folder / PROGRESS)}
        lost = unstarted = 0
        while True:
            try:
                cores = room(ray, workers, on_gpus, patience=NODE_TIME if lost else 0.0)
                with relayed(folder / PROGRESS):
                    told = _fit(ray, given, workers, cores, on_gpus)
                break
            except _WorkerLost as error:
                lost, unstarted = lost + error.counts, unstarted + (not error.counts)
                if unstarted > AGAIN:
                    remedy = "see `ray status`: other work may hold the cluster; the same command with --resume goes on"
                    raise PotstillError("--ray", f"the workers did not start, {unstarted} times ({error})", remedy) from error
                if lost > AGAIN:
                    raise PotstillError(
                        folder, f"lost a worker {lost} times ({error})", "see `ray status`; the same command with --resume goes on"
                    ) from error
                warn(folder, f"lost a worker ({error})" if error.counts else str(error), "goes on at the newest checkpoint")
    warn_here(told)
    return read_run(folder)


class _WorkerLost(Exception):
    """Workers that died or never came up. Its text says what is known of it; `counts` is 0 where none had begun, else 1."""

    def __init__(self, text: str, counts: int) -> None:
        super().__init__(text)
        self.counts = counts


def _fit(ray: Any, given: dict[str, Any], workers: int, cores: int, on_gpus: bool) -> list[str]:
    """Let Ray Train run the workers until they are through.

    Args:
        ray: the package, joined to a cluster.
        given: what `work` takes.
        workers: how many.
        cores: of each.
        on_gpus: whether each takes a GPU.

    Returns:
        The warnings of the main worker.

    Raises:
        error: as `_reason` has it.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    from potstill.machine.distributed import BACKENDS, PATIENCE

    with tempfile.TemporaryDirectory(prefix="potstill-") as name:  # Ray Train's own notes: checkpoints are the run folder's
        trainer = TorchTrainer(
            work,
            train_loop_config=given,
            torch_config=TorchConfig(backend=BACKENDS[on_gpus], timeout_s=int(PATIENCE.total_seconds())),
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=on_gpus, resources_per_worker={"CPU": cores}),
            # Not its own tries: a mistake in the recipe is none of a machine's, and would be made again.
            run_config=RunConfig(storage_path=name, failure_config=FailureConfig(max_failures=0, controller_failure_limit=0)),
        )

        def fit() -> Any:
            try:
                return trainer.fit()
            except BaseException as error:
                if (reason := _reason(ray, error)) is error:
                    raise
                raise reason from error

        result = apart(fit)  # in the main thread it would take Ctrl-C for itself, and end with status 0
    return list(result.return_value or ())


def _reason(ray: Any, error: BaseException) -> BaseException:
    """Find what is behind an error of Ray Train's.

    Args:
        ray: the package.
        error: what came out of it.

    Returns:
        The first worker's mistake; _WorkerLost where a worker or what leads them died, or not all came up; else the error itself.
    """
    from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

    from potstill.machine.distributed import lost_another

    if isinstance(error, WorkerGroupError):
        failures = [error.worker_failures[number] for number in sorted(error.worker_failures)]
        for failure in failures:
            if isinstance(failure, PotstillError):
                return failure
        for failure in failures:
            dead = getattr(failure, "health_check_failure", None)
            if dead is not None or lost_another(failure):
                return _WorkerLost(first_words(dead or failure), 1)
    if isinstance(error, ControllerError) and type(error.controller_failure).__name__.startswith("WorkerGroupStartup"):
        return _WorkerLost("not all workers came up", 0)
    if isinstance(error, ray.exceptions.RayActorError):
        return _WorkerLost(first_words(error), 1)
    return error


def work(given: dict[str, Any]) -> list[str]:
    """Do one worker's part of a training, in a process that Ray Train has joined with the others.

    Args:
        given: the place of the command, the arguments of `distil`, and the file of `progress` that the command reads.

    Returns:
        The warnings that are meant for the user.
    """
    given["place"].enter()
    from potstill.machine import progress
    from potstill.run.distil import distil

    progress.show = teller(Path(given["progress"]))

    with warned() as texts:
        distil(**given["arguments"])
    return texts
