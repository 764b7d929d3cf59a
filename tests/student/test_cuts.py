"""Students cut within their layers: from the recipe to the files that ship, and bad recipes in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml

import potstill
from potstill.evaluation.subject import open_subject
from potstill.models.loading import load_encoder
from potstill.student.cuts import SAMPLE, sample

WORDS = "river village the and owl boat on old stone rivers ing of 7 !".split()
TEXTS = [" ".join(WORDS[(number * step + step) % len(WORDS)] for step in range(1, 3 + number % 5)) for number in range(120)]
CUT = {"layers": 2, "rule": "importance", "keep_heads": 3, "embedding_rank": 8, "ffn_rank": 6, "max_length": 32}


@pytest.fixture
def work(tmp_path, monkeypatch, tiny_encoder_dir):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    Path("texts.txt").write_text("\n".join(dict.fromkeys(TEXTS)) + "\n")
    content = {
        "name": "cut",
        "data": {"texts": ["texts.txt"]},
        "teacher": {"model": str(tiny_encoder_dir), "max_length": 32},
        "student": CUT,
        "training": {"batch_size": 16, "learning_rate": 1e-3, "evaluations": 2, "precision": "fp32"},
        "stages": [{"name": "embed", "terms": [{"loss": "embedding_cosine"}, {"loss": "relation", "heads": 8, "layers": "last"}]}],
        "evaluate": [],
        "export": {"onnx": True, "int8": {"max_drop": 100, "min_speedup": 0, "min_invariance": 0.5}},
    }
    Path("c.yaml").write_text(yaml.safe_dump(content))
    return tmp_path


def test_a_student_is_cut_trained_exported_quantised_and_scored(work, call):
    status, out, err = call("check", "c.yaml")
    assert status == 0, err
    shown = " ".join(out.split())
    assert "(layer, 1 − cosine of what goes in and out)" in shown
    status, _, err = call("train", "c.yaml")
    assert status == 0, err
    model = load_encoder("runs/cut/student")
    attention, ffn = 3 * (24 * 32 + 24) + 24 * 32 + 32, 2 * 6 * (32 + 64) + 64 + 32
    counts = model.network.config.vocab_size * 8 + (128 + 2) * 32, 8 * 32 + 64 + 2 * (attention + ffn + 128)
    assert model.parameter_counts() == counts and (model.heads, len(model.layers)) == (3, 2)
    assert "3 of 4 heads a layer, token table of rank 8, feed-forward matrices of rank 6" in shown and f"→ {sum(counts):,} (" in shown
    for place in ("student", "onnx"):
        subject = open_subject(Path("runs/cut") / place)
        assert (subject.embedding_parameters, subject.parameters) == (counts[0], sum(counts))
    vectors = model.encode(TEXTS[:9])
    np.testing.assert_allclose(potstill.Encoder("runs/cut", precision="fp32").encode(TEXTS[:9]), vectors, atol=1e-5)
    assert (potstill.Encoder("runs/cut", precision="int8").encode(TEXTS[:9]) * vectors).sum(1).min() > 0.95
    graph = onnx.load("runs/cut/onnx/model_quantized.onnx")
    rounded = [list(entry.dims) for entry in graph.graph.initializer if entry.data_type == onnx.TensorProto.INT8 and len(entry.dims) == 2]
    assert [8, 32] in rounded and [32, 24] in rounded and [32, 6] in rounded and [6, 64] in rounded
    assert call("evaluate", "runs/cut/student", "--tasks", "cost")[0] == 0


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "too many heads": ({"student.keep_heads": 5}, "student.keep_heads: 5 heads asked of layers that have 4; ask for 4 at most"),
    "a rank that saves nothing": (
        {"student.ffn_rank": 22},
        "student.ffn_rank: at rank 22 the two factors of a 32 × 64 matrix are larger than itself; take 21 at most",
    ),
    "a table that saves nothing": ({"student.embedding_rank": 40}, "student.embedding_rank: at rank 40"),
    "built small and cut": ({"student.width": 16, "student.heads": 2, "student.ffn": 32}, "a student built small has nothing yet to cut"),
    "other heads": (
        {"stages.0.terms": [{"loss": "attention_mse", "layers": "last"}]},
        "the student has 3 heads, the teacher 4; give both as many",
    ),
    "heads that relation heads do not divide": (
        {"stages.0.terms": [{"loss": "relation", "heads": 16, "layers": "last"}]},
        "the student's width 24 does not divide into 16 relation heads",
    ),
    "too many layers": ({"student.layers": 5}, "5 layers asked of a model that has 4"),
    "a mistyped rule": ({"student.rule": "importence"}, "unknown rule 'importence'; did you mean 'importance'?"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_cut_is_told_in_one_line(work, call, case):
    changes, words = REFUSED[case]
    options = [part for key, value in changes.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    status, _, err = call("check", "c.yaml", *options)
    assert status == 2 and words in err and len(err.strip().splitlines()) == 1, err


def test_only_a_bert_is_cut(work, call, tiny_head_dirs):
    status, _, err = call("check", "c.yaml", "--set", f"student.model={tiny_head_dirs['regression']}", "--set", "student.layers=1")
    assert status == 2 and err.count("is for a BERT, and the source is a distilbert") == 3


def test_the_sample_is_of_every_part_of_the_texts():
    assert sample(["a", "b"]) == ["a", "b"]
    found = sample(list(range(10_000)))
    assert len(found) == len(set(found)) == SAMPLE and found == sorted(found) and found[-1] > 9_900
