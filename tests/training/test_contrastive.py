"""Contrastive training from the recipe to the student: views, pairs, masked words beside them, and bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers.contrast import WORDS, working_folder
from potstill.corpus.read import read_corpus, split_groups
from potstill.data.batches import training_plan
from potstill.data.files.texts import read_groups
from potstill.errors import PotstillError
from potstill.losses.base import make_loss
from potstill.models.loading import load_encoder
from potstill.recipe.file import read_recipe
from potstill.results import read_metrics, read_run


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_encoder_dir: Path) -> Path:
    """A working folder with texts, pairs, and a recipe that reads the texts."""
    student = {"layers": 3, "pooling": "mean_first_last", "max_length": 64}
    training = {"batch_size": 8, "max_length": 16, "evaluations": 2}
    working_folder(tmp_path, monkeypatch, tiny_encoder_dir, steps=4, student=student, training=training)
    rows = [f"the {a} and {b}\t{b} was with {a}\t{c} alone" for a, b, c in zip(WORDS * 3, WORDS[1:] * 3, WORDS[5:] * 3)]
    Path("data/pairs.tsv").write_text("\n".join(rows) + "\n")
    return tmp_path


def _set(**values: Any) -> list[str]:
    return [part for key, value in values.items() for part in ("--set", f"{key.replace('__', '.')}={json.dumps(value)}")]


def test_contrastive_batches_are_full() -> None:
    lengths = np.arange(1, 51)
    plan = training_plan(lengths, batch_size=8, batch_tokens=None, epochs=2, seed=3)
    assert [len(rows) for rows in plan] == [8] * 12
    assert len(set(np.concatenate(plan[:6]).tolist())) == 48
    assert [len(rows) for rows in training_plan(lengths[:5], batch_size=8, batch_tokens=None, epochs=1, seed=3)] == [5]


def test_pairs_and_texts_of_one_recipe(work: Path) -> None:
    pairs = {"path": "pairs.tsv", "columns": [0, 1]}
    corpus = read_corpus(read_recipe("recipe.yaml", [f"data.pairs=[{json.dumps(pairs)}]"]))
    texts, groups = corpus.texts, corpus.groups
    assert len(set(texts)) == len(texts)
    assert not set(corpus.held_out) & set(texts)
    kinds = {"twice" if a == b else "pair" for a, b in groups}
    assert kinds == {"twice", "pair"}
    for a, b in groups:
        if a != b:
            assert texts[a].startswith("the ") and " was with " in texts[b]


def test_what_is_held_out_is_in_no_pair() -> None:
    groups = [(f"a{i}", f"b{i % 10}") for i in range(100)]
    kept, out = split_groups(groups, 10, seed=0)
    assert kept and not {text for group in kept for text in group} & set(out)


def test_a_blank_field_drops_the_row_alone(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"a": "x", "b": "y"}\n{"a": null, "b": "z"}\n{"a": "u", "b": "v"}\n{"a": "x", "b": "y"}\n')
    assert read_groups(tmp_path / "rows.jsonl", ["a", "b"]) == [("x", "y"), ("u", "v")]
    with pytest.raises(PotstillError, match="name two or three"):
        read_groups(tmp_path / "rows.jsonl", ["a"])


def test_simcse_through_the_command(work: Path, call: Any) -> None:
    status, _out, err = call("train", "recipe.yaml", "--out", "run")
    assert status == 0, err
    run = read_run(Path("run"))
    assert run.training["steps"] == 4
    assert load_encoder(Path("run/student")).pooling == "mean_first_last"


def test_training_on_pairs_brings_them_together(work: Path, call: Any) -> None:
    """Each word's pair is found among the others' better than before."""
    pairs = [{"path": "words.tsv", "columns": [0, 1]}]
    Path("data/words.tsv").write_text("".join(f"the {a} and the {b}\t{b} was seen by {a}\n" for a in WORDS for b in WORDS if a != b))
    terms = [{"loss": "info_nce"}]
    more = _set(data__texts=[], data__pairs=pairs, stages__0__steps=25, stages__0__terms=terms, training__learning_rate=2e-3)
    status, _out, err = call("train", "recipe.yaml", "--out", "run", *more)
    assert status == 0, err
    before, after = (record.scores["retrieval/words"]["mrr@10"] for record in read_run(Path("run")).records)
    losses = [line["loss"] for line in read_metrics(Path("run")) if "loss" in line]
    assert losses[-1] < 0.8 * losses[0]
    assert after > before


def test_what_the_teacher_says_of_a_copy_is_no_neighbour() -> None:
    """With each text twice in a batch its own copy would take all of the softmax."""
    torch.manual_seed(0)
    student, teacher = torch.randn(4, 3), torch.randn(4, 3)
    loss = make_loss("similarity_kl", {"temperature": 0.05})
    once = loss(student, teacher, {"rows": torch.arange(4)})
    twice = loss(student.repeat(2, 1), teacher.repeat(2, 1), {"rows": torch.arange(4).repeat(2)})
    # Every other text counts twice on both sides, and the distributions are the same but halved.
    torch.testing.assert_close(once, twice)


def test_contrastive_training_and_distillation_in_one_stage(work: Path, call: Any) -> None:
    rows = [{"loss": "info_nce"}, {"loss": "similarity_mse", "weight": 10}, {"loss": "embedding_cosine", "project": "linear"}]
    pairs = [{"path": "pairs.tsv", "columns": [0, 1, 2]}]
    changed = _set(teacher={"model": "encoder"}, stages__0__terms=rows, data__pairs=pairs, data__texts=[], training__batch_tokens=200)
    status, _out, err = call("train", "recipe.yaml", "--out", "run", *changed)
    assert status == 0, err


def test_masked_words_beside_the_views(work: Path, call: Any) -> None:
    """SimCSE's second term: the vectors are of plain texts, the head guesses in masked ones and is left out of what is saved."""
    rows = [{"loss": "info_nce"}, {"loss": "mlm", "weight": 0.1}]
    status, _out, err = call("train", "recipe.yaml", "--out", "run", *_set(stages__0__terms=rows, training__batch_tokens=150))
    assert status == 0, err
    logged = [line["terms"] for line in read_metrics(Path("run")) if "terms" in line]
    assert all(np.isfinite(terms["mlm"]) and terms["mlm"] > 1 for terms in logged)  # of 76 pieces, untrained
    assert "MaskedLM" not in Path("run/student/config.json").read_text()
    assert not [name for name in load_encoder(Path("run/student")).state_dict() if "predictions" in name]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        # a batch of one
        ({"training__batch_size": 1}, "training.batch_size: info_nce has nothing to tell apart in a batch of one; take 2 or more"),
        # an option of the loss
        ({"stages__0__terms": [{"loss": "info_nce", "temperature": 0}]}, "temperature 0 must be above 0"),
        # more layers than the student has
        ({"student__pooling": "concat_last_four"}, "student.pooling: concat_last_four needs 4 layers, and the model has 3"),
        # pairs without columns, and together with texts that have no third one
        ({"data__pairs": [{"path": "pairs.tsv"}]}, "data.pairs: pairs.tsv: has no columns"),
        ({"data__pairs": [{"path": "pairs.tsv", "columns": [0, 1, 2]}]}, "some rows have a hard negative and some have none"),
        # pairs that no loss reads
        (
            {"data__pairs": [{"path": "pairs.tsv", "columns": [0, 1]}], "stages__0__terms": [{"loss": "embedding_mse"}]},
            "data.pairs: are read by no term",
        ),
        # the same text a hundred times; the same answer to every question
        ({"data__texts": ["one.txt"]}, "1 different texts"),
        ({"data__texts": [], "data__pairs": [{"path": "same.tsv", "columns": [0, 1]}]}, "nothing in them to tell apart"),
        # parts of the recipe that do not go together
        ({"student__normalize": True}, "project: mlp reads vectors before they are normalised"),
        ({"stages__0__perturb": True}, "perturb: does not go with info_nce"),
        ({"student__pooling": "cls_pooler", "stages__0__terms": [{"loss": "mlm"}]}, "a network that guesses masked words has no pooler"),
    ],
)
def test_bad_input(work: Path, call: Any, changes: dict[str, Any], line: str) -> None:
    Path("data/one.txt").write_text("the same text\n" * 100)
    Path("data/same.tsv").write_text("".join(f"text {number}\tone answer\n" for number in range(100)))
    status, _out, err = call("check", "recipe.yaml", *_set(**changes))
    assert status == 2 and line in err
