"""What one answer to everything scores: beside every model's score, so that a model that learnt nothing is seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from potstill.report.scores import better, finite, primary_metric

ERRORS = 2
"""Standard errors that a score must lie above that of one answer to everything."""
ACCURACY, MATTHEWS = "accuracy", "matthews"


def majority_score(scores: Mapping[str, Any], metric: str | None = None) -> float | None:
    """What one answer to everything scores; None where the record does not say.

    Args:
        scores: of one task, as results.Record has them.
        metric: default the primary one.
    """
    majority, metric = scores.get("majority"), metric or primary_metric(scores)
    return finite(majority.get(metric)) if isinstance(majority, dict) and metric is not None else None


def majority_answer(scores: Mapping[str, Any]) -> str:
    """The one answer of `majority_score`; "" where the record does not say."""
    answer = scores.get("majority_answer")
    return answer if isinstance(answer, str) else ""


def class_scores(scores: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Label, or type of entity → "precision", "recall" and "f1" ×100, and "gold", how many there are; {} where the record does not say.

    Args:
        scores: of one task, as results.Record has them. One value that is no number, and nothing is told.
    """
    found: dict[str, dict[str, float]] = {}
    classes = scores.get("classes")
    for label, own in (classes if isinstance(classes, dict) else {}).items():
        values = {key: finite(own.get(key)) if isinstance(own, dict) else None for key in ("precision", "recall", "f1", "gold")}
        known = {key: value for key, value in values.items() if value is not None and value >= 0}
        if len(known) < len(values) or max(known["precision"], known["recall"], known["f1"]) > 100:
            return {}
        found[str(label)] = known
    return found


def beats_majority(scores: Mapping[str, Any]) -> bool | None:
    """Whether a model is better than one answer to everything by more than ERRORS standard errors; None where that is not known.

    By accuracy, F1 and macro F1 of texts with one label the two are compared in pairs (McNemar 1947): of n texts the model alone
    has b right and the constant answer alone c, and b − c has the standard error √(b + c). Both counts follow from the
    recall of each label. Accuracy stands in for F1 there, since F1 of a constant answer may be high, and has no standard error in
    closed form. Matthews correlation of a constant answer is 0, and that of answers which do not depend on the labels has the
    standard error 1 / √n, because n times its square is chi-squared (Matthews 1975). Any other measure (micro F1, F1 of
    entities) is taken as a share of the N labels or entities in the data: √(p (1 − p) / N).

    Args:
        scores: of one task, as results.Record has them.
    """
    metric = primary_metric(scores)
    score, constant = finite(scores.get(metric)) if metric else None, majority_score(scores)
    if metric is None or score is None or constant is None or better(metric) < 0:
        return None
    classes, answer = class_scores(scores), majority_answer(scores)
    if metric == MATTHEWS:
        examples = finite(scores.get("examples"))
        return None if not examples or examples < 0 else score - constant > ERRORS * 100 / math.sqrt(examples)
    if ACCURACY in scores and answer in classes:
        alone = sum(own["gold"] * own["recall"] / 100 for label, own in classes.items() if label != answer)  # b
        other = classes[answer]["gold"] * (1 - classes[answer]["recall"] / 100)  # c
        return alone - other > ERRORS * math.sqrt(alone + other)
    count = sum(own["gold"] for own in classes.values())
    share = min(max(score / 100, 0.0), 1.0)
    return score - constant > ERRORS * 100 * math.sqrt(share * (1 - share) / count) if count else None


def all_at_majority(scores: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a model is known to be no better than one answer to everything in each of its tasks.

    Args:
        scores: of each task that its one number is the mean of; of none it is False.
    """
    return bool(scores) and all(beats_majority(each) is False for each in scores)


def share_of_gain(score: float | None, teacher: float | None, constant: float | None, gains: bool = True) -> float | None:
    """The part, in per cent, that a model keeps of what its teacher gains over one answer to everything.

    Args:
        score: the model's.
        teacher: the teacher's.
        constant: of one answer to everything.
        gains: whether the teacher is better than that at all, beyond what chance explains; if not there is no share.

    Returns:
        It is negative where the model is worse than one answer to everything; None where a score is missing, or nothing is gained.
    """
    if score is None or teacher is None or constant is None or not gains or teacher <= constant:
        return None
    return finite(100 * (score - constant) / (teacher - constant))
