"""What a benchmark is, and how a name such as `sts/stsb` leads to one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from potstill import registry
from potstill.errors import PotstillError, did_you_mean

Vectors = NDArray[np.floating]
Encode = Callable[[Sequence[str]], Vectors]


@dataclass(frozen=True)
class Predictor:
    """A model with a head, as a labelled task asks it.

    Attributes:
        labels: names in the order of the logits; LABEL_0, LABEL_1, ... where the model was given
            none. Of a regression they say nothing.
        kind: of data.labelled.KINDS.
        logits: n texts (strings, pairs, or lists of words) → (n, C) in the same order, before any
            softmax or sigmoid; a regression gives (n, 1). Tagging: n arrays, each (words, tags);
            words at the end of a sentence that the model cannot see have no row.
    """

    labels: list[str]
    kind: str
    logits: Callable[[Sequence[Any]], Any]


class NoScore(PotstillError):
    """What the model answers has no score: all the same where an order is asked."""


class Task(ABC):
    """One benchmark, its data in memory. A family of tasks is one file of this package.

    Attributes:
        name: `<family>/<variant>`, as recipes and `--tasks` write it.
        primary: the key of `evaluate`'s answer that stands for the task in a table.
        needs: what `evaluate` asks of a model: "embedding" (Encode) or "logits" (Predictor).
    """

    primary: str
    needs: ClassVar[str] = "embedding"

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    @abstractmethod
    def variants(cls) -> dict[str, str]:
        """What may stand behind `<family>/` → what it is. Lists names: reads no data, imports nothing heavy."""

    @classmethod
    @abstractmethod
    def open(cls, variant: str, folder: Path) -> Task:
        """Read the task's data under `folder`, the folder that holds senteval/, glue/ and retrieval/.

        Raises:
            PotstillError: no such variant; a file is missing or malformed.
        """

    @abstractmethod
    def texts(self) -> list[Any]:
        """Every text that `evaluate` will ask about; repeats are allowed."""

    @abstractmethod
    def evaluate(self, model: Any) -> dict[str, Any]:
        """Score a model: measures ×100, counts as they are, parts of the data under "subsets".

        Args:
            model: what `needs` says: an Encode (n texts → (n, d) vectors in the same order) or a Predictor.

        Raises:
            PotstillError: what the model gives allows no score.
        """

    def choice(self, scores: Mapping[str, Any]) -> float:
        """The number that checkpoints are chosen by, out of `evaluate`'s answer: the primary measure."""
        return float(scores[self.primary])


def task_names() -> dict[str, str]:
    """Name of every task → one line about it."""
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
        raise PotstillError("tasks", f"unknown task {name!r}", did_you_mean(name, task_names()))
    return family_of(family).open(variant, Path(folder))


def unit_rows(vectors: Vectors, name: str) -> NDArray[np.float64]:
    """Rows scaled to length 1, in double precision; a row of zeros stays zeros, so that its cosines are 0.

    Args:
        vectors: (n, d).
        name: the task, for the error.

    Raises:
        PotstillError: a NaN or an infinity among them, which would pass into the score unseen.
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


def family_of(family: str) -> type[Task]:
    """The class behind what stands before the slash of a task's name. Raises PotstillError for an unknown one."""
    return registry.load("tasks", family, Task, "tasks")
