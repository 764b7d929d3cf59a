"""Bad input of a task's distillation: one clear line each, before any training, and nothing written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from potstill.check.check import check_recipe
from potstill.errors import PotstillError, PotstillWarning
from potstill.recipe.file import read_recipe

SOFT, HIDDEN = {"loss": "soft_target"}, {"loss": "hidden_mse", "layers": "uniform"}


@pytest.fixture
def work(tmp_path, monkeypatch, labelled_dir, tiny_teachers, tiny_encoder_dir):
    """A working folder with a good recipe, its labelled data, and teachers by kind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    shutil.copytree(labelled_dir, "data")
    for name, folder in tiny_teachers.items():
        Path(name).symlink_to(folder)
    Path("plain").symlink_to(tiny_encoder_dir)
    recipe = {
        "name": "bad",
        "task": "classification/about",
        "data": {"dir": "data"},
        "teacher": {"model": "classification"},
        "student": {"layers": 2, "max_length": 32},
        "stages": [{"name": "task", "terms": [SOFT]}],
        "evaluate": ["classification/about"],
    }
    Path("recipe.yaml").write_text(yaml.safe_dump(recipe))
    return tmp_path


def test_the_good_recipe_is_good(work, call):
    status, out, err = call("check", "recipe.yaml", "--set", f"stages.0.terms=[{json.dumps(SOFT)}, {json.dumps(HIDDEN)}]")
    assert (status, err) == (0, "")
    for words in ("classification/about: classification, river, village", "96 to train on", "1 ← 2  2 ← 4", "classification/about-dev"):
        assert words in out


def test_what_two_runs_must_share_to_be_compared_is_told(work, call):
    more = ["--set", "data.augment.copies=2", "--set", "training.accumulate=4", "--set", f"stages.0.terms=[{json.dumps(SOFT)}]"]
    _, out, _ = call("check", "recipe.yaml", *more)
    told = " ".join(out.split())
    assert "96 to train on and up to 2 more made of each" in told and "1 epoch in batches of 64 × 4, learning rate 0.0001, seed 13" in told
    _, out, _ = call("check", "recipe.yaml", *more, "--set", "stages.0.steps=7")
    assert "training batches of 64 × 4, learning rate 0.0001" in " ".join(out.split()) and "7 steps" in out


def terms(*rows: dict[str, Any]) -> list[str]:
    return ["--set", "stages.0.terms=" + json.dumps(rows)]


def sets(**values: Any) -> list[str]:
    return [part for key, value in values.items() for part in ("--set", f"{key.replace('__', '.')}={json.dumps(value)}")]


def task(name: str, teacher: str, *rows: dict[str, Any]) -> list[str]:
    return [*sets(task=name, evaluate=[], teacher__model=teacher), *terms(*rows)]


def file(name: str, *lines: str) -> Callable[[], None]:
    def spoil() -> None:
        Path("data", name).write_text("\n".join(lines) + "\n")

    return spoil


def teacher_labels(*names: str) -> Callable[[], None]:
    def spoil() -> None:
        folder = Path("classification").resolve()
        Path("classification").unlink()
        shutil.copytree(folder, "classification")
        config = json.loads(Path("classification/config.json").read_text())
        config |= {"id2label": dict(enumerate(names)), "label2id": {name: number for number, name in enumerate(names)}}
        Path("classification/config.json").write_text(json.dumps(config))

    return spoil


def other_teacher(*names: str) -> Callable[[], None]:
    def add() -> None:
        first = Path("classification").resolve()
        teacher_labels(*names)()
        Path("classification").rename("other")
        Path("classification").symlink_to(first)

    return add


def earlier_run() -> None:
    shutil.copytree(Path("plain").resolve(), "general/student")
    Path("general/results.json").write_text("{}")


ABOUT = "classification/about"
NARROW = sets(student__width=16, student__heads=2, student__ffn=32)
VECTORS = sets(task="embed", evaluate=[], data__texts=["texts-train.txt"])
POOL = {"loss": "cos_nce", "mode": "cls", "layers": "final", "negatives": "train"}
BAD: dict[str, tuple[Callable[[], None] | None, list[str], str]] = {
    "label sets that differ": (
        teacher_labels("river", "town"),
        [],
        "label sets differ: the model has 2 labels and the data 2; only the model has 'town'",
    ),
    "more labels in the teacher": (
        teacher_labels("river", "village", "town"),
        [],
        "label sets differ: the model has 3 labels and the data 2",
    ),
    "a teacher of another kind": (
        None,
        sets(teacher__model="tagging"),
        "teacher.model: has a head for tagging, and a term reads logits of classification",
    ),
    "a teacher without a head": (
        None,
        sets(teacher__model="plain"),
        "teacher.model: has no head, and a term reads logits of classification; fine-tune",
    ),
    "a label outside the set": (
        file(f"{ABOUT}/dev.csv", "text,label", "a,river", "b,rivers"),
        [],
        "dev.csv:3: label 'rivers' is outside the set of labels; did you mean 'river'?",
    ),
    "one class only": (
        file(f"{ABOUT}/train.csv", "text,label", "a,river", "b,river"),
        [],
        "all 2 rows have the same label, 'river'; at least two classes",
    ),
    "a missing label": (file(f"{ABOUT}/train.csv", "text,label", "a,river", "b,"), [], "train.csv:3: the label is missing"),
    "a missing score": (
        file("regression/about/train.csv", "text,label", "a,1.5", "b,"),
        task("regression/about", "regression", {"loss": "logit_mse"}),
        "train.csv:3: the score is missing",
    ),
    "a score that is none": (
        file("regression/about/train.csv", "text,label", "a,1.5", "b,high"),
        task("regression/about", "regression", {"loss": "logit_mse"}),
        "train.csv:3: the score 'high' is not a number",
    ),
    "tags that do not match tokens": (
        file("tagging/about/train.jsonl", '{"tokens": ["a", "b"], "tags": ["O"]}'),
        task("tagging/about", "tagging", SOFT),
        "train.jsonl:1: 1 tags for 2 tokens",
    ),
    "no data of that name": (None, sets(task="classification/abuot", evaluate=[]), "classification/abuot: no such folder"),
    "no such task": (None, sets(task="glue/mrcp", evaluate=[]), "did you mean 'glue/mrpc'?"),
    "batches of neighbours without vectors": (
        None,
        sets(training__batches="neighbours"),
        "training.batches: neighbours are found by the teacher's vectors, and need a teacher and the task embed; use random",
    ),
    "texts beside labels": (None, sets(data__texts=["texts-train.txt"]), "data.texts: are not read by the labelled task"),
    "a score to report that needs other labels": (None, sets(evaluate=["classification/pairs"]), "label sets differ"),
    "a score to report that needs vectors": (
        file("retrieval/few.jsonl", '{"query": "a", "document": "b"}', '{"query": "c", "document": "d"}'),
        sets(evaluate=["retrieval/few"]),
        "retrieval/few needs embedding, and the task classification/about gives logits, no vectors",
    ),
    "heads that differ where attention is read": (
        None,
        [*sets(student__width=32, student__heads=2, student__ffn=32), *terms({"loss": "attention_mse", "layers": "uniform"})],
        "the student has 2 heads, the teacher 4",
    ),
    "attention that cannot be read": (
        None,
        [*sets(teacher__model="rembert"), *terms({"loss": "attention_mse", "layers": "uniform"})],
        "a rembert (rembert) computes attention by itself",
    ),
    "widths that differ without a projection": (
        None,
        [*NARROW, *terms(HIDDEN)],
        "the student's vectors have 16 dimensions, the teacher's 32; add project: linear",
    ),
    "shorter vectors of a task with a head": (None, sets(student__dimensions=[8]), "student.dimensions: [8] are of vectors, and the task"),
    "shorter vectors that are longer": (
        None,
        [*VECTORS, *terms({"loss": "similarity_mse"}), *sets(student__dimensions=[64, 8])],
        "student.dimensions: 64 is more than the 32 that the student's vectors have",
    ),
    "shorter vectors that nothing teaches": (
        None,
        [*VECTORS, *terms({"loss": "embedding_mse"}), *sets(student__dimensions=[8])],
        "student.dimensions: no term teaches the first dimensions of a vector to serve alone; add similarity_mse",
    ),
    "a projection of scores": (
        None,
        terms({"loss": "attention_mse", "layers": "uniform", "project": "linear"}),
        "attention_scores have no width to project",
    ),
    "relation heads that do not divide": (
        None,
        terms({"loss": "relation", "layers": "final", "heads": 5}),
        "does not divide into 5 relation heads",
    ),
    "K larger than the pool": (
        None,
        terms(POOL | {"count": 96}),
        "96 negatives are more than the pool of 95 other training texts; take at most 95",
    ),
    "a limit that leaves one class": (None, sets(data__limit=1), "data.limit: the 1 drawn have one label"),
    "a batch without negatives": (
        None,
        [*sets(training__batch_size=1), *terms({"loss": "cos_nce", "mode": "cls", "layers": "final"})],
        "training.batch_size: cos_nce has nothing to tell apart in a batch of one",
    ),
    "K larger than what a batch leaves": (
        None,
        [*sets(training__batch_size=32), *terms(POOL | {"count": 65})],
        "65 negatives are more than the 64 training texts outside a batch; take fewer",
    ),
    "K larger than the memory": (
        None,
        terms({"loss": "crd", "layers": "uniform", "count": 96}),
        "96 negatives are more than the pool of 95",
    ),
    "shares that are not the whole": (
        None,
        sets(stages=[{"name": "a", "share": 0.5, "terms": [SOFT]}, {"name": "b", "share": 0.6, "terms": [SOFT]}]),
        "the stages' shares add up to 1.1; they must add up to 1",
    ),
    "a share and epochs": (
        None,
        sets(stages=[{"name": "a", "share": 1, "epochs": 2, "terms": [SOFT]}]),
        "more than one of share, epochs and steps",
    ),
    "an unknown layer map": (None, terms(HIDDEN | {"layers": "unifrom"}), "unknown layer map 'unifrom'; did you mean 'uniform'?"),
    "a layer that the teacher lacks": (None, terms(HIDDEN | {"layers": [[1, 7]]}), "the teacher has no layer 7"),
    "layer 0 of attention": (
        None,
        terms({"loss": "attention_mse", "layers": [[0, 0], [1, 2]]}),
        "layer 0, the embedding output, has no attention_scores",
    ),
    "no layers where layers are read": (None, terms({"loss": "hidden_mse"}), "layers: is missing, and hidden_mse reads layers"),
    "layers where none are read": (
        None,
        terms(SOFT | {"layers": "uniform"}),
        "soft_target reads logits, which has no layers; drop `layers`",
    ),
    "heads that are no whole number": (
        None,
        terms({"loss": "relation", "layers": "final", "heads": 2.0}),
        "stages.task.terms.0.heads: 2.0 should be a valid integer for loss 'relation'",
    ),
    "a schedule of what does not move": (
        None,
        terms(SOFT | {"scale_by_t2": {"from": 0, "to": 1}}),
        "stages.task.terms.0.scale_by_t2: 0.0 should be a valid boolean",
    ),
    "a temperature that is none": (None, terms(SOFT | {"temperature": 0}), "temperature 0 must be above 0"),
    "a soft logit of one score": (
        None,
        task("regression/about", "regression", {"loss": "soft_logit"}),
        "the head has one logit, whose softmax is 1 whatever it says",
    ),
    "several labels of a score": (
        None,
        task("regression/about", "regression", SOFT | {"multilabel": True}),
        "soft_target.multilabel is for classes, and a regression has a score; drop it",
    ),
    "a softmax of several labels": (
        None,
        task("multilabel/about", "multilabel", SOFT),
        "the labels are of classes that do not exclude each other; add multilabel: true",
    ),
    "negatives of another class where there are scores": (
        None,
        task("regression/about", "regression", {"loss": "crd", "layers": "uniform", "count": 5, "other_labels": True}),
        "crd.other_labels takes texts of another class as negatives, and regression has not one class a text; set its other_labels",
    ),
    "a start whose width does not fit": (
        earlier_run,
        [*NARROW, *sets(student__model="general")],
        "student.model: general is 32 wide, and student.width: 16 builds a student anew, with none of its weights; set student.layers",
    ),
    "teachers that disagree on labels": (
        other_teacher("river", "town"),
        ["--set", "teacher={models: [classification, other]}"],
        "teacher.models: other: label sets differ: the model has 2 labels and the data 2; only the model has 'town'",
    ),
    "logits where there are none": (
        None,
        [*VECTORS, *terms(SOFT)],
        "soft_target reads logits, and the task embed has none",
    ),
    "vectors where there are none": (
        None,
        terms({"loss": "embedding_mse"}),
        "embedding_mse reads pooled vectors, and the task classification/about has a head instead",
    ),
    "no teacher where one is needed": (
        None,
        [*sets(teacher=None, student__model="plain")],
        "soft_target needs a teacher, and the recipe has none",
    ),
    "no teacher where its layers are needed": (
        None,
        [*sets(teacher=None, student__model="plain"), *terms(HIDDEN)],
        "hidden_mse needs a teacher with layers, and there is none",
    ),
    "agreement without a teacher": (
        None,
        [*sets(teacher=None, student__model="plain", training__select="agreement"), *terms({"loss": "hard_label"})],
        "agreement needs a teacher and the task embed",
    ),
    "fp16 without a GPU": (None, sets(training__precision="fp16", training__device="cpu"), "fp16 is asked for, and its gradient scaler"),
    "nothing to start from": (None, sets(teacher=None), "neither a teacher nor student.model"),
    "a language model without a head as teacher": (
        None,
        [
            *sets(task="mlm", evaluate=[], data__texts=["texts-train.txt"], teacher__model="plain", export__onnx=False),
            *terms({"loss": "mlm"}, SOFT),
        ],
        "has no head, and a term reads logits of mlm; adapt it with task: mlm first",
    ),
    "a pooling before a head": (
        None,
        sets(student__pooling="max"),
        "student.pooling: max is for vectors, and a head of classification/about reads what its own architecture gives it",
    ),
    "a teacher's pooling before a head": (
        None,
        sets(teacher__pooling="cls"),
        "teacher.pooling: cls is for vectors, and a head of classification/about reads what its own architecture gives it",
    ),
    "a mistyped rule beside a list": (
        None,
        sets(student__layers=[1, 2], student__rule="lats"),
        "student.rule: unknown rule 'lats'; did you mean 'last'?",
    ),
    "vectors of any length before a head": (
        None,
        sets(student__normalize=False),
        "student.normalize: false is for vectors, and a head of classification/about gives none",
    ),
    "augmented tags": (
        None,
        [*task("tagging/about", "tagging", SOFT), *sets(data__augment={"copies": 2})],
        "data.augment: needs a teacher, and a task whose labels are not one a word",
    ),
}


@pytest.fixture(scope="session")
def rembert_dir(tiny_encoder_dir, tmp_path_factory):
    from transformers import AutoModel, RemBertConfig

    from potstill.models.encoder import EncoderModel
    from potstill.models.loading import load_encoder

    sizes = {"hidden_size": 32, "input_embedding_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4}
    config = RemBertConfig(vocab_size=300, intermediate_size=64, **sizes)
    folder = tmp_path_factory.mktemp("models") / "rembert"
    EncoderModel(AutoModel.from_config(config), load_encoder(tiny_encoder_dir).hf_tokenizer, max_length=64).save(folder)
    return folder


@pytest.mark.parametrize("case", BAD)
def test_one_clear_line_and_nothing_written(work, call, case, rembert_dir):
    spoil, overrides, words = BAD[case]
    Path("rembert").symlink_to(rembert_dir)
    Path("data/retrieval").mkdir()
    if spoil:
        spoil()
    before = sorted(work.rglob("*"))
    status, _, err = call("train", "recipe.yaml", *overrides)
    assert status == 2 and words in err
    assert len(err.splitlines()) == 1 and err.startswith("error: ") and len(err) < 400
    assert sorted(work.rglob("*")) == before


def test_everything_wrong_is_told_at_once(work, call):
    overrides = [*terms(HIDDEN | {"layers": "unifrom"}, POOL | {"count": 500}, {"loss": "embedding_mse"}), *sets(student__layers=9)]
    status, _, err = call("check", "recipe.yaml", *overrides)
    # Without a student's depth no layer can be mapped: what does not depend on it is told all the same.
    assert status == 2 and "9 layers asked of a model that has 4" in err
    status, _, err = call("check", "recipe.yaml", *overrides[:2])
    assert status == 2 and {line.split(": ")[2] for line in err.splitlines()} >= {"stages.task.terms.0.layers"}


def test_a_teacher_that_nobody_asks_for_logits_needs_no_head(work):
    recipe = read_recipe("recipe.yaml", ["teacher.model=plain", "evaluate=[]", *terms(HIDDEN)[1:]])
    assert check_recipe(recipe).teacher_folder == Path("plain")
    with pytest.raises(PotstillError, match="has no head"):
        check_recipe(read_recipe("recipe.yaml", ["teacher.model=plain", "evaluate=[]"]))


def test_a_model_that_may_be_meant_as_a_start_is_warned_of(work, call):
    sizes = sets(student__width=32, student__heads=4, student__ffn=64)
    with pytest.warns(PotstillWarning, match="plain is 32 wide, and student.width: 32 builds a student anew, with none of its weights"):
        status, _, _ = call("check", "recipe.yaml", *sizes, *sets(student__model="plain"))
    assert status == 0
