"""The one way from the name of a model to its record; the command and a run both take it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from potstill.evaluation.cost import measure_cost
from potstill.evaluation.quality import score
from potstill.evaluation.subject import Subject, open_subject
from potstill.results import Cost, Record, machine, versions
from potstill.tasks.base import COST, Task, load_tasks


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
        pooling, max_length: of a torch model, instead of what its folder says.

    Raises:
        PotstillError: no such task or model, or data missing or malformed (PotstillErrors when
            several tasks have something wrong).
    """
    loaded = load_tasks(tasks, folder)
    subject = open_subject(model, precision, threads, pooling=pooling, max_length=max_length)
    cost = None
    if COST in tasks:
        cost = partial(measure_cost, model, precision, threads, pooling=pooling, max_length=max_length)
    return record_of(subject, loaded, cost, model=str(model), name=name, role=role)


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
        scores=score(tasks, lambda texts: subject.encode(texts, title), predict) if tasks else {},
        cost=cost() if cost is not None else None,
        files=subject.files,
        versions=versions(),
        machine=machine(),
    )
