"""A stage on tiny models, for every test of the trainer: its settings, a run of it, and a run that breaks and is taken up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from potstill.data.batches import training_plan
from potstill.losses.base import make_loss
from potstill.models.encoder import EncoderModel
from potstill.objective.objective import Objective
from potstill.objective.schedule import Schedule
from potstill.objective.sizes import TermSpec
from potstill.results import read_metrics
from potstill.training.distillation import Distillation
from potstill.training.trainer import CheckpointScore, Settings, StagePlace, train_stage
from potstill.training.training_set import TrainingSet

TEXTS = [
    f"{a} {b} {c}" for a in ("the river", "the village", "a cat", "an owl") for b in ("sees", "and", "finds", "was") for c in "abcdefgh"
]
LIKE = {"pooling": "mean", "normalize": True, "max_length": 64}


def settings(**changes: Any) -> Settings:
    plain: dict[str, Any] = dict(
        learning_rate=2e-3,
        warmup=0.1,
        schedule="linear",
        weight_decay=0.0,
        max_grad_norm=1.0,
        seed=1,
        precision=torch.float32,
        device=torch.device("cpu"),
        evaluations=4,
    )
    return Settings(**(plain | changes))


def spec(name: str, weight: float = 1.0, pairs=(), **options: Any) -> TermSpec:
    return TermSpec(name, make_loss(name, options), Schedule("constant", weight, weight), pairs)


def train(
    student: EncoderModel, objective: Objective, data: TrainingSet, teacher, run: Path, dev: CheckpointScore | None = None, **more: Any
) -> None:
    """One stage; by default four epochs of batches of 16 rows, or a `plan`."""
    epochs, resume, changes = more.pop("epochs", 4), more.pop("resume", False), more.pop("settings", {})
    plan = more.pop("plan", None) or training_plan(data.texts.lengths, batch_size=16, batch_tokens=4096, epochs=epochs, seed=1)
    place = StagePlace("only", run, run / "checkpoints" / "0-only")
    train_stage(Distillation(student, objective, **more), data, teacher, plan, dev, settings(**changes), place, resume)


def run_twice(make, tmp_path: Path, monkeypatch, **changes: Any) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Weights of the newest checkpoint of an unbroken training of 16 steps, and of one that broke in the last batch of step 11.

    Args:
        changes: of the settings.
    """
    from potstill.training import trainer as module

    accumulate = changes.get("accumulate", 1)
    more: dict[str, Any] = {"epochs": 2 * accumulate, "settings": changes}
    student, objective, data, teacher = make()
    train(student, objective, data, teacher, tmp_path / "whole", **more)
    student, objective, data, teacher = make()
    compute = module.StageTrainer.compute_loss

    def break_at_11(self, *arguments, **options):
        if self.state.global_step == 10 and (accumulate == 1 or self.batch_of_step == (10, accumulate - 2)):
            raise ConnectionError("the machine goes down")
        return compute(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module.StageTrainer, "compute_loss", break_at_11)
        with pytest.raises(ConnectionError):
            train(student, objective, data, teacher, tmp_path / "broken", **more)
    student, objective, data, teacher = make()
    train(student, objective, data, teacher, tmp_path / "broken", resume=True, **more)
    steps = [[line["step"] for line in read_metrics(tmp_path / name)] for name in ("whole", "broken")]
    assert steps[0] == steps[1]
    whole, broken = (load_file(tmp_path / name / "checkpoints/0-only/checkpoint-16/model.safetensors") for name in ("whole", "broken"))
    return whole, broken


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.allclose(one[name], two[name], 0, 0, equal_nan=True) for name in one)
