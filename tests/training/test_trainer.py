"""One stage: it learns, keeps its best checkpoint, writes its log, and says when a term breaks."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from potstill.data.batches import tokenize, training_plan
from potstill.errors import PotstillError
from potstill.losses.base import make_loss
from potstill.models.encoder import load_encoder
from potstill.models.output import EncoderOutput
from potstill.models.transformer import build_student
from potstill.results import read_metrics
from potstill.training.agreement import Agreement
from potstill.training.objective import Objective, TermSpec
from potstill.training.teacher import LiveTeacher
from potstill.training.trainer import STATE, Dev, Settings, newest_checkpoint, train_stage

TEXTS = [
    f"{a} {b} {c}" for a in ("the river", "the village", "a cat", "an owl") for b in ("sees", "and", "finds", "was") for c in "abcdefgh"
]


def settings(**changes):
    plain = dict(
        learning_rate=2e-3,
        warmup=0.1,
        schedule="linear",
        weight_decay=0.0,
        max_grad_norm=1.0,
        seed=1,
        bf16=False,
        device=torch.device("cpu"),
    )
    return Settings(**(plain | {"evaluations": 4} | changes))


@pytest.fixture
def parts(tiny_encoder_dir):
    teacher = load_encoder(tiny_encoder_dir)
    student = build_student(teacher, layers=2, width=32, heads=4, ffn=64, pooling="mean", normalize=True, max_length=64, seed=3)
    tokens = tokenize(student.tokenizer, TEXTS, 64)
    plan = training_plan(tokens.lengths, batch_size=16, batch_tokens=4096, epochs=4, seed=1)
    objective = Objective([TermSpec("embedding_mse", make_loss("embedding_mse", {}), 32.0)], 32, 32)
    return teacher, student, tokens, plan, objective


@pytest.mark.parametrize("bf16", [False, True])
def test_a_stage_learns_and_logs(parts, tmp_path, bf16):
    teacher, student, tokens, plan, objective = parts
    agreement = Agreement(TEXTS[::5], teacher.encode(TEXTS[::5]))
    before = agreement(student.encode)
    train_stage(
        student, objective, tokens, LiveTeacher(teacher, tokens), plan, Dev("agreement", agreement), settings(bf16=bf16),
        name="embed", run=tmp_path, folder=tmp_path / "c", resume=False,
    )  # fmt: skip
    lines = read_metrics(tmp_path)
    losses = [line["loss"] for line in lines if "loss" in line]
    devs = [line["dev"]["value"] for line in lines if "dev" in line]
    assert losses[-1] < 0.6 * losses[0] and len(devs) == 4
    # The student left with is the best one, not the last.
    assert agreement(student.encode) == pytest.approx(max(devs), abs=0.5 if bf16 else 1e-4) and max(devs) > before
    last = [line for line in lines if "loss" in line][-1]
    assert last["step"] == len(plan) and last["texts"] == 4 * len(TEXTS) and set(last["terms"]) == {"embedding_mse"}
    assert last["loss"] == pytest.approx(32 * last["terms"]["embedding_mse"], rel=1e-4)


def test_agreement_is_spearman_over_pairs():
    from scipy.stats import spearmanr

    vectors = np.random.default_rng(0).normal(size=(5, 3))
    other = np.random.default_rng(1).normal(size=(5, 2))
    cosine = lambda a, b: float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))  # noqa: E731
    pairs = [(i, j) for i in range(5) for j in range(i + 1, 5)]
    expected = spearmanr([cosine(vectors[i], vectors[j]) for i, j in pairs], [cosine(other[i], other[j]) for i, j in pairs]).statistic
    assert Agreement(list("abcde"), vectors)(lambda texts: other) == pytest.approx(100 * expected)


def test_a_term_that_breaks_is_named_with_its_step(parts, tmp_path):
    _, student, tokens, plan, objective = parts

    def broken(rows, device):
        return EncoderOutput(embedding=torch.full((len(rows), 32), float("nan")))

    with pytest.raises(PotstillError, match=r"step 1: the term embedding_mse is nan"):
        train_stage(
            student, objective, tokens, broken, plan, Dev("x", lambda encode: 0.0), settings(),
            name="embed", run=tmp_path, folder=tmp_path / "c", resume=False,
        )  # fmt: skip


def test_half_a_checkpoint_is_not_taken_up(tmp_path):
    for step, content in [(5, json.dumps({})), (10, '{"cut o'), (15, None)]:
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if content is not None:
            (folder / STATE).write_text(content)
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-5"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-5"]
    assert newest_checkpoint(tmp_path / "nothing") is None
