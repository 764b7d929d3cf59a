"""What a score hides: what one answer to everything would score, what was answered, class by class, and how sure the model was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.registry import OUTSIDE
from potstill.tasks.labelled.entities import EntityCounts, count_entities
from potstill.tasks.labelled.measures import MEASURES

BINS = 15  # of the calibration error, as in its source
MOST_CLASSES = 20  # of a confusion matrix that is kept: more of them nobody reads
NONE = "none"  # what no label at all is called

ONE_ANSWER = 0.98  # share of one answer from which a model may have collapsed
FEWER = 4  # times fewer other answers than the data has

Array = NDArray[Any]


def diagnose_classes(labels: Sequence[str], gold: Array, logits: NDArray[np.float64], measures: Sequence[str]) -> dict[str, Any]:
    """What stands beside the scores of a classification.

    Args:
        labels: C names in the order of the logits.
        gold: (n,) numbers of labels.
        logits: (n, C).
        measures: names of MEASURES.

    Returns:
        "majority": measure → what the most frequent gold label as the answer to everything scores; of labels that are
        equally frequent the first. "majority_answer": that label. "answers": label → how often it was answered.
        "most_given": see `most_given`. "confusion": C rows of C counts, gold × answered, of at most MOST_CLASSES labels.
        "classes": label → precision, recall and F1 ×100, and how often it is in the data. "calibration": see `calibration`.
    """
    count = len(labels)
    answered = logits.argmax(axis=1)  # (n,)
    confusion = np.bincount(gold * count + answered, minlength=count * count).reshape(count, count)
    often = int(confusion.sum(axis=1).argmax())
    found: dict[str, Any] = {
        "majority": {measure: MEASURES[measure](gold, np.full_like(gold, often)) for measure in measures},
        "majority_answer": labels[often],
        "answers": _counted(labels, confusion.sum(axis=0)),
        "most_given": most_given([labels[number] for number in gold], [labels[number] for number in answered]),
    }
    if count <= MOST_CLASSES:
        found["confusion"] = confusion.tolist()
    chances = softmax(logits)
    return found | {
        "classes": _classes(labels, np.diag(confusion), confusion.sum(axis=0), confusion.sum(axis=1)),
        "calibration": calibration(chances.max(axis=1), gold == answered),
    }


def diagnose_label_sets(labels: Sequence[str], gold: Array, logits: NDArray[np.float64], measures: Sequence[str]) -> dict[str, Any]:
    """What stands beside the scores of texts with any number of labels.

    Args:
        labels: C names in the order of the logits.
        gold: (n, C) 0 and 1.
        logits: (n, C).
        measures: names of MEASURES.

    Returns:
        As `diagnose_classes`, without a confusion matrix. The answer to everything is the set of labels of the highest micro F1.
        In the calibration the probability of every label of every text counts.
    """
    marks, answered = gold.astype(np.int64), (logits >= 0).astype(np.int64)  # (n, C)
    constant = _best_set(marks)
    return {
        "majority": {measure: MEASURES[measure](marks, np.tile(constant, (len(marks), 1))) for measure in measures},
        "majority_answer": _set_name(labels, constant),
        "answers": _counted(labels, answered.sum(axis=0)),
        "most_given": most_given([_set_name(labels, row) for row in marks], [_set_name(labels, row) for row in answered]),
        "classes": _classes(labels, (marks & answered).sum(axis=0), answered.sum(axis=0), marks.sum(axis=0)),
        "calibration": calibration(sigmoid(logits).ravel(), marks.ravel() == 1),
    }


def diagnose_tags(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], measures: Sequence[str]) -> dict[str, Any]:
    """What stands beside the scores of tagged words.

    Args:
        gold: a tag for each word of n sentences.
        predicted: likewise; words at the end may lack one.
        measures: names of properties of EntityCounts.

    Returns:
        "majority", "majority_answer", "answers" and "most_given" as `diagnose_classes`, of words; the answer to everything is
        O, with which no entity is found; where the data has no O it is the most frequent tag. "classes": type of entity → its
        scores.
    """
    tags = Counter(tag for sentence in gold for tag in sentence)
    often = OUTSIDE if OUTSIDE in tags or not tags else tags.most_common(1)[0][0]
    constant, counts = EntityCounts(), dict[str, EntityCounts]()
    for words, answers in zip(gold, predicted, strict=True):
        constant += count_entities(words, [often] * len(words))
        for kind in {tag[2:] for tag in (*words, *answers) if tag != OUTSIDE}:
            own = count_entities(_only(words, kind), _only(answers, kind))
            counts[kind] = counts.get(kind, EntityCounts()) + own
    said = [tag for answers in predicted for tag in answers]
    return {
        "majority": {measure: float(getattr(constant, measure)) for measure in measures},
        "majority_answer": often,
        "answers": dict(sorted(Counter(said).items(), key=lambda item: (item[0] != OUTSIDE, item[0][2:], item[0]))),
        "most_given": most_given([tag for words in gold for tag in words], said),
        "classes": {
            kind: {"precision": own.precision, "recall": own.recall, "f1": own.f1, "gold": own.gold} for kind, own in sorted(counts.items())
        },
    }


def most_given(gold: Sequence[str], answered: Sequence[str]) -> dict[str, Any]:
    """The answer that a model gives most often: {"answer", "share", "gold_share"}.

    Args:
        gold: the right answers.
        answered: the model's; none at all gives an empty record.

    Returns:
        The answer, its share of the model's answers, and the share that the data's own most frequent answer has.
    """
    if not answered or not gold:
        return {}
    ((answer, times),) = Counter(answered).most_common(1)
    ((_, usual),) = Counter(gold).most_common(1)
    return {"answer": answer, "share": times / len(answered), "gold_share": usual / len(gold)}


def collapsed(scores: Mapping[str, Any]) -> bool:
    """Whether a model gives one answer to nearly everything although the data does not.

    It does where one answer has a share of at least ONE_ANSWER and the other answers together are at least FEWER times rarer
    than in the data. The second half spares a model that is right about data of which 98 % have one label.

    Args:
        scores: a result of LabelledTask.evaluate; of a regression, which has no such record, it is False.
    """
    given = scores.get("most_given") or {}
    return bool(given) and given["share"] >= ONE_ANSWER and FEWER * (1 - given["share"]) < 1 - given["gold_share"]


def calibration(probabilities: Array, right: Array) -> dict[str, Any]:
    """How far probabilities are from how often they come true: {"ece", "bins"}.

    The expected calibration error ×100: Σ_m |B_m| / n · |acc(B_m) − conf(B_m)|, where B_m are the probabilities in
    ((m − 1) / M, m / M], acc(B_m) is the share of them that came true and conf(B_m) their mean, M = BINS. 0 is perfect.
    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, equation 3; the bins are those of Naeini et al. 2015.

    Args:
        probabilities: (n,) of what was answered.
        right: (n,) whether it is so.
    """
    places = np.clip(np.ceil(probabilities * BINS).astype(np.int64) - 1, 0, BINS - 1)  # (n,)
    confidence = np.bincount(places, weights=probabilities, minlength=BINS)
    true = np.bincount(places, weights=right.astype(np.float64), minlength=BINS)
    return {"ece": float(100 * np.abs(true - confidence).sum() / max(1, len(probabilities))), "bins": BINS}


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, C) logits → probabilities that add up to 1 in each row. The greatest logit is subtracted first: exp would overflow."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logits of any shape → the probability of each: 1 / (1 + exp(-x)), without overflow."""
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + small), small / (1 + small))


def _counted(labels: Sequence[str], counts: Array) -> dict[str, int]:
    return {label: int(count) for label, count in zip(labels, counts, strict=True) if count}


def _classes(labels: Sequence[str], right: Array, answered: Array, gold: Array) -> dict[str, dict[str, Any]]:
    counts = zip(labels, gold.tolist(), answered.tolist(), right.tolist(), strict=True)
    each = {label: EntityCounts(own, given, hits) for label, own, given, hits in counts}
    return {label: {"precision": one.precision, "recall": one.recall, "f1": one.f1, "gold": one.gold} for label, one in each.items()}


def _best_set(marks: Array) -> Array:
    """The labels that as the answer to every text have the highest micro F1, (C,) 0 and 1.

    Of k labels the k most frequent ones are the best; their micro F1 is 2 Σ n_l / (k n + Σ of all n_l).
    """
    counts = marks.sum(axis=0)  # (C,)
    order = np.argsort(-counts, kind="stable")
    sizes = np.arange(1, len(order) + 1)
    scores = 2 * np.cumsum(counts[order]) / np.maximum(1, sizes * len(marks) + counts.sum())
    chosen = np.zeros(len(order), dtype=np.int64)
    if len(order) and scores.max() > 0:
        chosen[order[: int(scores.argmax()) + 1]] = 1
    return chosen


def _set_name(labels: Sequence[str], row: Array) -> str:
    return ", ".join(labels[int(number)] for number in np.flatnonzero(row)) or NONE


def _only(tags: Sequence[str], kind: str) -> list[str]:
    """The tags of one type of entity; other ones become O, so that the entities of that type stay what they are."""
    return [tag if tag[2:] == kind else OUTSIDE for tag in tags]
