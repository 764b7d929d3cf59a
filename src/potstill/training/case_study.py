"""A few held-out texts: the angle between student and teacher, layer by layer (LRC-BERT's case study), what both answer, and mistakes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from potstill.data.labelled import OUTSIDE
from potstill.errors import PotstillError
from potstill.machine.files import write_text
from potstill.models.encoder import EncoderModel
from potstill.models.output import STATES, EncoderOutput, Field
from potstill.objective.objective import Objective
from potstill.objective.sizes import TermSpec
from potstill.results import CASES_FILE
from potstill.runtime.decode import THRESHOLD, answers
from potstill.runtime.folder import MULTILABEL, REGRESSION, TAGGING
from potstill.runtime.tokens import Text, TokenizedTexts
from potstill.tasks.base import Predictor
from potstill.tasks.labelled.diagnosis import NONE, sigmoid, softmax
from potstill.tasks.labelled.matching import row_logits, word_logits

COUNT = 5
READ = 512  # held-out texts that are searched for wrong answers
MISTAKES = 8  # of them that are told
WRONG_WORDS = 4  # wrongly tagged words of a sentence that are told


def write_cases(
    run: Path,
    student: EncoderModel,
    objectives: Sequence[Objective],
    teacher: EncoderModel,
    held_out: Sequence[Text],
    gold: Any = None,
) -> None:
    """Write the run's cases.json, as results.Run.cases holds it; nothing where no term compares states of layers.

    A PotstillError from machine.files.write_aside comes through: the file cannot be written.

    Args:
        run: the run folder.
        student: as it is now, on the CPU.
        objectives: of the stages in their order; the last one that compares states of layers counts.
        teacher: the whole one, on the CPU: one that has taught may have lost its upper layers.
        held_out: COUNT of them are taken, evenly spaced: runs on the same data show the same texts.
        gold: their labels, as data.labelled.Examples has them; None of unlabelled texts.
    """
    objective = next((each for each in reversed(objectives) if any(map(_compares_states, each.terms))), None)
    apart = max(1, len(held_out) // COUNT)
    chosen = slice(None, COUNT * apart, apart)
    texts = list(held_out[chosen])
    if objective is None or not texts:
        return
    cases = angles(student, teacher, objective.to("cpu"), texts)
    if gold is not None:
        cases = [case | {"labels": row} for case, row in zip(cases, labels(student, teacher, texts, gold[chosen]), strict=True)]
    write_text(run / CASES_FILE, json.dumps(cases, indent=2, ensure_ascii=False) + "\n")


@torch.no_grad()
def angles(student: EncoderModel, teacher: EncoderModel, objective: Objective, texts: Sequence[Text]) -> list[dict[str, Any]]:
    """The angle between student and teacher at each pair of layers, text by text.

    The student's states go through the term's own projection first. Of states with a vector a token the angle is
    that of the flattened matrices; a text that the two cut into different numbers of tokens has none there.
    Source: Fu et al. 2021, LRC-BERT, case study.

    Args:
        student: on the CPU.
        teacher: the whole one, on the CPU.
        objective: whose terms that compare states of layers count; on the CPU.
        texts: to be compared.

    Returns:
        One entry a text: {"text", "angles": [{"term", "reads", "student", "teacher", "degrees"}]}; "student" and "teacher"
        are layer numbers.
    """
    terms = [number for number, term in enumerate(objective.terms) if _compares_states(term)]
    outputs = [
        _one_by_one(model, texts, {field for number in terms for field in objective.terms[number].fields(side)})
        for side, model in enumerate((student, teacher))
    ]
    cases = []
    for text, ours, theirs in zip(texts, *outputs, strict=True):
        found = []
        for number in terms:
            term = objective.terms[number]
            for pair, own, field in zip(term.pairs, objective.projected(number, ours), term.fields(1), strict=True):
                other = theirs[field].float()
                if own.shape == other.shape:
                    row = {"term": objective.names[number], "reads": field.name, "student": pair[0], "teacher": pair[1]}
                    found.append({**row, "degrees": round(_degrees(own, other), 2)})
        cases.append({"text": shown_text(text), "angles": found})
    return cases


def labels(student: EncoderModel, teacher: EncoderModel, texts: Sequence[Text], gold: Any) -> list[dict[str, Any]]:
    """The right answer, the teacher's and the student's, text by text.

    Args:
        student: with a head.
        teacher: one without a head for the student's labels has no answers: its layers may teach all the same.
        texts: as the student's head takes them.
        gold: their labels, as data.labelled.Examples has them.

    Returns:
        One entry a text: {"gold", "teacher", "student"}, each a label, several with commas, a score, words with their
        tags, or None for no answer.
    """
    kind, names = student.head, student.labels
    sides: dict[str, Sequence[object]] = {"gold": _in_words(kind, names, _certain(kind, len(names), gold), texts)}
    for side, model in (("teacher", teacher), ("student", student)):
        predict = Predictor(model.labels, model.head, model.predict)
        try:
            logits = word_logits(predict, names, texts, side) if kind == TAGGING else row_logits(predict, kind, names, texts, side)
            sides[side] = _in_words(kind, names, logits, texts)
        except PotstillError:
            sides[side] = [None] * len(texts)
    return [dict(zip(sides, row)) for row in zip(*sides.values(), strict=True)]


def _certain(kind: str, classes: int, gold: Any) -> Any:
    """Logits of a model that knows the labels, so that these come out in the same words as any answer."""
    if kind == REGRESSION:
        return gold
    return gold - 0.5 if kind == MULTILABEL else [np.eye(classes)[row] for row in gold]


def _in_words(kind: str, names: Sequence[str], logits: Any, texts: Sequence[Text]) -> list[str | float]:
    found: list[str | float] = []
    for answer, text in zip(answers(kind, names, logits, texts), texts, strict=True):
        if kind == TAGGING:
            found.append(", ".join(f"{word} {tag}" for word, tag in zip(text, answer["tags"]) if tag not in (None, OUTSIDE)) or NONE)
        elif kind == MULTILABEL:
            found.append(", ".join(answer["labels"]) or NONE)
        else:
            found.append(answer["score"] if kind == REGRESSION else answer["label"])
    return found


def mistakes(
    student: Predictor,
    teacher: Predictor | None,
    kind: str,
    names: Sequence[str],
    texts: Sequence[Text],
    gold: Any,
    numbered: Sequence[str],
) -> list[dict[str, Any]]:
    """Wrong answers of a student to held-out texts, the surest first, with both sides' probabilities.

    A PotstillError comes through: a model has another head or other labels, or its logits are not finite.

    Args:
        student: with a head.
        teacher: with the same labels; None for none.
        kind: of runtime.folder.HEADS; of a regression no answer is right or wrong, and [] is returned.
        names: the data's labels.
        texts: READ of them are looked at, evenly spaced.
        gold: their labels, as data.labelled.Examples has them.
        numbered: as in `tasks.labelled.matching.named`.

    Returns:
        At most MISTAKES entries, which report.answers reads: {"text", "gold", "teacher", "student"}. "gold" are
        labels, of a tagger words with their tags. Each side has [label, probability] pairs, its likeliest first, of all labels
        that are right or answered by either side; of a tagger a pair for each wrong word. A side without answers is None.
    """
    if kind == REGRESSION or not len(texts):
        return []
    rows = [number * len(texts) // min(READ, len(texts)) for number in range(min(READ, len(texts)))]
    texts = [texts[row] for row in rows]
    right = [np.atleast_1d(gold[row]).astype(np.int64) for row in rows]
    chances = _chances(student, kind, names, texts, numbered)
    wrong = [_wrong(kind, own, answer) for own, answer in zip(chances, right, strict=True)]
    sure = [float(own.max(initial=0.0)) for own in wrong]
    told = [row for row in sorted(range(len(texts)), key=lambda row: -sure[row]) if sure[row] > 0][:MISTAKES]
    others = _chances(teacher, kind, names, [texts[row] for row in told], numbered) if teacher is not None and told else [None] * len(told)
    return [
        {"text": shown_text(texts[row]), **_told(kind, names, texts[row], right[row], chances[row], other, wrong[row])}
        for row, other in zip(told, others, strict=True)
    ]


def _chances(predict: Predictor, kind: str, names: Sequence[str], texts: Sequence[Text], numbered: Sequence[str]) -> list[Any]:
    """The probability of each label, (C,) for each text; of a tagger (words, C)."""
    if kind == TAGGING:
        sentences: list[Any] = list(texts)
        return [softmax(logits) if len(logits) else logits for logits in word_logits(predict, names, sentences, "mistakes", numbered)]
    logits = row_logits(predict, kind, names, texts, "mistakes", numbered)
    return list(sigmoid(logits) if kind == MULTILABEL else softmax(logits))


def _wrong(kind: str, chances: Any, gold: Any) -> Any:
    """How sure each answer is that is wrong, 0 where it is right: of one label (1,), of several (C,), of tags (words,)."""
    if kind == MULTILABEL:
        return np.where((chances >= THRESHOLD) != (gold == 1), np.maximum(chances, 1 - chances), 0.0)
    rows = chances if kind == TAGGING else chances[None]  # (words or 1, C)
    return np.where(rows.argmax(axis=1) != gold[: len(rows)], rows.max(axis=1), 0.0) if len(rows) else np.zeros(0)


def _told(kind: str, names: Sequence[str], text: Any, gold: Any, ours: Any, theirs: Any, wrong: Any) -> dict[str, Any]:
    """One mistake in words."""
    sides = {"teacher": theirs, "student": ours}
    if kind == TAGGING:
        places = sorted(np.argsort(-wrong)[: min(WRONG_WORDS, int(np.count_nonzero(wrong)))].tolist())
        found: dict[str, Any] = {"gold": [f"{text[place]} {names[int(gold[place])]}" for place in places]}
        for side, rows in sides.items():
            tags = [] if rows is None else [(place, int(rows[place].argmax())) for place in places if place < len(rows)]
            found[side] = [[f"{text[place]} {names[tag]}", round(float(rows[place, tag]), 4)] for place, tag in tags] or None
        return found
    several = kind == MULTILABEL
    right = np.flatnonzero(gold) if several else gold
    answered = [np.flatnonzero(side >= THRESHOLD) if several else [side.argmax()] for side in (theirs, ours) if side is not None]
    shown = list(dict.fromkeys(int(number) for numbers in (right, *answered) for number in numbers))
    found = {"gold": [names[int(number)] for number in right] or [NONE]}
    for side, own in sides.items():
        order = sorted(shown, key=lambda number: -own[number]) if own is not None else []
        found[side] = None if own is None else [[names[number], round(float(own[number]), 4)] for number in order]
    return found


def shown_text(text: Text) -> str:
    """A text as one line: a pair with a bar between its parts, words with spaces."""
    return text if isinstance(text, str) else (" | " if isinstance(text, tuple) else " ").join(text)


def _compares_states(term: TermSpec) -> bool:
    """Whether its loss sets the student's states against the teacher's own; one that may differ in width has a space of its own."""
    return term.loss.reads in STATES and term.loss.needs_teacher and term.loss.same_width


def _one_by_one(model: EncoderModel, texts: Sequence[Text], reads: set[Field]) -> list[EncoderOutput]:
    """The outputs text by text, so that nothing is padded."""
    tokens: TokenizedTexts = model.tokenize(texts)
    outputs: Mapping[int, EncoderOutput] = {int(rows[0]): output for rows, output in model.run(tokens, reads, batch_tokens=1)}
    return [outputs[row] for row in range(len(texts))]


def _degrees(ours: Tensor, theirs: Tensor) -> float:
    """Of (1, …) and (1, …): fp64, since near 0° the cosine of fp32 is off by hundredths of a degree."""
    cosine = torch.nn.functional.cosine_similarity(ours.double().flatten(), theirs.double().flatten(), dim=0)
    return float(torch.rad2deg(torch.arccos(cosine.clamp(-1, 1))))
