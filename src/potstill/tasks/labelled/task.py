"""Tasks with labels: their data, read once, and the score of a model's logits."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from potstill import registry
from potstill.data.files.labelled_files import own_data
from potstill.data.files.own_files import own_files
from potstill.data.labelled import Examples
from potstill.data.splits import LabelledData
from potstill.errors import PotstillError, did_you_mean
from potstill.recipe.recipe import OWN_KINDS, Recipe
from potstill.registry import DEV
from potstill.runtime.folder import CLASSIFICATION, MULTILABEL, REGRESSION, TAGGING
from potstill.runtime.tokens import Text
from potstill.tasks.base import NoScore, Predictor, Task, evenly, family_of, task_names
from potstill.tasks.labelled.diagnosis import diagnose_classes, diagnose_label_sets, diagnose_tags
from potstill.tasks.labelled.entities import EntityCounts, count_entities
from potstill.tasks.labelled.matching import row_logits, word_logits
from potstill.tasks.labelled.measures import MEASURES


@dataclass(frozen=True)
class TrainingData:
    """What training on a task needs.

    Attributes:
        kind: of runtime.folder.HEADS.
        labels: names in the order of the labels' numbers; [] for a regression.
        train: rows to train on.
        dev: rows to choose by, those of the task `<task>-dev`; no row of train is among them.
        numbered: as in data.splits.LabelledData.
    """

    kind: str
    labels: list[str]
    train: Examples
    dev: Examples
    numbered: list[str] = field(default_factory=list)


class LabelledTask(Task):
    """The score of logits against labels.

    `<task>` is the score on the rows that are reported, `<task>-dev` that on the rows to choose by
    (data.splits).

    Attributes:
        kind: of runtime.folder.HEADS.
        labels: names in the order of the labels' numbers; [] for a regression.
        numbered: as in data.splits.LabelledData.
        examples: the rows that are scored.
        measures: names of tasks.labelled.measures, the primary first; of tagging, of properties of
            EntityCounts.
    """

    needs = "logits"
    kind: str
    measures: tuple[str, ...]

    def __init__(self, name: str, data: LabelledData, examples: Examples, measures: tuple[str, ...]) -> None:
        super().__init__(name)
        self.kind, self.labels, self.numbered, self.examples, self.measures = data.kind, data.labels, data.numbered, examples, measures
        self.primary = measures[0]
        if self.kind == REGRESSION:
            self._scores(cast("NDArray[Any]", examples.labels), "gold scores", PotstillError, "check the label column")

    @classmethod
    @abstractmethod
    def source(cls, variant: str, folder: Path, numbered: Sequence[str] = ()) -> tuple[LabelledData, tuple[str, ...]]:
        """The data set and the names of its measures.

        A PotstillError is raised where there is no such variant, or nothing on disk.

        Args:
            variant: what stands behind `<family>/` in the task's name, without DEV.
            folder: as in `open`.
            numbered: names in the order of the labels' numbers, where the recipe gives them.
        """

    @classmethod
    def open(cls, variant: str, folder: Path) -> LabelledTask:
        """Read the rows that are reported, or with DEV behind `variant` the rows to choose by."""
        data = LabelledSet.open(cls, variant, folder)
        return data.dev_task() if variant.endswith(DEV) else data.test_task()

    def few(self, rows: int) -> LabelledTask:
        """The task on `rows` of its rows."""
        short = copy.copy(self)
        short.examples = self.examples.take(evenly(len(self.examples), rows))
        return short

    def texts(self) -> list[Text]:
        """The texts that are scored, in their order."""
        return list(self.examples.texts)

    def evaluate(self, predict: Predictor) -> dict[str, Any]:
        """The primary measure, the other ones, counts, and what the scores hide.

        The label with the largest logit is predicted. Where a text may have several labels, each label
        is predicted whose logit is at least 0, a probability of one half. A PotstillError comes through
        where the model has a head of another kind or other labels, and where logits are not finite;
        a NoScore where a correlation is measured and all predicted scores are equal.

        Args:
            predict: the model.

        Returns:
            Measures and counts by name. But for a regression there stands beside them what `tasks.labelled.diagnosis` finds
            for the kind: "majority", "majority_answer", "answers", "most_given", "classes"; of one label or several a text
            "calibration"; of few labels, one a text, "confusion".
        """
        if self.kind == TAGGING:
            return self._evaluate_tags(predict)
        logits = row_logits(predict, self.kind, self.labels, self.texts(), self.name, self.numbered)
        gold = cast("NDArray[Any]", self.examples.labels)
        predicted: NDArray[Any]
        beside: dict[str, Any] = {}
        if self.kind == CLASSIFICATION:
            predicted = logits.argmax(axis=1)  # (n,)
            beside = diagnose_classes(self.labels, gold, logits, self.measures)
        elif self.kind == MULTILABEL:
            predicted = (logits >= 0).astype(np.int64)  # (n, C)
            beside = diagnose_label_sets(self.labels, gold, logits, self.measures)
        else:
            way_out = "the model says the same of every text: look at its loss, and train again"
            predicted = self._scores(logits[:, 0], "predicted scores", NoScore, way_out)
        return {measure: MEASURES[measure](gold, predicted) for measure in self.measures} | {"examples": len(gold)} | beside

    def _scores(self, scores: NDArray[Any], whose: str, error: type[PotstillError], way_out: str) -> NDArray[Any]:
        if np.ptp(scores) == 0:
            raise error(self.name, f"all {len(scores)} {whose} are {scores[0]:g}, so no correlation exists", way_out)
        return scores

    def _evaluate_tags(self, predict: Predictor) -> dict[str, Any]:
        arrays = word_logits(predict, self.labels, self.texts(), self.name, self.numbered)
        gold = [[self.labels[number] for number in tags] for tags in self.examples.labels]
        predicted = [[self.labels[number] for number in logits.argmax(axis=1)] if len(logits) else [] for logits in arrays]
        counts = sum(map(count_entities, gold, predicted), EntityCounts())
        words = sum(map(len, gold))
        unseen = words - sum(map(len, predicted))
        scores = {"f1": counts.f1, "precision": counts.precision, "recall": counts.recall}
        numbers = {"examples": len(self.examples), "words": words, "unseen_words": unseen, "entities": counts.gold}
        return {measure: scores[measure] for measure in self.measures} | numbers | diagnose_tags(gold, predicted, self.measures)


class OwnTask(LabelledTask):
    """A family of the user's own data sets: FOLDER/<kind>/<name>/{train,dev,test}, read by data.files.labelled_files."""

    @classmethod
    def variants(cls) -> dict[str, str]:
        """Any folder of the kind, by its name."""
        return {"<name>": f"your own data in {cls.kind}/<name>/: its test split, else dev; <name>{DEV} for choosing"}

    @classmethod
    def source(cls, variant: str, folder: Path, numbered: Sequence[str] = ()) -> tuple[LabelledData, tuple[str, ...]]:
        """The user's data set of that name; see `own_data`."""
        return own_data(cls.kind, variant, folder, numbered), cls.measures


@dataclass(frozen=True)
class LabelledSet:
    """A labelled data set, of which its two tasks and its training rows are made; each file is read once.

    Attributes:
        family: the class of its tasks.
        data: its splits.
        measures: as in LabelledTask.
    """

    family: type[LabelledTask]
    data: LabelledData
    measures: tuple[str, ...]

    @classmethod
    def open(cls, family: type[LabelledTask], variant: str, folder: Path, numbered: Sequence[str] = ()) -> LabelledSet:
        """Find the data set of a task.

        A PotstillError comes through where there is no such data set.

        Args:
            family: the class of its tasks.
            variant: what stands behind `<family>/` in the task's name, with DEV or without.
            folder: as in `Task.open`.
            numbered: as in `LabelledTask.source`.
        """
        return cls(family, *family.source(variant.removesuffix(DEV), folder, numbered))

    def test_task(self) -> LabelledTask:
        """The task on the rows that are reported. A PotstillError comes through where there are none, or a file is malformed."""
        return self.family(self.data.name, self.data, self.data.reported(), self.measures)

    def dev_task(self) -> LabelledTask:
        """The task on the rows to choose by, named with DEV. A PotstillError comes through as from `test_task`."""
        return self.family(self.data.name + DEV, self.data, self.data.choosing(), self.measures)

    def training(self) -> TrainingData:
        """What training needs. A PotstillError comes through as from `test_task`."""
        return TrainingData(self.data.kind, self.data.labels, *self.data.train_and_dev(), self.data.numbered)

    def tell_repeats(self) -> None:
        """Warn of texts that are in several splits of own data, as LabelledData.tell_repeats finds them; a benchmark's are its own."""
        if issubclass(self.family, OwnTask):
            self.data.tell_repeats()

    def tasks(self) -> dict[str, Callable[[], Task]]:
        """The name of each of the two tasks → the method that makes it."""
        return {self.data.name: self.test_task, self.data.name + DEV: self.dev_task}


def labelled_set(name: str, folder: str | Path, numbered: Sequence[str] = ()) -> LabelledSet:
    """The data set of a task with labels, for more than one use of it.

    A PotstillError comes through as from `load_labelled`.

    Args:
        name: of the task, with DEV or without.
        folder: as in `load_task`.
        numbered: as in `LabelledTask.source`.
    """
    family, variant = _labelled_family(name)
    return LabelledSet.open(family, variant, Path(folder), numbered)


def recipe_set(recipe: Recipe) -> LabelledSet:
    """The data set of a recipe's labelled task: that of its `data.file`, else that of the task's name under `data.dir`.

    A PotstillError comes through as from `labelled_set` and `own_files`.

    Args:
        recipe: of a labelled task.

    Raises:
        PotstillError: there is a `data.file`, and the task is none of own data.
    """
    data = recipe.data
    if data.file is None:
        return labelled_set(recipe.task, data.dir, data.labels or ())
    family, variant = _labelled_family(recipe.task)
    if not issubclass(family, OwnTask):
        kinds = ", ".join(OWN_KINDS)
        raise PotstillError(
            "data.file", f"is not read by the task {recipe.task}, which has files of its own", f"set task to one of {kinds}"
        )
    return LabelledSet(family, own_files(family.kind, variant.removesuffix(DEV), data), family.measures)


def task_openers(recipe: Recipe, names: Iterable[str], own: LabelledSet | None = None) -> dict[str, Callable[[], Task]]:
    """How a recipe opens labelled tasks: those of its own data set as that, and any with the names that it gives to numbers.

    A PotstillError comes through as from `recipe_set`.

    Args:
        recipe: of any task.
        names: of tasks; those without labels are passed over.
        own: the recipe's data set, where it is read already; else it is read where one of the names is a task of it.

    Returns:
        The name of a task → what opens it, for `load_tasks`.
    """
    labelled, numbered = [name for name in names if has_labels(name)], recipe.data.labels or ()
    if own is None and recipe.labelled and any(name.removesuffix(DEV) == recipe.task for name in labelled):
        own = recipe_set(recipe)
    every = {name: partial(load_labelled, name, recipe.data.dir, numbered) for name in labelled} if numbered else {}
    return every | (own.tasks() if own else {})


def load_labelled(name: str, folder: str | Path, numbered: Sequence[str] = ()) -> LabelledTask:
    """Find a task with labels by its name and read its data.

    A PotstillError comes through as from `load_task`, and for a task without labels.

    Args:
        name: for example "glue/mrpc-dev".
        folder: as in `load_task`.
        numbered: as in `LabelledTask.source`.
    """
    data = labelled_set(name, folder, numbered)
    return data.dev_task() if name.endswith(DEV) else data.test_task()


def has_labels(name: str) -> bool:
    """Whether a task of that name is one with labels; False of a name that no task has."""
    try:
        _labelled_family(name)
    except PotstillError:
        return False
    return True


def training_data(name: str, folder: str | Path) -> TrainingData:
    """What training on the task of that name needs; the same with DEV behind the name or without.

    A PotstillError comes through as from `load_labelled`, and where there are no rows to train on.

    Args:
        name: for example "glue/mrpc".
        folder: as in `load_task`.
    """
    return labelled_set(name, folder).training()


def _labelled_family(name: str) -> tuple[type[LabelledTask], str]:
    family, slash, variant = name.partition("/")
    known = family_of(family) if slash and family in registry.names("tasks") else Task
    if not issubclass(known, LabelledTask):
        labelled = [other for other in task_names() if family_of(other.partition("/")[0]).needs == "logits"]
        raise PotstillError("task", f"{name!r} is no task with labels", did_you_mean(name, labelled))
    return known, variant
