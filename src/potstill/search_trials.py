"""One trial of a search, and the run at its end."""

from __future__ import annotations

import gc
import hashlib
import json
import math
import shutil
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from potstill import recipe_file
from potstill.errors import NoSpace, PotstillError, PotstillErrors
from potstill.evaluation.cost import measure_cost
from potstill.evaluation.evaluate import COST, evaluate
from potstill.files import require_space, write_text
from potstill.pipeline import RECIPE, SAMPLE, decides_student, distil, export
from potstill.preflight import preflight
from potstill.recipe import Recipe
from potstill.report.scores import primary_score
from potstill.results import read_metrics, versions
from potstill.runtime.folder import ONNX, STUDENT
from potstill.search_queue import ANOTHER, INSTEAD, Queue, Spoilt
from potstill.search_record import Search, Step, Trial, search_folder
from potstill.search_space import ONE_FACTOR, best_of_each, distributions, listed_settings, override, own_values, read_space
from potstill.teach import CHECKPOINTS, teach

TRIALS, BEST, COPIES = "trials", "best", "copies"
DEFAULT_TRIALS = 20
TESTED = 10  # students of the chosen run that are scored on the tests, at most


class Work:
    """What is done to a recipe in a search: its trials, and the run at the end."""

    def __init__(self, recipe: str, space: Path, overrides: tuple[str, ...], folder: Path | None) -> None:
        self.recipe, self.overrides = recipe, overrides
        self.base = recipe_file.read(recipe, overrides)
        self.space = read_space(space, recipe, self.base, overrides)
        self.folder = search_folder(self.base.name, folder)
        self.seed = self.base.training.seed
        self.own = own_values(self.space, self.base)
        self.distributions = distributions(self.space)

    def queues(self, database: RDBStorage) -> tuple[Queue, Queue]:
        """The trials, and the one run at the end, which is a queue of one so that one process takes it."""
        # Neither `export` nor `evaluate` changes a trial: a gate that refused the chosen run is widened on --resume.
        content = [decides_student(self.base), self.space.model_dump(mode="json")]
        bound = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        directions: list[Literal["maximize", "minimize"]] = ["maximize", "minimize"][: len(self.space.objectives)]  # type: ignore[assignment]
        # Not before a third of the way: what rises slowly looks bad until then.
        pruner = optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=max(1, self.base.training.evaluations // 3))
        queue = Queue(database, self.base.name, bound, self._waiting(), directions, pruner if self.space.pruning else None)
        return queue, Queue(database, f"{self.base.name}: best", bound, [({}, {})])

    def _waiting(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """The trials of a new search: (parameters, attributes)."""
        if self.space.sampler in ("random", "tpe"):
            return [({}, {"keys": list(self.space.keys)})] * (self.space.trials or DEFAULT_TRIALS)
        listed = [
            ({key: json.dumps(value) for key, value in settings.items()}, {"keys": list(settings), "role": role})
            for role, settings in listed_settings(self.space, self.own)
        ]
        combined: list[tuple[dict[str, Any], dict[str, Any]]] = [({}, {"keys": [], "role": "combined", "last": True})]
        return listed + (combined if self.space.sampler == ONE_FACTOR and len(self.space.keys) > 1 else [])

    def sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """A seed for each trial: with one for each process, two of them would draw the same."""
        if self.space.sampler == "tpe":
            random_first = max(2, min(10, (self.space.trials or DEFAULT_TRIALS) // 3))
            return optuna.samplers.TPESampler(seed=self.seed + number, n_startup_trials=random_first, constant_liar=True)
        return optuna.samplers.RandomSampler(seed=self.seed + number)

    def trial(self, queue: Queue, trial: optuna.Trial) -> float | list[float]:
        """Train the recipe with the trial's settings; its values as Optuna wants them.

        Raises:
            Spoilt: something is wrong with the settings, or the device's memory does not hold them. A full disk comes through.
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
                return list(earlier.values)
        started, folder = time.perf_counter(), self.folder / TRIALS / str(trial.number)
        curve: list[tuple[int, float]] = []
        try:
            return self._train(trial, self.with_settings(settings), folder, curve)
        except OutOfMemoryError as error:
            raise Spoilt(str(error).partition(". ")[0]) from error  # what follows are sizes and advice about the allocator
        except PotstillError as error:
            if _no_space(error):
                raise
            raise Spoilt(" ".join(str(error).split())) from error
        finally:
            for part in (STUDENT, ONNX, CHECKPOINTS):  # first: where another has the trial, the database takes nothing more of it
                shutil.rmtree(folder / part, ignore_errors=True)
            trial.set_user_attr("curve", curve)
            trial.set_user_attr("seconds", round(time.perf_counter() - started, 2))

    def _settings(self, queue: Queue, trial: optuna.Trial) -> dict[str, Any]:
        if trial.user_attrs.get("role") == "combined":
            return best_of_each([(each.user_attrs["settings"], each.values[0]) for each in queue.trials(TrialState.COMPLETE)])
        return {key: _drawn(trial, key, self.distributions[key]) for key in trial.user_attrs["keys"]}

    def _train(self, trial: optuna.Trial, recipe: Recipe, folder: Path, curve: list[tuple[int, float]]) -> list[float]:
        before = _Steps()

        def watch(stage: str, student: Any, step: int, value: float) -> None:
            if not math.isfinite(value):
                raise PotstillError(recipe.select, f"is {value} at step {step}", "lower the learning rate")
            curve.append((before.total(stage, step), value))
            trial.set_user_attr("curve", curve)
            if len(self.space.objectives) == 1:
                trial.report(value, len(curve))  # not the step: another batch size has other steps, and is as far
                if trial.should_prune():
                    raise optuna.TrialPruned

        facts = preflight(recipe)
        write_text(folder / RECIPE, recipe_file.resolved(recipe))
        teach(recipe, facts, folder, False, watch)
        gc.collect()  # Trainer's parts refer to each other in circles
        if not curve:
            raise PotstillError(recipe.select, "never scored the student", "let a stage teach what it reads")
        quality = max(value for _, value in curve[before.first :])
        if len(self.space.objectives) == 1:
            return [quality]
        export(folder / STUDENT, folder / ONNX, texts=facts.material.held_out[:SAMPLE])
        return [quality, measure_cost(folder / ONNX, "fp32").latency_p50_ms]

    def best(self, queue: Queue, trial: optuna.Trial) -> float:
        """Train the best setting in full, as a run; score some of its students along the way, and the files that it ships, on the tests."""
        chosen = _best(queue)
        recipe, copies, before = self.with_settings(chosen.user_attrs["settings"]), self.folder / COPIES, _Steps()
        tests = [name for name in recipe.evaluate if name != COST]
        every = -(-recipe.training.evaluations * sum(stage.share != 0 for stage in recipe.stages) // TESTED)

        def watch(stage: str, student: Any, step: int, value: float) -> None:
            number = sum("dev" in line for line in read_metrics(self.folder / BEST))  # counted there, a resumed run keeps the same ones
            if tests and number % every == 0:
                require_space(copies, 4 * sum(student.parameter_counts()), "a copy of the student, to be scored on the tests")
                student.save(copies / f"{stage}-{step}")

        run = distil(recipe, out=self.folder / BEST, resume=(self.folder / BEST).exists(), watch=watch)
        steps = []
        for line in read_metrics(self.folder / BEST):
            if "dev" in line:
                total, copy = before.total(line["stage"], line["step"]), copies / f"{line['stage']}-{line['step']}"
                scores = evaluate(copy, tests, recipe.data.dir, name=f"step {total}").scores if copy.is_dir() else {}
                steps.append(Step(step=total, dev=line["dev"]["value"], scores=_primary(scores)))
        shipped = run.records[-1]
        trial.set_user_attr("steps", [step.model_dump() for step in steps])
        trial.set_user_attr("shipped", shipped.role)
        trial.set_user_attr("tests", _primary(shipped.scores))
        trial.set_user_attr("chosen", chosen.number)
        shutil.rmtree(copies, ignore_errors=True)
        return 0.0

    def with_settings(self, settings: dict[str, Any]) -> Recipe:
        return recipe_file.read(self.recipe, [*self.overrides, *(override(key, value) for key, value in settings.items())])

    def record(self, queue: Queue, last: dict[str, Any]) -> Search:
        several = len(self.space.objectives) > 1
        return Search(
            name=self.base.name,
            seed=self.seed,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            sampler=self.space.sampler,
            objectives=list(self.space.objectives),
            score=self.base.select,
            space=self.space.model_dump(mode="json", by_alias=True),
            base=self.own,
            recipe=self.base.model_dump(mode="json"),
            trials=[_record(trial) for trial in queue.trials() if trial.state != TrialState.FAIL or "why" in trial.user_attrs],
            best=last["chosen"],
            front=sorted(trial.number for trial in queue.study.best_trials) if several else [],
            steps=[Step(**step) for step in last["steps"]],
            shipped=last["shipped"],
            tests=last["tests"],
            versions=versions() | {"optuna": optuna.__version__},
        )


def _drawn(trial: optuna.Trial, key: str, values: BaseDistribution) -> Any:
    if isinstance(values, CategoricalDistribution):
        return json.loads(trial.suggest_categorical(key, values.choices))  # type: ignore[arg-type]
    if isinstance(values, IntDistribution):
        return trial.suggest_int(key, values.low, values.high, log=values.log)
    assert isinstance(values, FloatDistribution)
    return trial.suggest_float(key, values.low, values.high, log=values.log)


class _Steps:
    """Steps over all stages: each stage counts its own from 1."""

    def __init__(self) -> None:
        self.stage, self.done, self.last, self.seen, self.first = "", 0, 0, 0, 0

    def total(self, stage: str, step: int) -> int:
        """Steps since the run began; `first` is then how many scores were before this stage's."""
        if stage != self.stage:
            self.stage, self.done, self.first = stage, self.last, self.seen
        self.seen += 1
        self.last = self.done + step
        return self.last


def _primary(scores: dict[str, dict[str, Any]]) -> dict[str, float]:
    found = {task: primary_score(values) for task, values in scores.items()}
    return {task: value for task, value in found.items() if value is not None}


def _no_space(error: BaseException | None) -> bool:
    """Whether a full disk is behind an error: one that every other trial would meet too."""
    if isinstance(error, PotstillErrors):
        return any(map(_no_space, error.errors))
    return error is not None and (isinstance(error, NoSpace) or _no_space(error.__cause__))


def _best(queue: Queue) -> FrozenTrial:
    """The trial of the highest quality; of equals the first."""
    done = queue.trials(TrialState.COMPLETE)
    if not done:
        reasons = [trial.user_attrs["why"] for trial in queue.trials(TrialState.FAIL) if "why" in trial.user_attrs]
        raise PotstillError("search", f"no trial could be scored: {reasons[0] if reasons else 'all were pruned'}", f"mend that; {ANOTHER}")
    return max(done, key=lambda trial: (trial.values[0], -trial.number))


def _record(trial: FrozenTrial) -> Trial:
    own = trial.user_attrs
    curve = own.get("curve", [])
    complete = trial.state == TrialState.COMPLETE
    return Trial(
        number=trial.number,
        settings=own.get("settings", {}),
        role=own.get("role", ""),
        state="complete" if complete else "pruned" if trial.state == TrialState.PRUNED else "failed",
        score=trial.values[0] if complete else max((value for _, value in curve), default=None),
        latency_ms=trial.values[1] if complete and len(trial.values) > 1 else None,
        seconds=own.get("seconds", 0.0),
        curve=curve,
        why=own.get("why", ""),
        same_as=own.get("same"),
    )
