"""The trials of a search: which there are, and how one is trained and scored."""

from __future__ import annotations

import gc
import hashlib
import json
import math
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from potstill.check.check import check_recipe
from potstill.check.plan import first_student
from potstill.errors import PotstillError, PotstillErrors
from potstill.evaluation.cost import measure_cost
from potstill.evaluation.evaluate import evaluate
from potstill.machine.files import is_full, write_text
from potstill.recipe.file import override, read_recipe, resolved
from potstill.recipe.recipe import Recipe
from potstill.report.scores import primary_scores
from potstill.results import RECIPE_FILE
from potstill.run.export import export
from potstill.run.folder import decides_student
from potstill.run.ship import SAMPLE
from potstill.run.train import CHECKPOINTS, teach
from potstill.runtime.folder import ONNX, STUDENT
from potstill.search.queue import INSTEAD, Queue, TrialFailed, first_number
from potstill.search.record import search_folder
from potstill.search.space import ONE_FACTOR, best_of_each, distributions, listed_settings, own_values, read_space
from potstill.tasks.base import COST

TRIALS = "trials"
DEFAULT_TRIALS = 20


class Job:
    """A search of one recipe through one space.

    A PotstillError comes through where something is wrong with the recipe or the space.

    Args:
        recipe: a path, or a shipped name.
        space: the YAML file that says what to try.
        overrides: what `--set` changes in the recipe, as `key=value`.
        folder: the folder of the search; None: the default of the recipe's name.
    """

    def __init__(self, recipe: str, space: Path, overrides: tuple[str, ...], folder: Path | None) -> None:
        self.recipe, self.overrides = recipe, overrides
        self.base = read_recipe(recipe, overrides)
        self.space = read_space(space, recipe, self.base, overrides)
        self.folder = search_folder(self.base.name, folder)
        self.seed = self.base.training.seed
        self.own = own_values(self.space, self.base)
        self.distributions = distributions(self.space)

    def queues(self, database: RDBStorage) -> tuple[Queue, Queue]:
        """Open the two queues of the search, or make them.

        Args:
            database: where they are.

        Returns:
            The queue of the trials, and that of the run at the end: a queue of one, so that one process takes it.
        """
        # Neither `export` nor `evaluate` changes a trial: a gate that refused the chosen run is widened on --resume.
        content = [decides_student(self.base), self.space.model_dump(mode="json", exclude={"tests"})]  # nor do tests, which choose nothing
        bound = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        directions: list[Literal["maximize", "minimize"]] = ["maximize", "minimize"][: len(self.space.objectives)]  # type: ignore[assignment]
        # Not before a third of the way: what rises slowly looks bad until then.
        pruner = optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=max(1, self.base.training.evaluations // 3))
        queue = Queue(database, self.base.name, bound, self._waiting(), directions, pruner if self.space.pruning else None)
        return queue, Queue(database, f"{self.base.name}: best", bound, [({}, {})])

    def _waiting(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """(parameters, attributes) of each trial of a new search."""
        if self.space.sampler in ("random", "tpe"):
            return [({}, {"keys": list(self.space.keys)})] * (self.space.trials or DEFAULT_TRIALS)
        listed = [
            ({key: json.dumps(value) for key, value in settings.items()}, {"keys": list(settings), "role": role})
            for role, settings in listed_settings(self.space, self.own)
        ]
        combined: list[tuple[dict[str, Any], dict[str, Any]]] = [({}, {"keys": [], "role": "combined", "last": True})]
        return listed + (combined if self.space.sampler == ONE_FACTOR and len(self.space.keys) > 1 else [])

    def sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """Make what draws the parameters of one trial.

        The seed is of the trial: of a seed for each process, two processes would draw the same.

        Args:
            number: the trial's number.

        Returns:
            Optuna's sampler.
        """
        if self.space.sampler == "tpe":
            random_first = max(2, min(10, (self.space.trials or DEFAULT_TRIALS) // 3))
            return optuna.samplers.TPESampler(seed=(self.seed + number) % 2**32, n_startup_trials=random_first, constant_liar=True)
        return optuna.samplers.RandomSampler(seed=(self.seed + number) % 2**32)

    def trial(self, queue: Queue, trial: optuna.Trial) -> float | list[float]:
        """Train the recipe with a trial's settings, and keep its scores; of settings that a trial had before, take that one's values.

        Args:
            queue: the queue of the trials.
            trial: one of them, taken.

        Returns:
            The trial's value for each objective: the best dev score, then the latency in milliseconds.

        Raises:
            TrialFailed: something is wrong with the settings, or the device's memory does not hold them.
            PotstillError: the disk is full.
        """
        from torch import OutOfMemoryError

        gc.collect()  # what a trial before this one left as it failed
        for number in trial.user_attrs.get(INSTEAD, []):
            shutil.rmtree(self.folder / TRIALS / str(number), ignore_errors=True)
        settings = self._settings(queue, trial)
        trial.set_user_attr("settings", settings)
        for earlier in queue.trials(TrialState.COMPLETE):
            if earlier.user_attrs["settings"] == settings:
                trial.set_user_attr("same", earlier.user_attrs.get("same", earlier.number))
                trial.set_user_attr("tests", earlier.user_attrs.get("tests", {}))
                return list(earlier.values)
        started, folder = time.perf_counter(), self.folder / TRIALS / str(trial.number)
        curve: list[tuple[int, float]] = []
        try:
            return self._train(trial, self.with_settings(settings), folder, curve)
        except OutOfMemoryError as error:
            raise TrialFailed(str(error).partition(". ")[0]) from error  # what follows are sizes and advice about the allocator
        except PotstillError as error:
            if _no_space(error):
                raise
            raise TrialFailed(" ".join(str(error).split())) from error
        finally:
            for part in (STUDENT, ONNX, CHECKPOINTS):  # first: where another has the trial, the database takes nothing more of it
                shutil.rmtree(folder / part, ignore_errors=True)
            trial.set_user_attr("curve", curve)
            trial.set_user_attr("seconds", round(time.perf_counter() - started, 2))

    def _settings(self, queue: Queue, trial: optuna.Trial) -> dict[str, Any]:
        if trial.user_attrs.get("role") == "combined":
            done = sorted(queue.trials(TrialState.COMPLETE), key=first_number)
            return best_of_each([(each.user_attrs["settings"], each.values[0]) for each in done])
        return {key: _drawn(trial, key, self.distributions[key]) for key in trial.user_attrs["keys"]}

    def _train(self, trial: optuna.Trial, recipe: Recipe, folder: Path, curve: list[tuple[int, float]]) -> list[float]:
        before = StepCounter()

        def watch(stage: str, student: Any, step: int, value: float) -> None:
            if not math.isfinite(value):
                raise PotstillError(recipe.select, f"is {value} at step {step}", "lower the learning rate")
            curve.append((before.total(stage, step), value))
            trial.set_user_attr("curve", curve)
            if len(self.space.objectives) == 1:
                trial.report(value, len(curve))  # not the step: another batch size has other steps, and is as far
                if trial.should_prune():
                    raise optuna.TrialPruned

        plan = check_recipe(recipe)
        write_text(folder / RECIPE_FILE, resolved(recipe))
        teach(recipe, plan, first_student(recipe, plan), plan.teacher, folder, False, watch)
        gc.collect()  # Trainer's parts refer to each other in circles
        if not curve:
            raise PotstillError(recipe.select, "never scored the student", "let a stage teach what it reads")
        quality = max(value for _, value in curve[before.first :])
        if self.space.tests and (tests := [name for name in recipe.evaluate if name != COST]):
            read = {name: partial(plan.tasks.__getitem__, name) for name in tests}
            scores = evaluate(folder / STUDENT, tests, recipe.data.dir, opened=read).scores
            trial.set_user_attr("tests", primary_scores(scores))
        if len(self.space.objectives) == 1:
            return [quality]
        export(folder / STUDENT, folder / ONNX, texts=plan.corpus.held_out[:SAMPLE], only=ONNX)
        return [quality, measure_cost(folder / ONNX, "fp32").latency_p50_ms]

    def with_settings(self, settings: dict[str, Any]) -> Recipe:
        """Read the recipe with the settings (key → value) in it. PotstillErrors come through where it does not take them."""
        return read_recipe(self.recipe, [*self.overrides, *(override(key, value) for key, value in settings.items())])


def _drawn(trial: optuna.Trial, key: str, values: BaseDistribution) -> Any:
    """The value of a key that Optuna draws, or that the trial was queued with."""
    if isinstance(values, CategoricalDistribution):
        return json.loads(trial.suggest_categorical(key, values.choices))  # type: ignore[arg-type]
    if isinstance(values, IntDistribution):
        return trial.suggest_int(key, values.low, values.high, log=values.log)
    assert isinstance(values, FloatDistribution)
    return trial.suggest_float(key, values.low, values.high, log=values.log)


class StepCounter:
    """Counts steps over all stages: each stage counts its own from 1.

    Attributes:
        first: how many scores there were before those of the present stage.
    """

    def __init__(self) -> None:
        self.stage, self.done, self.last, self.seen, self.first = "", 0, 0, 0, 0

    def total(self, stage: str, step: int) -> int:
        """Count one more score; gives its step since the run began."""
        if stage != self.stage:
            self.stage, self.done, self.first = stage, self.last, self.seen
        self.seen += 1
        self.last = self.done + step
        return self.last


def _no_space(error: BaseException) -> bool:
    """Whether a full disk is behind an error: one that every other trial would meet too."""
    return any(map(_no_space, error.errors)) if isinstance(error, PotstillErrors) else is_full(error)
