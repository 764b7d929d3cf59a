"""The one way from the name of a model to its record; the command and the pipeline both take it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from potstill.errors import PotstillError, PotstillErrors, did_you_mean
from potstill.evaluation.cost import measure_cost
from potstill.evaluation.quality import score
from potstill.evaluation.subject import open_subject
from potstill.results import Record, machine, versions
from potstill.tasks.base import Task, load_task, task_names

COST = "cost"


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
    title = f"score {name or subject.name}"
    predict = subject.predict and replace(subject.predict, logits=lambda texts: subject.run(texts, title))
    return Record(
        name=name or subject.name,
        role=role or subject.role,  # type: ignore[arg-type]  # pydantic checks it
        model=str(model),
        format=subject.format,
        scores=score(loaded, lambda texts: subject.encode(texts, title), predict) if loaded else {},
        cost=measure_cost(model, precision, threads) if COST in tasks else None,
        files=subject.files,
        versions=versions(),
        machine=machine(),
    )


def load_tasks(names: Sequence[str], folder: str | Path) -> list[Task]:
    """Load every task but `cost`, each once.

    Raises:
        PotstillErrors: everything wrong with any of them, at once.
    """
    tasks, errors = [], []
    for name in dict.fromkeys(names):
        if name == COST:
            continue
        try:
            if "/" not in name:
                raise PotstillError("tasks", f"unknown task {name!r}", did_you_mean(name, [*task_names(), COST]))
            tasks.append(load_task(name, folder))
        except PotstillError as error:
            errors.append(error)
    if errors:
        raise errors[0] if len(errors) == 1 else PotstillErrors(errors)
    return tasks
