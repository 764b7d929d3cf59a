"""Batches added up to a step: the mean of their losses, in whatever counts steps, and through a break."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from helpers.stages import LIKE, TEXTS, run_twice, same, spec, train
from potstill.models.loading import load_encoder
from potstill.objective.objective import Objective
from potstill.objective.schedule import Schedule
from potstill.objective.sizes import Sizes, TermSpec
from potstill.results import read_metrics
from potstill.runtime.tokens import tokenize
from potstill.student.transformer import cut_student
from potstill.teacher.answers import LiveTeacher, prepare_teacher
from potstill.training.perturbation import Perturbation
from potstill.training.training_set import TrainingSet


def labelled(folder, dropout: float = 0.0) -> tuple[Any, TrainingSet]:
    student = cut_student(load_encoder(folder, head="classification", labels=["inside", "outside"], seed=1), [1, 2], **LIKE)
    student.set_dropout(dropout)
    return student, TrainingSet(tokenize(student.tokenizer, TEXTS, 64), np.repeat([1, 0], 64))


def answers(folder, data: TrainingSet, objective: Objective) -> LiveTeacher:
    model = load_encoder(folder, head="classification", labels=["inside", "outside"], seed=2)
    return LiveTeacher(prepare_teacher(model, objective.teacher_reads), data.texts, objective.teacher_reads)


def test_two_batches_of_8_are_one_of_16(tiny_encoder_dir, tmp_path):
    rows = np.random.default_rng(3).permutation(len(TEXTS))[:104]
    # Seven steps: the last is 8 rows, one batch alone of the two that a step takes.
    plans = {1: [rows[start : start + 16] for start in range(0, 104, 16)], 2: [rows[start : start + 8] for start in range(0, 104, 8)]}
    weights, logs = {}, {}
    for accumulate, plan in plans.items():
        student, data = labelled(tiny_encoder_dir)
        rising = TermSpec("soft_target", spec("soft_target").loss, Schedule("linear", 0.2, 2.0))
        objective = Objective([rising, spec("hard_label", 0.5)], Sizes(0, 32, 2), Sizes(0, 32, 2))
        run, changes = tmp_path / str(accumulate), {"accumulate": accumulate, "learning_rate": 1e-3, "warmup": 0.3}
        train(student, objective, data, answers(tiny_encoder_dir, data, objective), run, plan=plan, settings=changes)
        weights[accumulate], logs[accumulate] = student.state_dict(), [line for line in read_metrics(run) if "loss" in line]
    for name, value in weights[1].items():
        # A key's bias has no gradient but rounding: attention does not change when all keys do. Adam makes steps of it.
        if "key.bias" not in name:
            torch.testing.assert_close(weights[2][name], value, atol=1e-5, rtol=0)
    assert [line["step"] for line in logs[2]] == list(range(1, 8)) and logs[2][-1]["texts"] == 104
    for one, two in zip(logs[1], logs[2], strict=True):
        assert (one["step"], one["texts"], one["learning_rate"]) == (two["step"], two["texts"], two["learning_rate"])
        assert two["loss"] == pytest.approx(one["loss"], abs=1e-5) and two["terms"] == pytest.approx(one["terms"], abs=1e-5)


def test_a_break_within_a_step_changes_nothing(tiny_encoder_dir, tmp_path, monkeypatch):
    drawn: list[tuple[int, ...]] = []

    def make():
        torch.manual_seed(4)
        student, data = labelled(tiny_encoder_dir, dropout=0.1)
        terms = [spec("soft_target"), spec("cos_nce", pairs=[(2, 4)], mode="cls", negatives="train", count=10)]
        objective = Objective(terms, Sizes(0, 32, 2), Sizes(0, 32, 2), rows=len(data))
        live = answers(tiny_encoder_dir, data, objective)

        def counted(rows, device, inputs=None):
            if len(rows) == 10:
                drawn.append(tuple(rows))
            return live(rows, device, inputs)

        return student, objective, data, counted

    whole, broken = run_twice(make, tmp_path, monkeypatch, accumulate=2)
    assert same(whole, broken)
    # 16 steps of two batches each; 21 till the break in the second batch of step 11; again from the checkpoint at step 8.
    assert len(drawn) == 32 + 21 + 16
    assert len(set(drawn[:32])) == 32  # each batch draws its own, also within a step
    assert drawn[32:53] == drawn[:21] and drawn[53:] == drawn[16:32]
    state = json.loads((tmp_path / "whole" / "checkpoints" / "0-only" / "checkpoint-16" / "trainer_state.json").read_text())
    assert state["max_steps"] == 16
    assert read_metrics(tmp_path / "broken")[-1]["texts"] == 4 * len(TEXTS)


def steps_of_perturbation(folder, run, accumulate: int, precision: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """What is added to the embedding output of each of two batches, while the weights stay."""
    student, data = labelled(folder)
    outputs: list[torch.Tensor] = []
    student.layers[0].register_forward_pre_hook(lambda module, inputs: outputs.append(inputs[0].detach()))
    objective = Objective([spec("soft_target"), spec("hard_label")], Sizes(0, 32, 2), Sizes(0, 32, 2))
    changes = {"accumulate": accumulate, "learning_rate": 1e-30, "precision": precision}
    plan = [np.arange(40, 48), np.arange(60, 72)]
    more = {"plan": plan, "settings": changes, "perturbation": Perturbation(100.0)}
    train(student, objective, data, answers(folder, data, objective), run, **more)
    assert len(outputs) == 4
    return [outputs[1] - outputs[0], outputs[3] - outputs[2]]


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("scale", [None, 65536.0])
def test_a_perturbation_is_neither_scaled_nor_divided(tiny_encoder_dir, tmp_path, scaler_on_cpu, accumulate, scale):
    plain = steps_of_perturbation(tiny_encoder_dir, tmp_path / "plain", 1)
    assert min(step.abs().max() for step in plain) > 1e-3
    if scale is not None:
        scaler_on_cpu(scale)
    for step, expected in zip(steps_of_perturbation(tiny_encoder_dir, tmp_path / "other", accumulate), plain, strict=True):
        torch.testing.assert_close(step, expected, atol=1e-6, rtol=1e-5)


def test_a_perturbation_in_fp16_is_that_of_fp32(tiny_encoder_dir, tmp_path, scaler_on_cpu):
    plain = steps_of_perturbation(tiny_encoder_dir, tmp_path / "plain", 1)
    scaler_on_cpu(65536.0)
    for step, expected in zip(steps_of_perturbation(tiny_encoder_dir, tmp_path / "half", 2, torch.float16), plain, strict=True):
        assert (step - expected).norm() < 0.02 * expected.norm()
