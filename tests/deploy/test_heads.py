"""Export and int8 of models with a head."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest

import potstill.deploy.int8 as int8
import potstill.deploy.onnx as deploy
from potstill.deploy.calibration import calibrate
from potstill.deploy.gate import Gate, Limits, agreement, error
from potstill.deploy.onnx import export_onnx
from potstill.deploy.quantize import quantize_int8
from potstill.errors import PotstillError
from potstill.models.loading import load_encoder
from potstill.runtime.encoder import Encoder
from potstill.runtime.folder import MODEL, QUANTIZED, read_config

EASY = Limits(max_drop=1.0, min_cosine_mean=1.0, min_cosine=1.0, min_invariance=0.9, min_agreement=0.5, max_error=1.0, min_speedup=0.0)


def shapes(folder):
    graph = onnx.load(str(folder / MODEL)).graph
    return {
        entry.name: [size.dim_param or size.dim_value for size in entry.type.tensor_type.shape.dim]
        for entry in [*graph.input, *graph.output]
    }


def test_the_graphs(tiny_head_exports):
    free = ["batch", "length"]
    both = {"input_ids": free, "attention_mask": free}
    assert shapes(tiny_head_exports["classification"]) == both | {"token_type_ids": free, "logits": ["batch", 3]}
    assert shapes(tiny_head_exports["tagging"]) == both | {"token_type_ids": free, "logits": ["batch", "length", 3]}
    assert shapes(tiny_head_exports["regression"]) == both | {"logits": ["batch", 1]}


def test_the_configuration(tiny_head_dirs, tiny_head_exports):
    folder = tiny_head_exports["classification"]
    written, model = read_config(folder), load_encoder(tiny_head_dirs["classification"])
    assert (written.head, written.labels, written.max_length, written.dimension) == ("classification", ["no", "yes", "maybe"], 32, 16)
    assert written.parameters == sum(model.parameter_counts())
    config = json.loads((folder / "config.json").read_text())
    assert config["id2label"] == {"0": "no", "1": "yes", "2": "maybe"}
    assert config["architectures"] == ["BertForSequenceClassification"]


def test_several_labels(tiny_head_dirs, tmp_path):
    model = load_encoder(tiny_head_dirs["multilabel"])
    encoder = Encoder(export_onnx(model, tmp_path / "out", ["the river", "a village"]))
    assert (encoder.head, encoder.labels) == ("multilabel", ["red", "green", "blue"])
    np.testing.assert_allclose(encoder.predict(["the river"]), model.predict(["the river"]), atol=1e-4)


def test_other_logits_than_torch_are_refused(tiny_head_dirs, tmp_path, monkeypatch):
    monkeypatch.setattr(deploy, "TOLERANCE", 0.0)
    with pytest.raises(PotstillError, match=r"texts in batches differ by \d\.\de-\d\d between torch and onnxruntime"):
        export_onnx(load_encoder(tiny_head_dirs["tagging"]), tmp_path / "out", ["prose that is split"])
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def compared(monkeypatch):
    """The lists of texts on which an export compares onnxruntime with torch, each once."""
    lists = []

    class Watched(Encoder):
        def run(self, texts, *args, **more):
            if texts not in lists:
                lists.append(texts)
            return super().run(texts, *args, **more)

    monkeypatch.setattr(deploy, "Encoder", Watched)
    return lists


def test_single_texts_and_pairs_are_compared(tiny_head_dirs, tmp_path, compared):
    export_onnx(load_encoder(tiny_head_dirs["classification"], max_length=8), tmp_path / "out", [("a b", "c"), "d"])
    alone, pairs = compared
    assert alone[:4] == ["a b", "d", "word", ""] and len(alone[-1].split()) > 8
    assert pairs[:2] == [("a b", "c"), ("d", "a b")] and all(isinstance(pair, tuple) for pair in pairs)


def test_lists_of_words_are_compared(tiny_head_dirs, tmp_path, compared):
    export_onnx(load_encoder(tiny_head_dirs["tagging"], max_length=8), tmp_path / "out", ["a b"])
    (words,) = compared
    assert words[:3] == [["a", "b"], ["word"], []] and len(words[3]) > 8


def test_words_that_are_missing_are_a_difference(tiny_head_dirs, tmp_path, monkeypatch):
    class Short(Encoder):
        def run(self, texts, *args, **more):
            first, *rest = super().run(texts, *args, **more)
            return [first[:-1], *rest]

    monkeypatch.setattr(deploy, "Encoder", Short)
    with pytest.raises(PotstillError, match="differ by inf between torch and onnxruntime"):
        export_onnx(load_encoder(tiny_head_dirs["tagging"]), tmp_path / "out", ["prose that is split"])


def test_agreement_by_hand():
    a, b = np.array([[1.0, 0.0], [0.0, 1.0], [3.0, 1.0], [2.0, 0.0]]), np.array([[2.0, 0.0], [1.0, 0.5], [3.0, 1.0], [2.0, 0.0]])
    assert agreement(a, b, "classification", ["x", "y"]) == 0.75
    # Of several labels all must be alike: the second text differs in one of two.
    assert agreement(a - 0.5, b - 0.5, "multilabel", ["x", "y"]) == 0.75
    tags = [np.eye(3)[[0, 0, 1]], np.eye(3)[[2, 0]]]  # O O B | I O
    other = [np.eye(3)[[0, 1, 1]], np.eye(3)[[2, 0]]]  # O B B | I O
    assert agreement(tags, other, "tagging", ["O", "B", "I"]) == pytest.approx(2 / 3)
    assert agreement(tags, other, "tagging", ["a", "b", "c"]) == 0.8
    assert agreement([np.eye(3)[[0]]], [np.eye(3)[[0]]], "tagging", ["O", "B", "I"]) == 1


def test_error_by_hand():
    # Differences 1 and -1 where the values spread by 2.
    assert error(np.array([[1.0], [5.0], [3.0]])[:2], np.array([[2.0], [6.0]])) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "kind",
    [
        "classification",  # of pairs
        "regression",  # of single texts, without token types
        "tagging",  # of texts that are split into words
    ],
)
def test_int8_of_a_head(tiny_head_exports, tmp_path, texts, monkeypatch, kind):
    monkeypatch.setattr(int8, "TABLE", 1)
    folder = shutil.copytree(tiny_head_exports[kind], tmp_path / "onnx")
    given = list(zip(texts, reversed(texts))) if kind == "classification" else texts
    scored = []
    rows = quantize_int8(folder, texts=given, score=lambda encoder: scored.append(encoder.file.name) or 80.0, threads=1, limits=EASY)
    figures = {"classification": {"agreement", "invariance"}, "regression": {"error", "invariance_error"}}
    assert scored == [MODEL, QUANTIZED] and rows[-1]["passed"]
    assert rows[-1].keys() - {
        "setting",
        "fp32_score",
        "int8_score",
        "drop",
        "speedup",
        "bytes",
        "failed",
        "passed",
        "tuned",
    } == figures.get(kind, figures["classification"])
    assert rows[-1]["bytes"] == (folder / QUANTIZED).stat().st_size < (folder / MODEL).stat().st_size
    assert Encoder(folder).file.name == QUANTIZED


def test_a_head_misses_its_limits(tiny_head_exports, texts):
    encoder = Encoder(tiny_head_exports["regression"], threads=1)
    row = Gate(encoder, texts, None, replace(EASY, max_error=-1.0)).measure("same", encoder)
    assert row["failed"] == ["error 0 above -1", f"invariance_error {row['invariance_error']:.5g} above -1"]
    encoder = Encoder(tiny_head_exports["classification"], threads=1)
    row = Gate(encoder, texts, None, replace(EASY, min_agreement=2.0)).measure("same", encoder)
    assert row["failed"] == ["agreement 1 below 2"]


def test_calibration_reads_what_a_head_reads(tiny_head_exports, texts):
    encoder = Encoder(tiny_head_exports["tagging"], threads=1)
    found = calibrate(encoder.file, encoder, [text.split() for text in texts], 127)
    # 2 layers of six, and the classifier of every token
    assert len(found.errors) == 13 and max(found.errors.values()) < 0.5
