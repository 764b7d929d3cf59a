"""Static students: made of each piece's own vector, trained, shipped, and the same to sentence-transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tokenizers import Tokenizer

import potstill
from potstill.errors import PotstillError
from potstill.evaluation.subject import open_subject
from potstill.models.encoder import EncoderModel
from potstill.models.layout import Layout
from potstill.models.loading import load_encoder
from potstill.models.output import EMBEDDING
from potstill.results import read_run
from potstill.runtime.tokens import tokenize
from potstill.student.static import build_static, pieces_alone
from potstill.student.vocabulary import trimmed, with_pieces, with_tokenizer
from potstill.tasks.base import load_task

WORDS = "river village the and owl boat on old stone rivers ing of 7 !".split()
TEXTS = [" ".join(WORDS[(number * step + step) % len(WORDS)] for step in range(1, 3 + number % 5)) for number in range(240)]
STUDENT = {"kind": "static", "width": 16, "max_length": 32}
AWKWARD = ["the river", "", "word", " ".join(["village"] * 200), "rivers and OWLS!", "\u4e2d"]


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    Path("texts.txt").write_text("\n".join(dict.fromkeys(TEXTS)) + "\n")
    return tmp_path


def recipe(teacher: Path, **parts: Any) -> dict[str, Any]:
    content: dict[str, Any] = {
        "name": "static",
        "data": {"texts": ["texts.txt"]},
        "teacher": {"model": str(teacher), "max_length": 32},
        "student": STUDENT,
        "training": {"batch_size": 16, "learning_rate": 1e-2, "evaluations": 2, "precision": "fp32", "epochs": 6},
        "stages": [{"name": "embed", "terms": [{"loss": "embedding_cosine", "project": "linear"}, {"loss": "similarity_kl"}]}],
        "evaluate": [],
        "export": {"onnx": True, "int8": {"max_drop": 100, "min_speedup": 0, "min_invariance": 0.9}},
    }
    return content | parts


def train(call: Any, content: dict[str, Any]) -> Path:
    Path("s.yaml").write_text(yaml.safe_dump(content))
    status, _, err = call("train", "s.yaml")
    assert status == 0, err
    return Path("runs") / content["name"]


def test_a_student_is_trained_exported_quantised_and_the_same_everywhere(tiny_encoder_dir, work, call):
    from sentence_transformers import SentenceTransformer

    folder = train(call, recipe(tiny_encoder_dir))
    model = load_encoder(folder / "student")
    assert model.parameter_counts() == (model.network.config.vocab_size * 16, 0) and model.max_length == 32
    assert [record.role for record in read_run(folder).records] == ["teacher", "undistilled", "student", "onnx", "int8"]
    ours = model.encode(AWKWARD)
    theirs = SentenceTransformer(str(folder / "student"), device="cpu")
    assert type(theirs[0]).__name__ == "StaticEmbedding" and len(theirs) == 2
    np.testing.assert_allclose(theirs.encode(AWKWARD), ours, atol=1e-6)
    shipped = potstill.Encoder(folder, precision="fp32").encode(AWKWARD)
    np.testing.assert_allclose(shipped, ours, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), [1, 0, 1, 1, 1, 1], atol=1e-5)  # of no token there is no vector
    int8 = potstill.Encoder(folder, precision="int8").encode(AWKWARD)
    assert (int8 * ours).sum(1)[[0, 2, 3, 4, 5]].min() > 0.99
    subject = open_subject(folder, "int8", 1)
    assert subject.embedding_parameters == subject.parameters == model.network.config.vocab_size * 16


def test_training_brings_it_nearer_to_its_teacher_with_a_vocabulary_of_its_own(tiny_encoder_dir, work, call):
    folder = train(call, recipe(tiny_encoder_dir, student=STUDENT | {"vocabulary": {"method": "trim"}}, export={"onnx": False}))
    assert load_encoder(folder / "student").network.config.vocab_size < load_encoder(tiny_encoder_dir).network.config.vocab_size
    curve = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in curve if "loss" in line]
    assert losses[-1] < 0.7 * losses[0]


def test_the_table_it_begins_with(tiny_encoder_dir):
    source = load_encoder(tiny_encoder_dir)
    alone = pieces_alone(source)
    pieces = sorted(source.tokenizer.get_vocab(), key=source.tokenizer.get_vocab().get)
    assert alone.pad([0, 7], 0)["input_ids"].tolist() == [[2, 0, 3], [2, 7, 3]]
    vectors = np.zeros((len(pieces), 32), dtype=np.float32)
    for rows, output in source.run(alone, [EMBEDDING]):
        vectors[rows] = output.embedding.numpy()
    number = pieces.index("river")  # a whole word among the pieces is what the source says of that text
    np.testing.assert_allclose(vectors[number], source.encode(["river"])[0], atol=1e-5)

    counts = np.arange(len(pieces)) % 7
    student = build_static(source, vectors, counts, width=8, sif_coefficient=0.01, normalize=True, max_length=16)
    table = student.network.get_input_embeddings().weight.detach().numpy()
    centred = vectors.astype(np.float64) - vectors.astype(np.float64).mean(0)
    _, axes = np.linalg.eigh(np.cov(centred.T))
    total = sum(int(count) + 1 for count in counts)
    expected = []
    for piece in range(len(pieces)):
        share = (int(counts[piece]) + 1) / total
        expected.append([0.01 / (0.01 + share) * float(centred[piece] @ axes[:, -1 - axis]) for axis in range(8)])
    signs = np.sign((table * expected).sum(0))
    ordinary = [piece for piece in range(len(pieces)) if piece not in (0, 2, 3, 4)]
    ratio = np.linalg.norm(table[ordinary]) / np.linalg.norm(np.array(expected)[ordinary])
    np.testing.assert_allclose(table[ordinary] * signs, np.array(expected)[ordinary] * ratio, atol=1e-4 * ratio)
    assert not table[[0, 2, 3, 4]].any() and table[1].any()  # special tokens have no say; an unknown word has
    ids = student.tokenizer.encode("the river").ids
    mean = table[ids].mean(0)
    np.testing.assert_allclose(student.encode(["the river"])[0], mean / np.linalg.norm(mean), atol=1e-6)


def test_a_tokenizer_without_added_tokens_survives_saving(tiny_encoder_dir, tmp_path):
    source = load_encoder(tiny_encoder_dir)
    student = build_static(
        source, np.random.default_rng(0).normal(size=(source.tokenizer.get_vocab_size(), 8)).astype(np.float32),
        np.ones(source.tokenizer.get_vocab_size()), width=4, sif_coefficient=1e-3, normalize=False, max_length=5,
    )  # fmt: skip
    with pytest.raises(PotstillError, match="the source's 3 vectors have 8 dimensions, and 4 are asked; ask for 3 at most"):
        build_static(source, np.eye(3, 8, dtype=np.float32), np.ones(3), width=4, sif_coefficient=1e-3, normalize=False, max_length=5)
    student.save(tmp_path / "saved")
    again = load_encoder(tmp_path / "saved")
    assert again.tokenizer.encode("the river and village ing s").ids == student.tokenizer.encode("the river and village ing s").ids
    assert len(again.tokenizer.encode("the river and village ing s").ids) == 5 and again.max_length == 5
    assert not again.normalize and again.hf_tokenizer.pad_token == "[PAD]"
    torch.testing.assert_close(again.network.state_dict(), student.network.state_dict())
    assert Tokenizer.from_file(str(tmp_path / "saved" / "tokenizer.json")).truncation["max_length"] == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"student": STUDENT | {"layers": 2}},
            "a static student is one vector a token, without layers or attention; drop layers",
        ),  # it has no layers
        ({"student": STUDENT | {"width": 33}}, "width: the source's vectors have 32 dimensions, and 33 are asked"),  # wider than its source
        ({"student": STUDENT | {"pooling": "max"}}, "student.pooling: 'max' is not among 'mean'"),  # only the mean is one vector a token
        ({"student": STUDENT | {"depth": 2}}, "student.depth: unknown key"),  # an unknown key
        (
            {"stages": [{"name": "a", "terms": [{"loss": "attention_kl", "layers": "uniform"}]}]},  # no attention
            "attention_kl reads attention_scores, and a static student has no layers and no attention",
        ),
        (
            {"stages": [{"name": "a", "terms": [{"loss": "hidden_mse", "layers": "final", "project": "linear"}]}]},  # no hidden states
            "hidden_mse reads hidden_states, and a static student has no layers and no attention",
        ),
        (
            {"stages": [{"name": "a", "train": "top:1", "terms": [{"loss": "similarity_kl"}]}]},
            "top:1 of a student of 0 layers; drop train",
        ),  # no layers to train
        ({"task": "mlm", "export": {"onnx": False}}, "a static student gives vectors of texts and has no head"),  # no head
    ],
)
def test_what_it_has_not_is_refused_in_one_line(tiny_encoder_dir, work, call, changes, message):
    Path("s.yaml").write_text(yaml.safe_dump(recipe(tiny_encoder_dir) | changes))
    status, _, err = call("check", "s.yaml")
    assert status == 2 and sum(message in line for line in err.splitlines()) == 1, err
    assert "Traceback" not in err


def test_a_real_encoders_pieces_say_something_and_rarity_helps(minilm_dir, data_dir):
    """Untrained: the means of MiniLM's own vectors of 1,500 pieces, on the STS benchmark's dev pairs."""
    source = load_encoder(minilm_dir)
    task = load_task("sts/stsb-dev", data_dir)
    tokenizer = json.loads(source.hf_tokenizer.backend_tokenizer.to_str())
    source = with_tokenizer(source, with_pieces(tokenizer, trimmed(tokenizer, task.texts(), 1500)))
    alone = pieces_alone(source)
    vectors = np.zeros((len(alone), 384), dtype=np.float32)
    for rows, output in source.run(alone, [EMBEDDING]):
        vectors[rows] = output.embedding.numpy()
    counts = np.bincount(tokenize(source.tokenizer, task.texts(), 64).ids, minlength=len(alone))
    scores = {}
    for sif_coefficient in (1e3, 1e-3):  # the first gives every piece the same weight
        student = build_static(source, vectors, counts, width=256, sif_coefficient=sif_coefficient, normalize=True, max_length=64)
        scores[sif_coefficient] = task.evaluate(student.encode)["spearman"]
    assert scores[1e-3] > scores[1e3] + 3 and scores[1e-3] > 65


def test_it_is_as_wide_as_the_vectors_that_its_source_gives(tiny_encoder_dir, work, call):
    source = load_encoder(tiny_encoder_dir)
    EncoderModel(source.network, source.hf_tokenizer, layout=Layout(dense=[torch.nn.Linear(32, 8)])).save("narrow")
    content = recipe(tiny_encoder_dir) | {"student": STUDENT | {"width": 50}}
    cases = [({"model": "narrow"}, 2, "have 8 dimensions, and 50"), ({"model": str(tiny_encoder_dir), "pooling": "concat_last_two"}, 0, "")]
    for teacher, expected, words in cases:
        Path("s.yaml").write_text(yaml.safe_dump(content | {"teacher": teacher}))
        status, _, err = call("check", "s.yaml")
        assert status == expected and words in err, err
    content["student"] = {"layers": 2, "pooling": "max"}
    Path("s.yaml").write_text(yaml.safe_dump(content | {"teacher": {"model": "narrow"}}))
    status, out, err = call("check", "s.yaml")
    assert status == 0 and "dense layer of 8 dimensions, since the student is pooled by max" in " ".join(out.split()), err
    Path("narrow/tokenizer.json").write_text('{"model":')
    status, _, err = call("check", "s.yaml", "--set", "student.vocabulary.method=trim")
    assert status == 2 and "narrow/tokenizer.json: cannot be read" in err and "Traceback" not in err
