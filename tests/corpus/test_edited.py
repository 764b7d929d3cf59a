"""Edited copies of unlabelled texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from potstill.corpus.edited import edited_copies
from potstill.corpus.read import read_corpus
from potstill.data.edits import EDITS
from potstill.errors import PotstillError
from potstill.recipe.file import parse_recipe

# Each allows a negation, another number and an opposite; the last two allow no edit.
TEXTS = [f"The man with {number} dogs is tall." for number in range(10, 50)] + ["Go home.", "Well done."]
EMBED = {"name": "x", "task": "embed", "teacher": {"model": "t"}, "student": {"layers": 1}}
COSINE = [{"name": "embed", "terms": [{"loss": "embedding_cosine", "project": "linear"}]}]
PAIRS = [{"name": "embed", "terms": [{"loss": "info_nce"}]}]
LABELS = [{"name": "task", "terms": [{"loss": "soft_target"}]}]
MASKED = [{"name": "mlm", "terms": [{"loss": "mlm"}]}]


def test_as_many_as_asked_of_every_kind_alike_and_nothing_known():
    held_out = [EDITS["number"](text) for text in TEXTS[:40]]
    made = edited_copies(TEXTS, 0.5, seed=1, apart=held_out)
    assert len(made) == len(set(made)) == 21 and not set(made) & {*TEXTS, *held_out}
    kinds = [sum(edit(text) in made for text in TEXTS) for edit in (EDITS["negation"], EDITS["word"])]
    assert kinds in ([10, 11], [11, 10])
    assert edited_copies(TEXTS, 0.5, seed=1, apart=held_out) == made != edited_copies(TEXTS, 0.5, seed=2, apart=held_out)


def test_no_more_than_there_are():
    assert len(edited_copies(TEXTS, 1.0, seed=1)) == 40 and edited_copies(TEXTS, 0, seed=1) == []


def test_a_recipe_has_them_behind_its_texts(tmp_path: Path):
    (tmp_path / "a.txt").write_text("\n".join(TEXTS))
    data = {"dir": str(tmp_path), "texts": ["a.txt"]}
    plain = read_corpus(parse_recipe(EMBED | {"data": data, "stages": COSINE}))
    edited = read_corpus(parse_recipe(EMBED | {"data": data | {"edits": 0.25}, "stages": COSINE}))
    assert edited.texts[: len(plain.texts)] == plain.texts and edited.held_out == plain.held_out
    assert len(edited.texts) == len(plain.texts) + round(len(plain.texts) / 4) and not set(edited.texts) & set(edited.held_out)


@pytest.mark.parametrize(
    ("task", "stages", "told"),
    [
        ("embed", PAIRS, "data.edits: are not read beside a loss of pairs"),
        ("mlm", MASKED, "data.edits: are not read by the task mlm"),
        ("glue/cola", LABELS, "data.edits: are not read by the labelled task glue/cola"),
    ],
)
def test_where_nothing_reads_them_they_are_refused(tmp_path: Path, task, stages, told):
    (tmp_path / "a.txt").write_text("\n".join(TEXTS))
    texts = {} if task == "glue/cola" else {"texts": ["a.txt"]}
    content = EMBED | {"task": task, "stages": stages, "data": {"dir": str(tmp_path), "edits": 0.5} | texts}
    if task == "mlm":
        content |= {"teacher": None, "student": {"model": "s"}}
    with pytest.raises(PotstillError, match=told):
        read_corpus(parse_recipe(content))
