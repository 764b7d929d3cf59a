"""The one way from the name of a model to its record; the command and a run both take it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from potstill.errors import PotstillError
from potstill.evaluation.cost import measure_cost
from potstill.evaluation.quality import score, score_asymmetric
from potstill.evaluation.subject import Subject, open_subject
from potstill.registry import EMBED
from potstill.results import Cost, Record, machine, versions
from potstill.runtime.folder import ONNXRUNTIME
from potstill.tasks.base import COST, Task, load_tasks
from potstill.tasks.retrieval import Retrieval


def evaluate(
    model: str | Path,
    tasks: Sequence[str],
    folder: str | Path = ".",
    threads: int | None = None,
    *,
    precision: str = "auto",
    name: str | None = None,
    role: str | None = None,
    pooling: str | None = None,
    max_length: int | None = None,
    documents: str | Path | None = None,
    engine: str = ONNXRUNTIME,
    opened: Mapping[str, Callable[[], Task]] | None = None,
) -> Record:
    """Score a model on tasks and measure its cost where `cost` is among them.

    Args:
        model: run folder, model folder of transformers or sentence-transformers, exported ONNX
            folder, or hub name.
        tasks: names such as "sts/stsb", and "cost". All data is read before the model is opened.
        folder: holds senteval/, glue/ and retrieval/.
        threads: default all usable cores.
        precision: which ONNX file of a folder: "fp32", "int8", or "auto", the one that ships; or
            "torch-int8", the torch model quantised by torch.
        name: what tables call it; default the folder's name.
        role: what it is in its run; default what its format tells.
        pooling: of a torch model, instead of what its folder says.
        max_length: likewise.
        documents: of retrieval, another model that encodes the documents, as its folder says; `model` then encodes the
            queries alone. Both must give vectors of one space. The cost is that of `model`.
        engine: of `model`, where it is an ONNX file: "onnxruntime" or "openvino".
        opened: as in `load_tasks`: tasks whose data is no folder's.

    Raises:
        PotstillError: no such task or model, or data missing or malformed (PotstillErrors when
            several tasks have something wrong); with `documents` also another task than retrieval, or vectors of
            different widths.
    """
    loaded = load_tasks(tasks, folder, opened)
    if documents is not None:
        _require_retrieval(loaded)
    subject = open_subject(model, precision, threads, pooling=pooling, max_length=max_length, engine=engine)
    cost = None
    if COST in tasks:
        cost = partial(measure_cost, model, precision, threads, pooling=pooling, max_length=max_length, engine=engine)
    if documents is None:
        return record_of(subject, loaded, cost, model=str(model), name=name, role=role)
    index = open_subject(documents, threads=threads)
    _require_one_space(subject, str(model), index, str(documents))
    scores = score_asymmetric(
        [task for task in loaded if isinstance(task, Retrieval)],
        lambda texts: subject.encode(texts, f"queries by {name or subject.name}"),
        lambda texts: index.encode(texts, f"documents by {index.name}"),
    )
    record = record_of(subject, [], cost, model=str(model), name=name, role=role)
    return record.model_copy(update={"documents": str(documents), "scores": scores})


def _require_retrieval(tasks: Sequence[Task]) -> None:
    """Check that there are queries and documents to encode apart.

    Raises:
        PotstillError: another task than retrieval is among them, or none is.
    """
    others = [task.name for task in tasks if not isinstance(task, Retrieval)]
    if others or not tasks:
        problem = f"only retrieval has queries and documents, and {', '.join(others)} is asked" if others else "no retrieval task is asked"
        raise PotstillError("documents", problem, "name tasks retrieval/<name> alone, or leave documents out")


def _require_one_space(subject: Subject, model: str, index: Subject, documents: str) -> None:
    """Check that vectors of two models can be compared, as far as that can be seen.

    Raises:
        PotstillError: one of them gives none, or their widths differ.
    """
    for each, place in ((subject, model), (index, documents)):
        if each.head != EMBED:
            raise PotstillError(place, "has a head and gives no vectors", "name an encoder")
    if subject.dimension != index.dimension:
        problem = f"gives documents {index.dimension} numbers, and {model} gives queries {subject.dimension}"
        raise PotstillError(documents, problem, "name the teacher of a student with align: teacher")


def record_of(
    subject: Subject,
    tasks: Sequence[Task],
    cost: Callable[[], Cost] | None,
    *,
    model: str,
    name: str | None = None,
    role: str | None = None,
) -> Record:
    """Score a model that is open on tasks whose data is read.

    Args:
        cost: measures it, in a process of its own; None: its cost is not asked for.
        model: what the record says it is.
        name, role: as `evaluate` has them.

    Raises:
        PotstillError: a task refuses what the model gives, or the cost cannot be measured.
    """
    title = f"score {name or subject.name}"
    predict = subject.predict and replace(subject.predict, logits=lambda texts: subject.run(texts, title))
    return Record(
        name=name or subject.name,
        role=role or subject.role,  # type: ignore[arg-type]  # pydantic checks it
        model=model,
        format=subject.format,
        scores=score(tasks, lambda texts: subject.encode(texts, title), predict, subject.similarity) if tasks else {},
        cost=cost() if cost is not None else None,
        files=subject.files,
        versions=versions(),
        machine=machine(),
    )
