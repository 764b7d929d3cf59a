"""The texts of a file, labelled, scored or tagged, as JSON lines or as a table."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from potstill.data.files.formats import CSV, JSONL, format_of, is_gzipped
from potstill.data.files.inputs import read_file, source_of
from potstill.data.files.labelled_files import BAR
from potstill.data.labelled import Columns, names_of
from potstill.errors import PotstillError, did_you_mean, shown, warn
from potstill.evaluation.evaluate import recipe_of_run
from potstill.evaluation.subject import Subject, open_subject
from potstill.machine.files import write_aside
from potstill.machine.places import place_of_model
from potstill.runtime.decode import described, require_finite
from potstill.runtime.entities import has_entities
from potstill.runtime.folder import TAGGING
from potstill.runtime.tokens import Text, cutting_to, places_of_words

OUTPUTS = (JSONL, CSV)
Source = tuple[str, list[tuple[int, int]]]
"""A text, and where in it each of its words stands."""


@dataclass(frozen=True)
class Predicted:
    """What was written.

    Attributes:
        rows: how many answers.
        head: of runtime.folder.HEADS.
        labels: of the model.
    """

    rows: int
    head: str
    labels: list[str]


def predict_file(
    model: str,
    file: str | Path,
    out: str | Path,
    *,
    threads: int | None = None,
    input_format: str | None = None,
    output_format: str | None = None,
    stream: TextIO | None = None,
) -> Predicted:
    """Answer every text of a file with a model that has a head; the answers are in the file's order.

    Args:
        model: as `open_subject` takes it.
        file: as `read_file` takes it; "-" is standard input.
        out: the file to write. One that ends in .csv is a table, any other JSON lines.
        threads: of the model; default all usable cores.
        input_format, output_format: in place of what the names tell.
        stream: write there instead; `out` is not written.

    Raises:
        PotstillError: there is no such file or model, or it has no head; its logits hold NaN or infinity; `out` ends as
            something that is not written.
    """
    form = _output_format(out, output_format, stream is not None)
    source = source_of(file, input_format)
    subject = open_subject(model, threads=threads)
    if subject.predict is None:
        problem = "has no head: it gives vectors, no labels"
        raise PotstillError(model, problem, "use `potstill encode`, or name a model that was fine-tuned")
    texts = read_file(source, subject.head, input_format, _own_columns(model, subject.head))
    sources: list[Source] = []
    if subject.head == TAGGING:
        texts, sources = _split(texts, subject)
        if not has_entities(subject.labels):
            warn(model, "its tags are not all O, B-x or I-x, so that no entities are told", "read the tags")
    logits = subject.run(texts, "predict")
    require_finite(logits, model, "logits")
    answers = described(subject.head, subject.labels, logits, texts, sources)
    if stream is not None:
        _write(form, answers, subject.labels, stream)
    else:
        with write_aside(out) as aside, aside.open("w", encoding="utf-8", newline="") as opened:
            _write(form, answers, subject.labels, opened)
    return Predicted(len(answers), subject.head, subject.labels)


def _own_columns(model: str, head: str) -> Columns | None:
    """What the columns of the data that a run was trained on are called; None where they have the usual names, or it is no run."""
    recipe = recipe_of_run(place_of_model(model))
    if recipe is None or (recipe.data.text is None and recipe.data.text_pair is None):
        return None
    return replace(names_of(head), text=recipe.data.text or names_of(head).text, text_pair=recipe.data.text_pair)


def _output_format(out: str | Path, name: str | None, stream: bool) -> str:
    """The format to write.

    Raises:
        PotstillError: there is no such format, or the name tells one that is not written.
    """
    if name is not None and name not in OUTPUTS:
        raise PotstillError("output format", f"unknown value {shown(name)}", did_you_mean(name, OUTPUTS))
    told = None if stream else format_of(out)
    if name is None and (told not in (None, *OUTPUTS) or is_gzipped(out)):
        raise PotstillError(out, f"ends in {Path(out).suffix!r}, which is not written", "end it in .jsonl or .csv")
    return name or (CSV if told == CSV else JSONL)


def _split(texts: Sequence[Text], subject: Subject) -> tuple[list[Text], list[Source]]:
    """Texts to be tagged as lists of words, split as the model's tokenizer splits them; and each word's place.

    Words that came as words stand in a text with single spaces between them.
    """
    tokenizer = cutting_to(subject.tokenizer, 1 << 20)
    words: list[Text] = []
    sources: list[Source] = []
    for text in texts:
        if isinstance(text, str):
            places = places_of_words(tokenizer, text)
            words.append([text[start:end] for start, end in places])
            sources.append((text, places))
        else:
            words.append(list(text))
            sources.append((" ".join(text), _in_a_row(text)))
    return words, sources


def _in_a_row(words: Sequence[str]) -> list[tuple[int, int]]:
    """The places of words with single spaces between them."""
    places, start = [], 0
    for word in words:
        places.append((start, start + len(word)))
        start += len(word) + 1
    return places


def _write(form: str, answers: Sequence[Mapping[str, Any]], labels: Sequence[str], stream: TextIO) -> None:
    if form == JSONL:
        stream.writelines(json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers)
        return
    writer = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_MINIMAL)
    rows = [_cells(answer) for answer in answers]
    writer.writerow(rows[0])
    writer.writerows(row.values() for row in rows)


def _cells(answer: Mapping[str, Any]) -> dict[str, Any]:
    """An answer as the cells of a table: several labels with a bar between them, a column for each probability, lists as JSON."""
    cells: dict[str, Any] = {}
    for key, value in answer.items():
        if key == "probabilities":
            cells |= {f"probability of {label}": chance for label, chance in value.items()}
        elif key == "labels":
            cells[key] = BAR.join(value)
        elif isinstance(value, list):
            cells[key] = json.dumps(value, ensure_ascii=False)
        else:
            cells[key] = value
    return cells
