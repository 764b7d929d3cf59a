"""Students, data and objectives of the trainer's tests."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from potstill.data.batches import tokenize
from potstill.models.loading import load_encoder
from potstill.models.transformer import build_student, cut_student
from potstill.training.objective import Objective, Sizes
from potstill.training.trainer import StageTrainer
from potstill.training.training_set import TrainingSet

from .stages import LIKE, TEXTS, spec


@pytest.fixture
def parts(tiny_encoder_dir):
    teacher = load_encoder(tiny_encoder_dir)
    student = build_student(teacher, layers=2, width=32, heads=4, ffn=64, seed=3, **LIKE)
    data = TrainingSet(tokenize(student.tokenizer, TEXTS, 64))
    objective = Objective([spec("embedding_mse", 32.0)], Sizes(32, 32), Sizes(32, 32))
    return teacher, student, data, objective


@pytest.fixture
def classes(tiny_encoder_dir):
    """A student with a head, texts, and whether a river or a village is in each."""
    student = cut_student(load_encoder(tiny_encoder_dir, kind="classification", labels=["inside", "outside"], seed=1), [1, 2], **LIKE)
    return student, TrainingSet(tokenize(student.tokenizer, TEXTS, 64), np.repeat([1, 0], 64))


@pytest.fixture
def scaler_on_cpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], list[torch.amp.GradScaler]]:
    """Gives every trainer from the call on a gradient scaler of that scale, and with fp16 autocast, which accelerate does on GPUs alone.

    The call returns the scalers, as they are made.
    """

    def give(scale: float) -> list[torch.amp.GradScaler]:
        made: list[torch.amp.GradScaler] = []
        create = StageTrainer.create_accelerator_and_postprocess

        def with_scaler(self: StageTrainer) -> None:
            create(self)
            made.append(torch.amp.GradScaler("cpu", init_scale=scale))
            self.accelerator.scaler, self.accelerator.native_amp = made[-1], self.args.fp16

        monkeypatch.setattr(StageTrainer, "create_accelerator_and_postprocess", with_scaler)
        return made

    return give
