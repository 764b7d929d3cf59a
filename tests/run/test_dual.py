"""Dual training through the command: what it leaves, what it refuses; the source's sizes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from potstill.models.loading import load_encoder
from potstill.student.transformer import build_student

RECIPE = """
name: dual
task: mlm
data: {{dir: {dir}, texts: [texts.txt], held_out: 8}}
teacher: {{model: {teacher}, cache: false, max_length: 32}}
student: {{layers: 4, width: 16, heads: 4, ffn: 32, max_length: 32, vocabulary: {{method: train, size: 90}}}}
training: {{batch_size: 16, learning_rate: 1.0e-2, epochs: 3, precision: fp32}}
stages:
  - name: dual
    dual: {{project: up}}
    terms: [{{loss: mlm}}]
evaluate: []
export: {{onnx: false}}
"""


@pytest.fixture(scope="module")
def language_model(tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teachers") / "mlm"
    load_encoder(tiny_encoder_dir, head="mlm").save(folder)
    return folder


@pytest.fixture
def recipe(tmp_path: Path, language_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    words = ["river", "village", "and", "the", "singing", "rivers", "boats", "sand"]
    lines = [" ".join(words[(row * 3 + place * place) % 8] for place in range(3 + row % 5)) + f" {row}" for row in range(160)]
    (tmp_path / "texts.txt").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "dual.yaml").write_text(RECIPE.format(dir=tmp_path, teacher=language_model), encoding="utf-8")
    return tmp_path / "dual.yaml"


def test_both_learn_and_the_student_alone_is_kept(recipe: Path, call: Callable[..., Any], tmp_path: Path) -> None:
    status, _, err = call("train", recipe, "--out", tmp_path / "run")
    assert status == 0, err
    lines = [json.loads(line)["terms"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert set(lines[0]) == {"mlm", "mlm-teacher", "shared_projection", "teacher_norm"}
    for name in ("mlm", "mlm-teacher", "shared_projection"):  # a batch has a score of masked pieces: of several, then
        first, last = ([line[name] for line in part] for part in (lines[:5], lines[-5:]))
        assert sum(last) < sum(first), name
    student = load_encoder(tmp_path / "run" / "student", head="mlm")
    assert len(student.layers) == 4 and student.width == 16 and student.network.config.vocab_size == len(student.hf_tokenizer) <= 90


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("student.layers=2", "the student has 2 layers and the teacher 4, and weights are projected layer by layer"),
        ("student.vocabulary=null", "is for a student built small from its teacher, with a vocabulary of its own"),
        ("teacher.model=TINY", "has no head, and a term reads logits of mlm; adapt it with task: mlm first"),
        ("stages.0.dual.probability=1.5", "less than or equal to 1"),
        ("stages.0.terms.0={loss: patient_mse, layers: uniform, project: linear}", "does not go with patient_mse: what it compares with"),
    ],
)
def test_what_it_refuses(setting: str, message: str, recipe: Path, call: Callable[..., Any], tiny_encoder_dir: Path) -> None:
    status, _, err = call("check", recipe, "--set", setting.replace("TINY", str(tiny_encoder_dir)))
    assert status == 2 and message in err and "Traceback" not in err


def test_the_teacher_in_the_checkpoints_needs_room_too(
    recipe: Path, call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))  # enough for the student's alone
    status, _, err = call("train", recipe, "--out", tmp_path / "run")
    assert status != 0 and "the checkpoints needs 2 MB and 1 MB are free" in err


def test_other_layers_do_without_projection(recipe: Path, call: Callable[..., Any]) -> None:
    status, out, err = call("check", recipe, "--set", "student.layers=2", "--set", "stages.0.dual.project=none")
    assert status == 0, err
    assert "a teacher that guesses too, 50% of its words in the student's pieces" in " ".join(out.split()) and "projected" not in out


@pytest.mark.parametrize(("width", "parameters"), [(192, 6_420_672), (96, 1_874_016), (48, 602_928)])
def test_the_sizes_that_the_source_writes_of(width: int, parameters: int, tiny_encoder_dir: Path) -> None:
    from transformers import BertConfig, BertModel

    from potstill.models.encoder import EncoderModel

    config = BertConfig(vocab_size=4928, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    source = EncoderModel(BertModel(config), load_encoder(tiny_encoder_dir).hf_tokenizer)
    sizes = {"layers": 12, "width": width, "heads": 12, "ffn": 4 * width}
    student = build_student(source, **sizes, pooling="mean", normalize=True, max_length=128, seed=0)
    assert sum(parameter.numel() for parameter in student.network.parameters()) == parameters
