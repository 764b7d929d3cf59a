"""A task with labels: its data, and the score of a model's logits."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from potstill import registry
from potstill.data.labelled import Examples, Text
from potstill.data.labelled_files import own_data
from potstill.data.splits import LabelledData
from potstill.errors import PotstillError, did_you_mean
from potstill.tasks.base import NoScore, Predictor, Task, family_of, load_task, task_names
from potstill.tasks.labelled.entities import EntityCounts, count_entities
from potstill.tasks.labelled.matching import row_logits, word_logits
from potstill.tasks.labelled.measures import MEASURES

DEV = "-dev"  # behind a task's name: the rows to choose by


@dataclass(frozen=True)
class TrainingData:
    """What training on a task needs.

    Attributes:
        kind: of data.labelled.KINDS.
        labels: names in the order of the labels' numbers; [] for a regression.
        train: rows to train on.
        dev: rows to choose by, which `<task>-dev` scores; no row of train is among them.
    """

    kind: str
    labels: list[str]
    train: Examples
    dev: Examples


class LabelledTask(Task):
    """Scores logits against labels. `<task>` is the reported split, `<task>-dev` the one to choose by (data.splits).

    Attributes:
        kind: of data.labelled.KINDS.
        labels: names in the order of the labels' numbers; [] for a regression.
        examples: the split in question.
        measures: names of tasks.labelled.measures, the primary first; tagging has its own three.
    """

    needs = "logits"
    kind: str
    measures: tuple[str, ...]

    def __init__(self, name: str, data: LabelledData, examples: Examples, measures: tuple[str, ...]) -> None:
        super().__init__(name)
        self.kind, self.labels, self.examples, self.measures = data.kind, data.labels, examples, measures
        self.primary = measures[0]

    @classmethod
    @abstractmethod
    def source(cls, variant: str, folder: Path) -> tuple[LabelledData, tuple[str, ...]]:
        """The data set and its measures. `variant` is without -dev.

        Raises:
            PotstillError: no such variant, or nothing on disk.
        """

    @classmethod
    def open(cls, variant: str, folder: Path) -> LabelledTask:
        data, measures = cls.source(variant.removesuffix(DEV), folder)
        examples = data.choosing() if variant.endswith(DEV) else data.reported()
        return cls(data.name + (DEV if variant.endswith(DEV) else ""), data, examples, measures)

    @classmethod
    def training(cls, variant: str, folder: Path) -> TrainingData:
        """What training needs; the same for `<task>` and `<task>-dev`."""
        data, _ = cls.source(variant.removesuffix(DEV), folder)
        train, dev = data.train_and_dev()
        return TrainingData(data.kind, data.labels, train, dev)

    def texts(self) -> list[Text]:
        return list(self.examples.texts)

    def evaluate(self, predict: Predictor) -> dict[str, Any]:
        """The primary measure, the others, then counts.

        A label is the largest logit; of several labels, each whose logit is not below 0 (a probability of one half).

        Raises:
            PotstillError: a head of another kind or other labels, logits that are not finite, scores
                that are all the same where a correlation is asked.
        """
        if self.kind == "tagging":
            return self._evaluate_tags(predict)
        logits = row_logits(predict, self.kind, self.labels, self.texts(), self.name)
        gold = cast("NDArray[Any]", self.examples.labels)
        predicted: NDArray[Any]
        if self.kind == "classification":
            predicted = logits.argmax(axis=1)  # (n,)
        elif self.kind == "multilabel":
            predicted = (logits >= 0).astype(np.int64)  # (n, C)
        else:
            predicted = self._scores(logits[:, 0], gold)
        return {measure: MEASURES[measure](gold, predicted) for measure in self.measures} | {"examples": len(gold)}

    def _scores(self, predicted: NDArray[np.float64], gold: NDArray[Any]) -> NDArray[np.float64]:
        for scores, whose in ((gold, "gold scores"), (predicted, "predicted scores")):
            if np.ptp(scores) == 0:
                way_out = (
                    "check the label column"
                    if scores is gold
                    else "the model says the same of every text: look at its loss, and train again"
                )
                kind = PotstillError if scores is gold else NoScore
                raise kind(self.name, f"all {len(scores)} {whose} are {scores[0]:g}, so no correlation exists", way_out)
        return predicted

    def _evaluate_tags(self, predict: Predictor) -> dict[str, Any]:
        arrays = word_logits(predict, self.labels, self.texts(), self.name)
        counts, words, unseen = EntityCounts(), 0, 0
        for gold, logits in zip(self.examples.labels, arrays, strict=True):
            predicted = [self.labels[number] for number in logits.argmax(axis=1)] if len(logits) else []
            counts += count_entities([self.labels[number] for number in gold], predicted)
            words += len(gold)
            unseen += len(gold) - len(predicted)
        scores = {"f1": counts.f1, "precision": counts.precision, "recall": counts.recall}
        numbers = {"examples": len(self.examples), "words": words, "unseen_words": unseen, "entities": counts.gold}
        return {measure: scores[measure] for measure in self.measures} | numbers


class OwnTask(LabelledTask):
    """A family of the user's own data sets: FOLDER/<kind>/<name>/{train,dev,test}, files as data.labelled_files reads them."""

    @classmethod
    def variants(cls) -> dict[str, str]:
        return {"<name>": f"your own data in {cls.kind}/<name>/: its test split, else dev; <name>{DEV} for choosing"}

    @classmethod
    def source(cls, variant: str, folder: Path) -> tuple[LabelledData, tuple[str, ...]]:
        return own_data(cls.kind, variant, folder), cls.measures


def load_labelled(name: str, folder: str | Path) -> LabelledTask:
    """`load_task` for a name that must be of a task with labels.

    Raises:
        PotstillError: as `load_task`, and a task without labels.
    """
    _labelled_family(name)
    return cast("LabelledTask", load_task(name, folder))


def training_data(name: str, folder: str | Path) -> TrainingData:
    """What training on the task of that name needs.

    Raises:
        PotstillError: as `load_labelled`, and no rows to train on.
    """
    family, variant = _labelled_family(name)
    return family.training(variant, Path(folder))


def _labelled_family(name: str) -> tuple[type[LabelledTask], str]:
    family, slash, variant = name.partition("/")
    known = family_of(family) if slash and family in registry.names("tasks") else Task
    if not issubclass(known, LabelledTask):
        labelled = [other for other in task_names() if family_of(other.partition("/")[0]).needs == "logits"]
        raise PotstillError("task", f"{name!r} is no task with labels", did_you_mean(name, labelled))
    return known, variant
