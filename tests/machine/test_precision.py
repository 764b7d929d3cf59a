"""Where fp16 and bf16 may be had, what fp16 loses without a scaler, and a stage with one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from helpers.stages import TEXTS, run_twice, same, spec, train
from potstill.errors import PotstillError
from potstill.machine import hardware
from potstill.machine.precision import autocast, choose_precision
from potstill.models.loading import load_encoder
from potstill.models.output import EMBEDDING, EncoderOutput
from potstill.objective.objective import Objective
from potstill.objective.sizes import Sizes
from potstill.results import read_metrics
from potstill.teacher.answers import LiveTeacher
from potstill.training.agreement import Agreement
from potstill.training.distillation import Distillation
from potstill.training.perturbation import Perturbation
from potstill.training.trainer import CheckpointScore

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_what_is_asked_for_and_what_there_is(monkeypatch):
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        assert choose_precision(name, CPU) == dtype == choose_precision(name, CUDA)
    assert choose_precision("fp16", CUDA) == torch.float16
    with pytest.raises(PotstillError, match="training.precision: fp16 is asked for, and its gradient scaler needs a GPU; set it to auto"):
        choose_precision("fp16", CPU)
    for vendor, flags, dtype in (
        ("GenuineIntel", "avx512f avx512_bf16 amx_bf16", torch.bfloat16),
        ("GenuineIntel", "avx512f avx512_bf16", torch.float32),  # without tiles it is slower than fp32
        ("AuthenticAMD", "avx512f avx512_bf16", torch.bfloat16),
        ("AuthenticAMD", "avx2", torch.float32),
    ):
        monkeypatch.setattr(hardware, "cpuinfo", lambda vendor=vendor, flags=flags: [("vendor_id", vendor), ("flags", flags)])
        assert choose_precision("auto", CPU) == dtype


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.float16])
def test_autocast_is_to_the_precision(precision):
    with autocast(CPU, precision):
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == precision


BATCH = {
    "input_ids": torch.tensor([[2, 9, 10, 11, 3], [2, 12, 3, 0, 0]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
    "rows": torch.tensor([0, 1]),
}


def gradient(folder: Path, precision: torch.dtype, scale: float, perturbation: Perturbation | None = None) -> tuple[Tensor, list[Tensor]]:
    """Of the first layer's matrices, unscaled, after a batch whose loss weighs next to nothing; and every pass's embedding output."""
    objective = Objective([spec("embedding_mse", 1e-6)], Sizes(32, 32), Sizes(32, 32))
    model = Distillation(load_encoder(folder), objective, perturbation).train()
    model.student.set_dropout(0.0)
    outputs: list[Tensor] = []
    model.student.layers[0].register_forward_pre_hook(lambda module, inputs: outputs.append(inputs[0].detach()))
    vectors = nn.functional.normalize(torch.randn(2, 32, generator=torch.Generator().manual_seed(5)), dim=-1)
    optimizer, scaler = torch.optim.SGD(model.parameters(), 0.1), torch.amp.GradScaler("cpu", init_scale=scale)
    with autocast(CPU, precision):
        loss, _ = model(BATCH, EncoderOutput(BATCH["attention_mask"], {EMBEDDING: vectors}), scale=scale)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    matrices = [parameter.grad for parameter in model.student.layers[0].parameters() if parameter.dim() == 2]
    return torch.cat([matrix.flatten() for matrix in matrices if matrix is not None]), outputs


def test_a_small_gradient_is_lost_in_fp16_without_a_scaler(tiny_encoder_dir):
    exact, _ = gradient(tiny_encoder_dir, torch.float32, 1.0)
    assert 1e-10 < exact.abs().max() < 6e-8  # below half of what fp16 can hold at its smallest
    lost, _ = gradient(tiny_encoder_dir, torch.float16, 1.0)
    kept, _ = gradient(tiny_encoder_dir, torch.float16, 65536.0)
    assert not lost.any()
    assert (kept - exact).norm() < 0.05 * exact.norm()
    bf16, _ = gradient(tiny_encoder_dir, torch.bfloat16, 1.0)
    assert (bf16 - exact).norm() < 0.2 * exact.norm()


def test_so_is_what_the_layers_add_to_a_small_perturbation(tiny_encoder_dir):
    def step(precision: torch.dtype, scale: float) -> Tensor:
        before, after = gradient(tiny_encoder_dir, precision, scale, Perturbation(normalize="l2"))[1]
        return after - before

    exact = step(torch.float32, 1.0)
    # Beside the matrices, which multiply in fp16, the residual path brings a gradient back in fp32.
    lost, kept = ((step(torch.float16, scale) - exact).norm() / exact.norm() for scale in (1.0, 65536.0))
    assert kept < 0.01 and lost > 5 * kept
    # A scale at which the gradient overflows: the batch is taken as it is.
    assert not step(torch.float16, 2.0**60).any()


def learn(parts: Any, run: Path, **changes: Any) -> list[dict[str, Any]]:
    """A stage on embeddings; the lines of its log."""
    teacher, student, data, objective = parts
    agreement = Agreement(TEXTS[::5], teacher.encode(TEXTS[::5]))
    device = changes.get("device", CPU)
    live = LiveTeacher(teacher.to(device), data.texts, [EMBEDDING], torch.float16)
    dev = CheckpointScore("agreement", lambda model: agreement(model.encode))
    plan = changes.pop("plan", None)
    train(student, objective, data, live, run, dev, plan=plan, settings={"precision": torch.float16, **changes})
    assert all(torch.isfinite(value).all() for value in student.state_dict().values())
    return read_metrics(run)


def losses(lines: list[dict[str, Any]]) -> list[float]:
    return [line["loss"] for line in lines if "loss" in line]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_stage_learns_in_fp16(parts, tmp_path, scaler_on_cpu, accumulate):
    scaler_on_cpu(65536.0)
    found = losses(learn(parts, tmp_path, accumulate=accumulate))
    assert found[-1] < 0.75 * found[0]
    assert (next((tmp_path / "checkpoints" / "0-only").glob("checkpoint-*")) / "scaler.pt").is_file()


def test_steps_that_overflow_are_skipped_until_the_scale_fits(parts, tmp_path, scaler_on_cpu):
    scalers = scaler_on_cpu(2.0**40)
    before = {name: value.clone() for name, value in parts[1].state_dict().items()}
    learn(parts, tmp_path / "one", plan=[np.arange(16)])
    assert same(before, dict(parts[1].state_dict())) and scalers[0].get_scale() == 2.0**39
    found = losses(learn(parts, tmp_path / "all"))
    assert found[-1] < 0.75 * found[0] and scalers[1].get_scale() < 2.0**39


def test_a_loss_that_is_not_finite_is_still_stopped(parts, tmp_path, scaler_on_cpu):
    scaler_on_cpu(65536.0)
    _, student, data, objective = parts

    def broken(rows, device, inputs=None):
        return EncoderOutput(values={EMBEDDING: torch.full((len(rows), 32), float("inf"))})

    with pytest.raises(PotstillError, match="step 1: the term embedding_mse is inf"):
        train(student, objective, data, broken, tmp_path, settings={"precision": torch.float16})


def test_a_break_in_fp16_changes_nothing(parts, tiny_encoder_dir, tmp_path, monkeypatch, scaler_on_cpu):
    scalers = scaler_on_cpu(2.0**36)
    data = parts[2]

    def make():
        from potstill.student.transformer import build_student

        teacher = load_encoder(tiny_encoder_dir)
        student = build_student(teacher, layers=2, width=32, heads=4, ffn=64, seed=3, pooling="mean", normalize=True, max_length=64)
        live = LiveTeacher(teacher, data.texts, [EMBEDDING], torch.float16)
        return student, Objective([spec("embedding_mse", 32.0)], Sizes(32, 32), Sizes(32, 32)), data, live

    whole, broken = run_twice(make, tmp_path, monkeypatch, precision=torch.float16)
    assert same(whole, broken)
    # Some steps were skipped; the scale went on where it was.
    assert len(scalers) == 3 and scalers[2].get_scale() == scalers[0].get_scale() < 2.0**36


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_stage_learns_in_fp16_on_a_gpu(parts, tmp_path):
    lines = learn(parts, tmp_path, device=CUDA, accumulate=2)
    found = losses(lines)
    assert found[-1] < 0.75 * found[0]
    assert (next((tmp_path / "checkpoints" / "0-only").glob("checkpoint-*")) / "scaler.pt").is_file()
