"""A few held-out texts: the angle between student and teacher, layer by layer (LRC-BERT's case study), and what both answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from potstill.data.batches import TokenizedTexts, tokenize
from potstill.data.labelled import OUTSIDE, Text
from potstill.errors import PotstillError
from potstill.files import write_text
from potstill.models.encoder import STATES, EncoderModel
from potstill.models.output import EncoderOutput, Field
from potstill.results import CASES_FILE
from potstill.runtime.decode import answers
from potstill.runtime.folder import MULTILABEL, REGRESSION, TAGGING
from potstill.tasks.base import Predictor
from potstill.tasks.labelled.matching import row_logits, word_logits
from potstill.training.objective import Objective, TermSpec

COUNT = 5
NONE = "none"  # what no label at all is called


def write_cases(
    run: Path,
    student: EncoderModel,
    objectives: Sequence[Objective],
    load_teacher: Callable[[], EncoderModel | None],
    held_out: Sequence[Text],
    gold: Any = None,
) -> None:
    """Write the run's cases.json, as results.Run.cases holds it; nothing where no term compares states of layers.

    Args:
        student: as it is now, on the CPU.
        objectives: of the stages in their order; the last one that compares states of layers counts.
        load_teacher: gives the whole teacher, on the CPU: one that has taught may have lost its upper layers.
        held_out: COUNT of them are taken, evenly spaced: runs on the same data show the same texts.
        gold: their labels, as data.labelled.Examples has them; None of unlabelled texts.
    """
    objective = next((each for each in reversed(objectives) if any(map(_compares_states, each.terms))), None)
    apart = max(1, len(held_out) // COUNT)
    chosen = slice(None, COUNT * apart, apart)
    texts = list(held_out[chosen])
    teacher = load_teacher() if objective is not None and texts else None
    if objective is None or teacher is None:
        return
    cases = angles(student, teacher, objective.to("cpu"), texts)
    if gold is not None:
        cases = [case | {"labels": row} for case, row in zip(cases, labels(student, teacher, texts, gold[chosen]), strict=True)]
    write_text(run / CASES_FILE, json.dumps(cases, indent=2, ensure_ascii=False) + "\n")


@torch.no_grad()
def angles(student: EncoderModel, teacher: EncoderModel, objective: Objective, texts: Sequence[Text]) -> list[dict[str, Any]]:
    """One entry a text: {"text", "angles": [{"term", "reads", "student", "teacher", "degrees"}]}, both layers by number.

    The student's states go through the term's own projection first. Of a vector a token the angle is
    that of the matrices, flattened; a text that the two cut into different tokens has none there.
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
    """One entry a text: {"gold", "teacher", "student"}, each a label, several with commas, a score, or words with their tags.

    None of a teacher that has no head for these labels: its layers may teach all the same.
    """
    kind, names = student.kind, student.labels
    sides: dict[str, Sequence[object]] = {"gold": _in_words(kind, names, _certain(kind, len(names), gold), texts)}
    for side, model in (("teacher", teacher), ("student", student)):
        predict = Predictor(model.labels, model.kind, model.predict)
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


def shown_text(text: Text) -> str:
    """A text as one line: a pair with a bar between its parts, words with spaces."""
    return text if isinstance(text, str) else (" | " if isinstance(text, tuple) else " ").join(text)


def _compares_states(term: TermSpec) -> bool:
    """Whether its loss sets the student's states against the teacher's own; one that may differ in width has a space of its own."""
    return term.loss.reads in STATES and term.loss.needs_teacher and term.loss.same_width


def _one_by_one(model: EncoderModel, texts: Sequence[Text], reads: set[Field]) -> list[EncoderOutput]:
    """The outputs text by text, so that nothing is padded."""
    tokens: TokenizedTexts = tokenize(model.tokenizer, texts, model.max_length)
    outputs: Mapping[int, EncoderOutput] = {int(rows[0]): output for rows, output in model.run(tokens, reads, batch_tokens=1)}
    return [outputs[row] for row in range(len(texts))]


def _degrees(ours: Tensor, theirs: Tensor) -> float:
    """Of (1, …) and (1, …): fp64, since near 0° the cosine of fp32 is off by hundredths of a degree."""
    cosine = torch.nn.functional.cosine_similarity(ours.double().flatten(), theirs.double().flatten(), dim=0)
    return float(torch.rad2deg(torch.arccos(cosine.clamp(-1, 1))))
