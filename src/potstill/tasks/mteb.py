"""Tasks of the package mteb, by their names there: its data, which come from the hub, and its scores."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from potstill.data.files.hub import quiet, reachable_or_offline
from potstill.errors import PotstillError, install
from potstill.runtime.decode import require_finite
from potstill.runtime.vectors import similarities
from potstill.tasks.base import UNNAMED, Embedder, NoScore, Task, Vectors


class MTEB(Task):
    """A task of the Massive Text Embedding Benchmark (Muennighoff et al. 2023), loaded and scored by the package mteb itself.

    Its score is mteb's main score ×100, in the mean over all splits and subsets that mteb evaluates. The default prompt of a
    model's folder stands before every text; prompts of the task's own, and others of the folder, are not used.

    Args:
        task: mteb's own object, of text alone. Where its data is not loaded, mteb loads it in each evaluation.
    """

    needs: ClassVar[str] = "encoder"

    def __init__(self, task: Any) -> None:
        super().__init__(f"mteb/{task.metadata.name}")
        self._task = task
        self.primary = task.metadata.main_score

    @classmethod
    def variants(cls) -> dict[str, str]:
        """Any task of mteb that is of text alone."""
        return {"<name>": "a task of the package mteb by its name there, such as mteb/STSBenchmark; its data come from the hub"}

    @classmethod
    def open(cls, variant: str, folder: Path) -> MTEB:
        """Find mteb's task and load its data, out of the hub or its cache.

        Args:
            variant: mteb's name.
            folder: is not read.

        Raises:
            PotstillError: mteb is not installed or has no such task, the task is not of text alone, or its data cannot be loaded.
        """
        name = f"mteb/{variant}"
        try:
            import mteb
        except ImportError as error:
            raise PotstillError(UNNAMED, f"{name!r} needs the package mteb, which is not installed", install("mteb")) from error
        try:
            task = mteb.get_task(variant)
        except KeyError as error:
            near = re.search("[Dd]id you mean:? '(.+?)'", str(error))
            way_out = f"did you mean 'mteb/{near[1]}'?" if near else "mteb.get_tasks() lists them"
            raise PotstillError(UNNAMED, f"unknown task {name!r}", way_out) from error
        others = sorted(set(task.metadata.modalities) - {"text"})
        if others:
            raise PotstillError(UNNAMED, f"{name!r} is not of text alone, but of {', '.join(others)} too", "name another task")
        for part in getattr(task, "tasks", [task]):  # of one that is the mean of several, those
            _load(part, name)
        return cls(task)

    def texts(self) -> list[Any]:
        """None: mteb gives a model its texts itself."""
        return []

    def evaluate(self, model: Embedder) -> dict[str, Any]:
        """The main score ×100, and where it is a mean, the score of each part under "subsets".

        Args:
            model: gives the vectors.

        Raises:
            NoScore: mteb finds none, as where all vectors are equal.
        """
        import mteb

        found = mteb.evaluate(EncoderForMTEB(model, self.name), self._task, cache=None, co2_tracker=False, show_progress_bar=False)
        (result,) = found.task_results
        score = 100 * float(result.get_score())
        if not math.isfinite(score):
            raise NoScore(self.name, f"{self.primary} is {score}: the vectors allow no score")
        parts = {
            f"{split}, {one['hf_subset']}": {self.primary: 100 * float(one["main_score"])}
            for split, rows in result.scores.items()
            for one in rows
        }
        return {self.primary: score} | ({"subsets": parts} if len(parts) > 1 else {})


class EncoderForMTEB:
    """A model that gives vectors, as mteb asks for it (its EncoderProtocol): for `mteb.evaluate` and the package's own code.

    Args:
        model: gives the vectors: `Embedder(encoder.encode)` of a `potstill.Encoder`.
        name: what mteb is to call it.
    """

    def __init__(self, model: Embedder, name: str = "potstill/encoder") -> None:
        self._model, self._name = model, name

    @property
    def mteb_model_meta(self) -> Any:
        """What mteb asks to know of a model: its name, and nothing else."""
        from mteb.models.model_meta import ModelMeta

        return ModelMeta.create_empty({"name": self._name, "revision": "none"})

    def encode(self, inputs: Iterable[Mapping[str, Sequence[str]]], **asked: Any) -> Vectors:
        """Vectors of the texts, (n, d). A PotstillError comes through where one is not finite.

        Args:
            inputs: batches, each with its texts under "text".
            **asked: task, split, kind of prompt and size of batches, none of which changes a vector here.
        """
        vectors = self._model.encode([text for batch in inputs for text in batch["text"]])
        require_finite(vectors, self._name, "vectors")
        return vectors

    def similarity(self, embeddings1: ArrayLike, embeddings2: ArrayLike) -> NDArray[np.float32]:
        """How alike each vector is to each, as the model's folder says, (n, m); of two vectors alone a number, ().

        Args:
            embeddings1: (n, d), or one vector (d,).
            embeddings2: (m, d), or one vector (d,).
        """
        found = similarities(self._model.similarity, _rows(embeddings1), _rows(embeddings2))
        # mteb asks of a summary's vectors for float(similarity(a, b)), which numpy gives of a number alone.
        return found.reshape(()) if np.ndim(embeddings1) == np.ndim(embeddings2) == 1 else found

    def similarity_pairwise(self, embeddings1: ArrayLike, embeddings2: ArrayLike) -> NDArray[np.float32]:
        """How alike the two vectors of each row are, as the model's folder says, (n,).

        Args:
            embeddings1: (n, d).
            embeddings2: (n, d).
        """
        rows = zip(_rows(embeddings1), _rows(embeddings2), strict=True)
        return np.array([self.similarity(a, b) for a, b in rows], dtype=np.float32)


def _rows(vectors: ArrayLike) -> NDArray[np.float32]:
    return np.atleast_2d(np.asarray(vectors, dtype=np.float32))


def _load(task: Any, name: str) -> None:
    """Load the data of one of mteb's tasks.

    Args:
        task: mteb's own object.
        name: what was asked for.

    Raises:
        PotstillError: they cannot be loaded.
    """
    import datasets

    try:
        with quiet(datasets), reachable_or_offline(datasets, from_hub=True):
            task.load_data()
    except Exception as error:  # the library fails with its own, pyarrow's, the hub's and the network's classes
        reason = str(error.__cause__ or error) or type(error).__name__
        problem = f"mteb cannot load the data of {task.metadata.name} ({reason.splitlines()[0][:200]})"
        raise PotstillError(name, problem, "check the network, or load them once where there is one: the hub's cache keeps them") from error
