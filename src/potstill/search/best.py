"""The run at the end of a search: the best setting in full, its scores on the tests, and the record of the search."""

from __future__ import annotations

import shutil
from datetime import datetime, timezone
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from potstill.errors import PotstillError
from potstill.evaluation.evaluate import evaluate
from potstill.machine.files import require_space
from potstill.report.majority import all_at_majority
from potstill.report.scores import primary_scores
from potstill.results import read_metrics, versions
from potstill.run.distil import distil
from potstill.search.queue import ANOTHER, WHY, Queue, first_number
from potstill.search.record import Search, Step, Trial
from potstill.search.trials import Job, StepCounter
from potstill.tasks.base import COST
from potstill.tasks.labelled import task_openers

BEST, COPIES = "best", "copies"
TESTED = 10  # students of the chosen run that are scored on the tests, at most


def run_best(job: Job, queue: Queue, trial: optuna.Trial) -> float:
    """Train the best setting in full, as a run, and score the files that it ships on the tests.

    Some of its students along the way are scored on the tests too, afterwards.

    Args:
        job: the search.
        queue: the queue of the trials.
        trial: the run's own, of the other queue. What `make_record` needs of the run is kept as its attributes.

    Returns:
        Nothing of use: Optuna wants a value.
    """
    chosen = _best(queue)
    recipe, copies, before = job.with_settings(chosen.user_attrs["settings"]), job.folder / COPIES, StepCounter()
    tests = [name for name in recipe.evaluate if name != COST]
    every = -(-recipe.training.evaluations * sum(stage.share != 0 for stage in recipe.stages) // TESTED)

    def watch(stage: str, student: Any, step: int, value: float) -> None:
        number = sum("dev" in line for line in read_metrics(job.folder / BEST))  # counted there, a resumed run keeps the same ones
        if tests and number % every == 0:
            require_space(copies, 4 * sum(student.parameter_counts()), "a copy of the student, to be scored on the tests")
            student.save(copies / f"{stage}-{step}")

    run = distil(recipe, out=job.folder / BEST, resume=(job.folder / BEST).exists(), watch=watch)
    steps, opened = [], task_openers(recipe, tests)
    for line in read_metrics(job.folder / BEST):
        if "dev" in line:
            total, copy = before.total(line["stage"], line["step"]), copies / f"{line['stage']}-{line['step']}"
            scores = evaluate(copy, tests, recipe.data.dir, name=f"step {total}", opened=opened).scores if copy.is_dir() else {}
            steps.append(Step(step=total, dev=line["dev"]["value"], scores=primary_scores(scores)))
    shipped = run.records[-1]
    trial.set_user_attr("steps", [step.model_dump() for step in steps])
    trial.set_user_attr("shipped", shipped.role)
    trial.set_user_attr("tests", primary_scores(shipped.scores))
    trial.set_user_attr("at_majority", all_at_majority([shipped.scores.get(task, {}) for task in tests]))
    trial.set_user_attr("chosen", chosen.number)
    shutil.rmtree(copies, ignore_errors=True)
    return 0.0


def make_record(job: Job, queue: Queue, last: dict[str, Any]) -> Search:
    """Make the record of a search that is done.

    Args:
        job: the search.
        queue: the queue of the trials.
        last: the attributes of the run at the end.

    Returns:
        The record.
    """
    several = len(job.space.objectives) > 1
    return Search(
        name=job.base.name,
        seed=job.seed,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        sampler=job.space.sampler,
        objectives=list(job.space.objectives),
        score=job.base.select,
        space=job.space.model_dump(mode="json", by_alias=True),
        base=job.own,
        recipe=job.base.model_dump(mode="json"),
        trials=[_record(trial) for trial in queue.trials() if trial.state != TrialState.FAIL or WHY in trial.user_attrs],
        best=last["chosen"],
        front=sorted(trial.number for trial in queue.study.best_trials) if several else [],
        steps=[Step(**step) for step in last["steps"]],
        shipped=last["shipped"],
        tests=last["tests"],
        at_majority=last.get("at_majority", False),
        versions=versions() | {"optuna": optuna.__version__},
    )


def _best(queue: Queue) -> FrozenTrial:
    """The trial of the highest quality; of equals the first.

    Raises:
        PotstillError: no trial could be scored.
    """
    done = queue.trials(TrialState.COMPLETE)
    if not done:
        reasons = [trial.user_attrs[WHY] for trial in queue.trials(TrialState.FAIL) if WHY in trial.user_attrs]
        raise PotstillError("search", f"no trial could be scored: {reasons[0] if reasons else 'all were pruned'}", f"mend that; {ANOTHER}")
    return max(done, key=lambda trial: (trial.values[0], -first_number(trial)))


def _record(trial: FrozenTrial) -> Trial:
    """A trial of Optuna's as the record has it."""
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
        why=own.get(WHY, ""),
        tests=own.get("tests", {}),
        same_as=own.get("same"),
    )
