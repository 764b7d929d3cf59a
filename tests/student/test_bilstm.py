"""BiLSTM students from the recipe to the files that ship: siamese on pairs, without a head, staged with unfreezing, on transfer texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml

from potstill.check.check import check_recipe
from potstill.corpus.read import read_corpus
from potstill.errors import PotstillError, PotstillErrors
from potstill.evaluation.subject import open_subject
from potstill.models.loading import load_encoder
from potstill.recipe.file import parse_recipe
from potstill.results import read_metrics, read_run
from potstill.run.distil import distil

STUDENT = {"kind": "bilstm", "width": 12, "embedding": 16, "dense": 8, "max_length": 32}
TRAINING = {"batch_size": 16, "learning_rate": 1e-2, "evaluations": 2, "precision": "fp32", "epochs": 8}


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def recipe(folder: Path, task: str, teacher: Path | None, terms: list[dict[str, Any]], **parts: Any) -> dict[str, Any]:
    content: dict[str, Any] = {
        "name": "bilstm",
        "task": task,
        "data": {"dir": str(folder)},
        "teacher": {"model": str(teacher), "max_length": 32} if teacher else None,
        "student": STUDENT,
        "training": TRAINING,
        "stages": [{"name": "task", "terms": terms}],
        "evaluate": [task] if "/" in task else [],
        "export": {"onnx": True, "int8": {"max_drop": 100, "min_speedup": 0, "min_agreement": 0.9}},
    }
    return content | parts


def test_a_siamese_student_is_trained_exported_quantised_and_predicts(labelled_dir, tiny_teachers, work, call):
    content = recipe(labelled_dir, "classification/pairs", tiny_teachers["pairs"], [{"loss": "logit_mse"}, {"loss": "hard_label"}])
    Path("b.yaml").write_text(yaml.safe_dump(content))
    status, _, err = call("train", "b.yaml")
    assert status == 0, err
    records = {record.role: record for record in read_run(Path("runs/bilstm")).records}
    model = load_encoder(Path("runs/bilstm/student"))
    assert model.parameter_counts() == (model.network.config.vocab_size * 16, 2 * (4 * 12 * (16 + 12) + 8 * 12) + 96 * 8 + 8 + 2 * 8 + 2)
    for place in ("student", "onnx"):
        subject = open_subject(Path("runs/bilstm") / place)
        assert (subject.embedding_parameters, subject.parameters) == (model.parameter_counts()[0], sum(model.parameter_counts()))
    own, other = (records[role].scores["classification/pairs"] for role in ("onnx", "student"))
    assert own["confusion"] == other["confusion"]
    graph = onnx.load("runs/bilstm/onnx/model.onnx")
    assert [node.op_type for node in graph.graph.node].count("LSTM") == 1 and {entry.domain for entry in graph.opset_import} <= {
        "",
        "ai.onnx",
    }
    Path("pairs.jsonl").write_text(json.dumps({"text": "the a river w", "text_pair": "the village"}) + "\n")
    answers = []
    for name in ("runs/bilstm/student", "runs/bilstm"):
        status, _, err = call("predict", name, "pairs.jsonl", "--out", "answers.jsonl")
        assert status == 0, err
        answers.append(json.loads(Path("answers.jsonl").read_text())["label"])
    assert answers[0] == answers[1]
    assert call("evaluate", "runs/bilstm", "--tasks", "classification/pairs", "--data", str(labelled_dir))[0] == 0
    status, _, err = call("export", "runs/bilstm/student", "--out", "again")
    assert status == 0, err


def test_int8_stores_the_lstm_in_a_byte_a_weight(labelled_dir, tiny_teachers, work, call):
    content = recipe(labelled_dir, "classification/about", tiny_teachers["classification"], [{"loss": "logit_mse"}])
    content["student"] = STUDENT | {"width": 160, "table": "random"}
    Path("b.yaml").write_text(yaml.safe_dump(content | {"training": TRAINING | {"epochs": 1}}))
    status, _, err = call("train", "b.yaml")
    assert status == 0, err
    sizes = [Path(f"runs/bilstm/onnx/{name}.onnx").stat().st_size for name in ("model", "model_quantized")]
    recurrent = 2 * 4 * 160 * 160  # weights; those of the input are few
    assert sizes[0] - sizes[1] > 2.9 * recurrent
    graph = onnx.load("runs/bilstm/onnx/model_quantized.onnx")
    assert {entry.domain for entry in graph.opset_import} <= {"", "ai.onnx"}
    assert not any(entry.data_type == onnx.TensorProto.FLOAT and np.prod(entry.dims) >= recurrent for entry in graph.graph.initializer)


def test_without_a_head_it_gives_vectors(labelled_dir, tiny_encoder_dir, work, call):
    content = recipe(labelled_dir, "embed", tiny_encoder_dir, [{"loss": "embedding_mse", "project": "linear"}])
    content["data"] |= {"texts": ["texts-train.txt"], "held_out": 8}
    content["student"] = STUDENT | {"layers": 2, "pooling": "mean"}
    content["export"] = {"onnx": True, "int8": {"min_cosine_mean": 0.9, "min_cosine": 0.8, "min_speedup": 0, "max_drop": 100}}
    Path("b.yaml").write_text(yaml.safe_dump(content | {"training": TRAINING | {"epochs": 2}}))
    status, _, err = call("train", "b.yaml")
    assert status == 0, err
    model = load_encoder(Path("runs/bilstm/student"))
    assert model.dimension == 24 and len(model.layers) == 2 and model.head == "embed" and not model.normalize == 0
    vectors = open_subject(Path("runs/bilstm/onnx"), "fp32").encode(["the river", "a village and more of it"])
    np.testing.assert_allclose(vectors, model.encode(["the river", "a village and more of it"]), atol=1e-5)


def test_stages_unfreeze_from_the_top_and_labels_alone_leave_transfer_rows_out(labelled_dir, tiny_teachers, work, call):
    Path("more.csv").write_text("a,b\n" + "".join(f"some {n} texts,of no label {n}\n" for n in range(40)))
    content = recipe(labelled_dir, "classification/pairs", tiny_teachers["pairs"], [])
    content["data"] |= {"transfer": [{"path": str(work / "more.csv"), "columns": ["a", "b"]}]}
    content["student"] = STUDENT | {"dense": 32}
    soft, hard, epochs = [{"loss": "soft_logit"}], [{"loss": "hard_label"}], {"epochs": 1}
    content["stages"] = [
        {"name": "representation", "terms": [{"loss": "representation"}], **epochs},
        {"name": "logits-head", "train": "head", "terms": soft, **epochs},
        {"name": "logits", "terms": soft, **epochs},
        {"name": "labels-output", "train": "output", "terms": hard, **epochs},
        {"name": "labels-top", "train": "top:1", "terms": hard, "steps": 9},
    ]
    saved = []
    content |= {"export": {"onnx": False}}

    def watch(stage: str, student: Any, step: int, score: float) -> None:
        saved.append((stage, {name: value.detach().clone().numpy() for name, value in student.state_dict().items()}))

    run = distil(parse_recipe(content), out=work / "run", watch=watch)
    lines = {line["stage"]: line for line in read_metrics(work / "run") if "terms" in line}
    texts = {name: line["texts"] for name, line in lines.items()}
    assert texts["representation"] == texts["logits"] == 96 + 40 and texts["labels-output"] == 96
    assert run.training["steps"] == 9 + 9 + 9 + 6 + 9
    changed = {}
    for stage in ("labels-output", "labels-top"):
        first, *_, last = [weights for name, weights in saved if name == stage]
        changed[stage] = {name for name in last if not np.array_equal(first[name], last[name])}
    assert changed["labels-output"] <= {"network.classifier.weight", "network.classifier.bias"} and changed["labels-output"]
    assert "network.bilstm.embeddings.word_embeddings.weight" not in changed["labels-top"]
    assert any("forward_lstm" in name for name in changed["labels-top"])


def test_transfer_rows_are_of_the_tasks_form(labelled_dir, tiny_teachers, tmp_path):
    (tmp_path / "more.txt").write_text("one text\nanother\nthe a river w\n")
    content = recipe(labelled_dir, "classification/about", tiny_teachers["classification"], [{"loss": "logit_mse"}])
    content["data"] |= {"transfer": [str(tmp_path / "more.txt")]}
    with pytest.raises(PotstillError, match="3 different texts"):
        read_corpus(parse_recipe(content))
    (tmp_path / "more.txt").write_text("".join(f"text {n}\n" for n in range(20)) + "the a the river w\n")
    corpus = read_corpus(parse_recipe(content))
    assert corpus.texts[96:] == [f"text {n}" for n in range(20)]  # the last one is a training text
    assert corpus.has_label.sum() == 96 and set(corpus.labels[~corpus.has_label]) == {-100}
    with pytest.raises(PotstillError, match=r"data.transfer: is for labelled tasks"):
        read_corpus(parse_recipe(content | {"task": "embed", "stages": [{"name": "task", "terms": [{"loss": "embedding_mse"}]}]}))
    for task, teacher, problem in (
        ("classification/pairs", "pairs", "two columns"),
        ("regression/about", "regression", "exclude each other"),
    ):
        other = recipe(labelled_dir, task, tiny_teachers[teacher], [{"loss": "logit_mse"}])
        other["data"] = content["data"]
        with pytest.raises(PotstillError, match=problem):
            read_corpus(parse_recipe(other))


@pytest.mark.parametrize(
    ("student", "stage", "problem"),
    [
        ({}, {"terms": [{"loss": "attention_mse", "layers": [[1, 1]]}]}, "a bilstm has no attention"),  # scores
        ({}, {"terms": [{"loss": "relation", "heads": 2, "layers": [[1, 4]]}]}, "a bilstm has no attention"),  # queries
        (
            {},
            {"terms": [{"loss": "hidden_mse", "layers": [[0, 0]], "project": "linear"}]},
            "layer 0, which is 16 wide",
        ),  # its table is not as wide as its layers
        (
            {},
            {"terms": [{"loss": "hidden_mse", "layers": [[1, 4]]}]},
            "24 dimensions, the teacher's 32; add project: linear",
        ),  # its layers are not as wide as the teacher's
        ({}, {"terms": [{"loss": "representation"}]}, "8 dimensions, the teacher's 32; add project: linear"),  # nor is its dense layer
        (
            {},
            {"train": "head", "terms": [{"loss": "hidden_mse", "layers": [[1, 4]], "project": "linear"}]},
            "leaves all of it as it is",
        ),  # layers below what is trained
        (
            {},
            {"train": "output", "terms": [{"loss": "representation", "project": "linear"}]},
            "leaves all of it as it is",
        ),  # the dense layer is not trained
        ({}, {"train": "top:2", "terms": [{"loss": "logit_mse"}]}, "top:2 of a student of 1 layers"),  # more layers than it has
        (
            {},
            {"train": "head", "perturb": True, "terms": [{"loss": "logit_mse"}]},
            "which no gradient reaches",
        ),  # the gradient ends above the embedding
        ({}, {"train": "top:0", "terms": [{"loss": "logit_mse"}]}, "stages.0.train"),  # no layer
        (
            {"pooling": "mean"},
            {"terms": [{"loss": "logit_mse"}]},
            "before its head a bilstm takes the greatest value over the tokens",
        ),  # a head reads the maximum
        (
            {"embedding": 33},
            {"terms": [{"loss": "logit_mse"}]},
            "33 is wider than the source's token table of 32",
        ),  # wider than what it is cut from
        ({"heads": 2}, {"terms": [{"loss": "logit_mse"}]}, "student.heads: unknown key"),  # a transformer's key
        (
            {"kind": "lstm"},
            {"terms": [{"loss": "logit_mse"}]},
            "student.kind: 'lstm' is not among 'transformer', 'bilstm'",
        ),  # an unknown kind
    ],
)
def test_what_a_bilstm_is_not_is_told_in_a_line(student, stage, problem, labelled_dir, tiny_teachers, work):
    content = recipe(labelled_dir, "classification/about", tiny_teachers["classification"], [])
    content |= {"student": STUDENT | student, "stages": [{"name": "task"} | stage]}
    with pytest.raises((PotstillError, PotstillErrors)) as caught:
        check_recipe(parse_recipe(content))
    assert problem in str(caught.value)


def test_other_tasks_that_it_cannot_do(labelled_dir, tiny_teachers, tiny_encoder_dir, work):
    tagging = recipe(labelled_dir, "tagging/about", tiny_teachers["tagging"], [{"loss": "hard_label"}])
    with pytest.raises((PotstillError, PotstillErrors), match="no head for words to be tagged"):
        check_recipe(parse_recipe(tagging))
    embed = recipe(labelled_dir, "embed", tiny_encoder_dir, [{"loss": "representation", "project": "linear"}])
    embed["data"] |= {"texts": ["texts-train.txt"]}
    embed["student"] = STUDENT | {"pooling": "mean_first_last"}
    with pytest.raises((PotstillError, PotstillErrors)) as caught:
        check_recipe(parse_recipe(embed))
    assert "mean_first_last reads layer 0, which is 16 wide" in str(caught.value) and "there are none" in str(caught.value)
    embed["student"] = STUDENT | {"pooling": "cls_pooler"}
    with pytest.raises((PotstillError, PotstillErrors), match="student.pooling: cls_pooler is a BERT's, and a bilstm has no pooler"):
        check_recipe(parse_recipe(embed))
    embed["student"] = STUDENT | {"layers": 2, "pooling": "mean_second_to_last"}
    embed["stages"] = [{"name": "task", "train": "top:1", "terms": [{"loss": "embedding_mse", "project": "linear"}]}]
    with pytest.raises((PotstillError, PotstillErrors), match="reads embedding, and train: top:1 leaves all of it as it is"):
        check_recipe(parse_recipe(embed))
    embed["stages"][0]["train"] = "top:2"
    check_recipe(parse_recipe(embed))
