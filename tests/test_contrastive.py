"""Contrastive training end to end: views and pairs in a batch, large batches in little memory, bad input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from potstill.data.batches import tokenize, training_plan
from potstill.data.masking import mask_tokens
from potstill.data.readers import read_groups
from potstill.errors import PotstillError
from potstill.losses.base import make_loss
from potstill.material import read_material, split_groups
from potstill.models.loading import load_encoder
from potstill.recipe_file import read
from potstill.results import read_metrics, read_run
from potstill.training.distillation import Distillation
from potstill.training.objective import Objective, Sizes, TermSpec
from potstill.training.training_set import TrainingSet

WORDS = "river village cat owl house tree stone boat night snow ship lamp door hill road song".split()
TEXTS = [f"the {a} sees {'the old ' * (number % 3)}{b}" for number, a in enumerate(WORDS) for b in WORDS[:6]]


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_encoder_dir: Path) -> Path:
    """A working folder with texts, pairs, and a recipe that reads the texts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    Path("data/retrieval").mkdir(parents=True)
    Path("data/texts.txt").write_text("\n".join(TEXTS) + "\n")
    rows = [f"the {a} and {b}\t{b} was with {a}\t{c} alone" for a, b, c in zip(WORDS * 3, WORDS[1:] * 3, WORDS[5:] * 3)]
    Path("data/pairs.tsv").write_text("\n".join(rows) + "\n")
    questions = [{"query": f"the {a} and the {b}", "document": f"{b} was seen by {a}"} for a, b in zip(WORDS, WORDS[3:])]
    Path("data/retrieval/words.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions))
    shutil.copytree(tiny_encoder_dir, "encoder")
    recipe = {
        "name": "simcse",
        "data": {"dir": "data", "texts": ["texts.txt"]},
        "student": {"model": "encoder", "layers": 3, "pooling": "mean_first_last", "normalize": False, "max_length": 64},
        "training": {"batch_size": 8, "max_length": 16, "evaluations": 2, "select": "retrieval/words", "precision": "fp32"},
        "stages": [{"name": "simcse", "steps": 4, "terms": [{"loss": "info_nce", "project": "mlp"}]}],
        "evaluate": ["retrieval/words"],
        "export": {"onnx": False},
    }
    Path("recipe.yaml").write_text(yaml.safe_dump(recipe))
    return tmp_path


def _set(**values: Any) -> list[str]:
    return [part for key, value in values.items() for part in ("--set", f"{key.replace('__', '.')}={json.dumps(value)}")]


def test_a_batch_holds_every_text_twice(tiny_encoder_dir: Path) -> None:
    tokens = tokenize(load_encoder(tiny_encoder_dir).tokenizer, TEXTS[:5], 64)
    batch = TrainingSet(tokens, groups=np.array([[0, 0], [1, 1], [4, 4]])).batch(np.array([2, 0]), pad_id=0, seed=1)
    assert batch["rows"].tolist() == [4, 0, 4, 0]
    assert int(batch["views"]) == 2
    np.testing.assert_array_equal(batch["input_ids"][:2], batch["input_ids"][2:])


def test_two_views_differ_in_training_alone(tiny_encoder_dir: Path) -> None:
    model = load_encoder(tiny_encoder_dir)
    tokens = tokenize(model.tokenizer, TEXTS[:2], 64)
    batch = TrainingSet(tokens, groups=np.array([[0, 0], [1, 1]])).batch(np.array([0, 1]), 0, 1)
    inputs = {name: torch.from_numpy(batch[name]) for name in ("input_ids", "attention_mask")}
    first, second = model.train()(**inputs).embedding.chunk(2)
    assert not torch.allclose(first, second)
    first, second = model.eval()(**inputs).embedding.chunk(2)
    torch.testing.assert_close(first, second)


def test_contrastive_batches_are_full() -> None:
    lengths = np.arange(1, 51)
    plan = training_plan(lengths, batch_size=8, batch_tokens=None, epochs=2, seed=3)
    assert [len(rows) for rows in plan] == [8] * 12
    assert len(set(np.concatenate(plan[:6]).tolist())) == 48
    assert [len(rows) for rows in training_plan(lengths[:5], batch_size=8, batch_tokens=None, epochs=1, seed=3)] == [5]


def _gradients(folder: Path, cached_tokens: int | None, dropout: float) -> tuple[float, dict[str, torch.Tensor], int]:
    """Loss, gradients, and the most that autograd held for the backward pass, in numbers."""
    torch.manual_seed(5)
    student = load_encoder(folder, normalize=False)
    student.set_dropout(dropout)
    objective = Objective([TermSpec("info_nce", make_loss("info_nce", {"temperature": 0.5}), project="mlp")], Sizes(32, 32))
    model = Distillation(student, objective, None, cached_tokens).train()
    data = TrainingSet(tokenize(student.tokenizer, TEXTS, 64), groups=np.repeat(np.arange(len(TEXTS))[:, None], 2, axis=1))
    batch = {name: torch.from_numpy(value) for name, value in data.batch(np.arange(24), student.pad_id, 1).items()}
    held = 0

    def keep(value: torch.Tensor) -> torch.Tensor:
        nonlocal held
        held += value.numel()
        return value

    torch.manual_seed(6)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        loss, _ = model(batch, None)
    kept = held
    loss.backward()
    return loss.item(), {name: value.grad for name, value in model.named_parameters() if value.grad is not None}, kept


def test_gradient_caching_gives_the_gradient_of_the_plain_batch(tiny_encoder_dir: Path) -> None:
    whole, expected, plain = _gradients(tiny_encoder_dir, None, 0.0)
    for tokens in (200, 500):
        loss, found, kept = _gradients(tiny_encoder_dir, tokens, 0.0)
        assert loss == pytest.approx(whole, abs=1e-6)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, atol=1e-5, rtol=0)
        assert kept < plain / 10  # the pieces' activations are not there any more


def test_gradient_caching_makes_the_same_dropout_again(tiny_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loss, found, _ = _gradients(tiny_encoder_dir, 200, 0.3)
    # The same pieces with their activations kept: nothing is made again.
    monkeypatch.setattr("potstill.training.distillation.checkpoint", lambda function, values, use_reentrant: function(values))
    whole, expected, _ = _gradients(tiny_encoder_dir, 200, 0.3)
    assert loss == pytest.approx(whole, abs=1e-6)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-6, rtol=1e-4)


def test_pairs_and_texts_of_one_recipe(work: Path) -> None:
    pairs = {"path": "pairs.tsv", "columns": [0, 1]}
    material = read_material(read("recipe.yaml", [f"data.pairs=[{json.dumps(pairs)}]"]))
    texts, groups = material.texts, material.groups
    assert len(set(texts)) == len(texts)
    assert not set(material.held_out) & set(texts)
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


def test_the_vectors_are_of_the_texts_without_masks(tiny_encoder_dir: Path) -> None:
    student = load_encoder(tiny_encoder_dir, lm_head=True, normalize=False)
    terms = [TermSpec("info_nce", make_loss("info_nce", {})), TermSpec("mlm", make_loss("mlm", {}))]
    model = Distillation(student, Objective(terms, Sizes(32, 32, 76)), None)
    tokens = tokenize(student.tokenizer, TEXTS, 64)
    groups = np.repeat(np.arange(4)[:, None], 2, axis=1)

    def hide(ids: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return mask_tokens(ids, [0, 1, 2, 3, 4], 4, 76, rng, probability=0.5)

    parts = []
    for seed in (1, 2):
        batch = TrainingSet(tokens, masking=hide, beside=True, groups=groups).batch(np.arange(4), 0, seed)
        assert (batch["masked_ids"] != batch["input_ids"]).any()
        parts.append(model({name: torch.from_numpy(value) for name, value in batch.items()}, None)[1])
    assert parts[0]["info_nce"] == parts[1]["info_nce"]
    assert parts[0]["mlm"] != parts[1]["mlm"]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"training__batch_size": 1}, "training.batch_size: info_nce has nothing to tell apart in a batch of one; take 2 or more"),
        ({"stages__0__terms": [{"loss": "info_nce", "temperature": 0}]}, "temperature 0 must be above 0"),
        ({"student__pooling": "concat_last_four"}, "student.pooling: concat_last_four needs 4 layers, and the model has 3"),
        ({"data__pairs": [{"path": "pairs.tsv"}]}, "data.pairs: pairs.tsv: has no columns"),
        ({"data__pairs": [{"path": "pairs.tsv", "columns": [0, 1, 2]}]}, "some rows have a hard negative and some have none"),
        (
            {"data__pairs": [{"path": "pairs.tsv", "columns": [0, 1]}], "stages__0__terms": [{"loss": "embedding_mse"}]},
            "data.pairs: are read by no term",
        ),
        ({"data__texts": ["one.txt"]}, "1 different texts"),
        ({"data__texts": [], "data__pairs": [{"path": "same.tsv", "columns": [0, 1]}]}, "nothing in them to tell apart"),
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
