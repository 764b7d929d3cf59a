"""Runs of labelled tasks whose records hold what LabelledTask.evaluate says beside the scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from helpers.samples import make_run
from potstill.results import Run
from potstill.tasks.labelled.diagnosis import diagnose_classes
from potstill.tasks.labelled.measures import MEASURES

MISTAKES = [
    {
        "text": "He left the house at nine . | He went away in the morning .",
        "gold": ["yes"],
        "teacher": [["yes", 0.91], ["no", 0.09]],
        "student": [["no", 0.83], ["yes", 0.17]],
    },
    {"text": "Stocks fell .", "gold": ["no"], "teacher": None, "student": [["yes", 0.7], ["no", 0.3]]},
]


def classified(
    labels: Sequence[str], counts: Sequence[Sequence[int]], measures: Sequence[str] = ("f1", "accuracy"), sure: float = 2.0
) -> dict[str, Any]:
    """The result of a classification with this confusion matrix, gold × answered; the answer's logit is `sure`, the others' 0."""
    pairs = [(gold, answer) for gold, row in enumerate(counts) for answer, count in enumerate(row) for _ in range(count)]
    gold, answers = np.array(pairs).T
    logits = sure * np.eye(len(labels))[answers]
    scores = {measure: MEASURES[measure](gold, answers) for measure in measures}
    return scores | {"examples": len(gold), "primary": measures[0]} | diagnose_classes(labels, gold, logits, measures)


def diagnosed_run(name: str = "kd-pairs", task: str = "glue/mrpc", **scores: dict[str, Any]) -> Run:
    """A run with a record for each role in `scores`."""
    run = make_run(name, roles=list(scores))
    for record in run.records:
        record.scores = {task: scores[record.role]}
    return run


NAMES = ("no", "yes")
TEACHER = classified(NAMES, [[420, 158], [90, 1057]])
STUDENT = classified(NAMES, [[350, 228], [140, 1007]], sure=3.0)
CHANCE = classified(NAMES, [[12, 566], [9, 1138]])  # yes to nearly everything
