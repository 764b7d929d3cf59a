"""From a record's scores to one number for each task, and one number for the model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from potstill.registry import DEV
from potstill.results import LARGEST, Record

STS = "sts/"
_TITLES = {
    "sts": {"stsb": "STS-B", "sickr": "SICK-R"},
    "near": {"all": "near sentences", **{kind: f"near: {kind}" for kind in ("negation", "number", "order", "word")}},
    "glue": {
        "cola": "CoLA", "sst2": "SST-2", "mrpc": "MRPC", "stsb": "STS-B", "qqp": "QQP",
        "mnli": "MNLI", "mnli-mm": "MNLI-mm", "qnli": "QNLI", "rte": "RTE", "wnli": "WNLI",
    },
}  # fmt: skip
_METRICS = {
    "spearman": "Spearman", "pearson": "Pearson", "matthews": "Matthews", "mrr": "MRR", "map": "MAP", "ndcg": "nDCG",
    "f1": "F1", "macro_f1": "macro F1", "micro_f1": "micro F1", "rmse": "RMSE",
}  # fmt: skip


def finite(value: object) -> float | None:
    """The number, or None for anything that cannot be shown as one: absent, text, NaN, infinity, larger than LARGEST.

    What is nearer to 0 than 1 / LARGEST is 0.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= LARGEST:
        return None
    return float(value) if abs(value) >= 1 / LARGEST else 0.0  # which has no logarithm, and says so


def primary_metric(scores: Mapping[str, Any]) -> str | None:
    """Name of the metric that stands for a task: the one that `scores` names as "primary", else its first number."""
    named = scores.get("primary")
    if isinstance(named, str):
        return named
    return next((name for name, value in scores.items() if finite(value) is not None), None)


def primary_score(scores: Mapping[str, Any]) -> float | None:
    """Value of the primary metric; None where it is absent or not a finite number."""
    metric = primary_metric(scores)
    return None if metric is None else finite(scores.get(metric))


def primary_scores(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Task → its primary score, of the tasks that have one."""
    found = {task: primary_score(values) for task, values in scores.items()}
    return {task: value for task, value in found.items() if value is not None}


def task_title(name: str) -> str:
    """A task's name as a column shows it: `sts/12` → STS12, `glue/mrpc-dev` → MRPC dev, of own data `tagging/streets` → streets."""
    family, _, short = name.rpartition("/")
    stem, dev = (short[: -len(DEV)], " dev") if short.endswith(DEV) else (short, "")
    if name.startswith(STS) and stem.isdigit():
        return f"STS{stem}{dev}"
    return _TITLES.get(family, {}).get(stem, stem) + dev


def better(metric: str) -> int:
    """1 for a metric of which more is better, -1 for one of which less is better."""
    return -1 if metric == "rmse" else 1


def metric_title(metric: str) -> str:
    """A metric's name as a column shows it: `spearman` → Spearman, `mrr@10` → MRR@10."""
    stem, mark, cut = metric.partition("@")
    return f"{_METRICS.get(stem, stem)}{mark}{cut}".replace("_", " ")


def task_metrics(records: Iterable[Record]) -> dict[str, str]:
    """Every task of the records, in order of first sight → the name of its primary metric."""
    tasks: dict[str, str] = {}
    for record in records:
        for task, scores in record.scores.items():
            metric = primary_metric(scores)
            if metric is not None:
                tasks.setdefault(task, metric)
    return tasks


def further_measures(records: Iterable[Record]) -> list[str]:
    """Names of the measures beside the primary one, such as recall@1 beside MRR@10; none where several tasks were scored.

    Tasks give measures as floats and counts as integers, so integers are left out.
    """
    records = list(records)
    tasks = task_metrics(records)
    if len(tasks) != 1:
        return []
    ((task, metric),) = tasks.items()
    scores = (record.scores.get(task, {}) for record in records)
    return list(dict.fromkeys(name for each in scores for name, value in each.items() if isinstance(value, float) and name != metric))


def summed_up(tasks: Mapping[str, str]) -> tuple[str, list[str]]:
    """The one number that says how good a model is: its title, and the tasks that it is the mean of.

    Of several STS test sets it is their mean. Else it is the mean of all tasks, or the score of the only one.
    Development sets count only where there is nothing else: a checkpoint may have been chosen by them.

    Args:
        tasks: what `task_metrics` gives.
    """
    tests = [task for task in tasks if not task.endswith(DEV)] or list(tasks)
    sts = [task for task in tests if task.startswith(STS)]
    if len(sts) > 1:
        return "STS mean", sts
    if len(tests) == 1:
        return f"{task_title(tests[0])} {metric_title(tasks[tests[0]])}", tests
    return "mean", tests


def mean_over(tasks: list[str], scores: Mapping[str, float | None]) -> float | None:
    """Mean of the tasks' scores; None unless all are there, since means over different sets do not compare."""
    values = [scores.get(task) for task in tasks]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
