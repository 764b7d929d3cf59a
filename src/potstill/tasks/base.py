"""What a benchmark is, and how one is found by a name such as `sts/stsb`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from potstill import registry
from potstill.errors import PotstillError, collect, did_you_mean, refuse
from potstill.registry import COST
from potstill.runtime.folder import COSINE

Vectors = NDArray[np.floating]
UNNAMED = "tasks"  # the place of an error about a task's name, of whoever does not know where it stands
# Cosines of fp32 vectors differ by less than this when nothing but rounding sets them apart.
ROUNDING = 1e-6
Encode = Callable[[Sequence[str]], Vectors]


@dataclass(frozen=True)
class Predictor:
    """A model with a head, as a labelled task uses it.

    Attributes:
        labels: names in the order of the logits; LABEL_0, LABEL_1, ... where the model has none. Of a
            regression they are not read.
        head: of runtime.folder.HEADS.
        logits: n texts (strings, pairs, or lists of words) → (n, C) logits in the same order, before any
            softmax or sigmoid. A regression gives (n, 1). Tagging gives n arrays (words, tags), without
            rows for words at the end of a sentence that were cut off.
    """

    labels: list[str]
    head: str
    logits: Callable[[Sequence[Any]], Any]


@dataclass(frozen=True)
class Embedder:
    """A model that gives vectors, as a task uses it that asks for them in its own time.

    Attributes:
        encode: n texts → (n, d) vectors in the same order.
        similarity: how they are to be compared: one of runtime.folder.SIMILARITIES.
    """

    encode: Encode
    similarity: str = COSINE


class NoScore(PotstillError):
    """A model's answers have no score: they are all equal, and the measure is a correlation."""


class Task(ABC):
    """One benchmark, with its data in memory. A family of tasks is one file of this package.

    Attributes:
        name: `<family>/<variant>`, as recipes and `--tasks` write it.
        primary: the key of `evaluate`'s result that a table shows for the task.
        needs: what `evaluate` takes: "embedding" (an Encode that knows the vectors of `texts` alone), "encoder" (an
            Embedder) or "logits" (a Predictor).
    """

    primary: str
    needs: ClassVar[str] = "embedding"

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    @abstractmethod
    def variants(cls) -> dict[str, str]:
        """What may stand behind `<family>/` in a name → one line about it. It reads no data and imports nothing heavy."""

    @classmethod
    @abstractmethod
    def open(cls, variant: str, folder: Path) -> Task:
        """Read the task's data.

        A PotstillError is raised where there is no such variant, or a file is missing or malformed.

        Args:
            variant: what stands behind `<family>/` in the task's name.
            folder: holds senteval/, glue/, retrieval/ and the folders of own data.
        """

    def few(self, rows: int) -> Task:
        """The task on few of its rows, taken evenly from all of them, for a trial of a run's steps; by default on all.

        Args:
            rows: how many, at least 2.
        """
        return self

    @abstractmethod
    def texts(self) -> list[Any]:
        """Every text that `evaluate` gives the model; a text may be among them more than once. Of a task that needs an encoder, none."""

    @abstractmethod
    def evaluate(self, model: Any) -> dict[str, Any]:
        """Score a model.

        A PotstillError is raised where the model's answers allow no score.

        Args:
            model: what `needs` says: an Encode (n texts → (n, d) vectors in the same order), an Embedder or a Predictor.

        Returns:
            Measures ×100 and counts by name; the scores of parts of the data under "subsets".
        """

    def choice(self, scores: Mapping[str, Any]) -> float:
        """The number that checkpoints are compared by, higher is better: by default the primary measure.

        Args:
            scores: a result of `evaluate`.
        """
        return float(scores[self.primary])


def task_names() -> dict[str, str]:
    """The name of every task → one line about it."""
    return {f"{family}/{variant}": line for family in registry.names("tasks") for variant, line in family_of(family).variants().items()}


def load_task(name: str, folder: str | Path) -> Task:
    """Find a task by its name and read its data.

    Args:
        name: for example "sts/stsb".
        folder: holds senteval/, glue/, retrieval/ and the folders of own data, whichever the task needs.

    Raises:
        PotstillError: no such task; its data is missing or malformed.
    """
    family, slash, variant = name.partition("/")
    if family not in registry.names("tasks") or not slash:
        raise PotstillError(UNNAMED, f"unknown task {name!r}", did_you_mean(name, task_names()))
    return family_of(family).open(variant, Path(folder))


def named_at(place: str, make: Callable[[], Any]) -> Any:
    """What `make` gives; an error about a task's name says where it stands.

    Args:
        place: where that is.
        make: loads a task by its name.

    Raises:
        PotstillError: as `make` raises it.
    """
    try:
        return make()
    except PotstillError as error:
        if error.place != UNNAMED:
            raise
        raise PotstillError(place, error.problem, error.remedy) from error


def unit_rows(vectors: Vectors, name: str) -> NDArray[np.float64]:
    """Rows scaled to Euclidean length 1, (n, d) in double precision.

    A row of zeros stays zeros, so that its cosines are 0.

    Args:
        vectors: (n, d).
        name: of the task, for the error.

    Raises:
        PotstillError: a vector holds NaN or infinity.
    """
    rows = np.asarray(vectors, dtype=np.float64)
    broken = int(np.count_nonzero(~np.isfinite(rows).all(axis=1)))
    if broken:
        raise PotstillError(
            name,
            f"{broken} of {len(rows)} vectors hold NaN or infinity",
            "the model is broken: train again with a lower learning rate, or in fp32",
        )
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)  # (n, 1)
    return rows / np.where(lengths > 0, lengths, 1)


def evenly(count: int, rows: int) -> list[int]:
    """Numbers of `rows` of `count` rows, at even distances; all of them where there are no more."""
    return sorted({number * count // rows for number in range(rows)}) if count > rows else list(range(count))


def family_of(family: str) -> type[Task]:
    """The class of a family, by what stands before the slash of a task's name.

    A PotstillError comes through for an unknown family.
    """
    return registry.load("tasks", family, Task, "tasks")


def load_tasks(
    names: Sequence[str], folder: str | Path, opened: Mapping[str, Callable[[], Task]] | None = None, place: str = UNNAMED
) -> list[Task]:
    """Load every task but `cost`, each once.

    Args:
        names: of tasks; COST may be among them.
        folder: as in `load_task`.
        opened: name → what makes that task, of those whose data is open already (LabelledSet.tasks).
        place: where the names stand, for errors about them.

    Raises:
        PotstillErrors: everything wrong with any of them, at once.
    """
    tasks = []
    with collect() as attempt:
        for name in dict.fromkeys(names):
            if name == COST:
                continue
            if "/" not in name:
                attempt(refuse, place, f"unknown task {name!r}", did_you_mean(name, [*task_names(), COST]))
            else:
                make = opened[name] if opened and name in opened else partial(load_task, name, folder)
                tasks.append(attempt(named_at, place, make))
    return tasks
