"""What a stage goes on with: the projections, the maps and the memory that the same row of an earlier stage was taught."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from potstill.data.batches import training_plan
from potstill.losses.base import make_loss
from potstill.models.loading import load_encoder
from potstill.objective.objective import Objective
from potstill.objective.schedule import Schedule
from potstill.objective.sizes import Sizes, TermSpec
from potstill.runtime.tokens import tokenize
from potstill.student.transformer import cut_student
from potstill.teacher.answers import LiveTeacher
from potstill.training.distillation import Distillation
from potstill.training.trainer import Settings, StagePlace, StageTrainer, train_stage
from potstill.training.training_set import TrainingSet

SIZES = Sizes(32, 32, 2), Sizes(32, 32, 2)
PAIRS = [(1, 2), (2, 4)]
TEXTS = [f"{a} {b} {c}" for a in ("the river", "the village") for b in ("sees", "and", "finds", "was") for c in "abcdefgh"]


def term(name: str, pairs=PAIRS, project: str = "none", weight: float = 1.0, moving=None, **options) -> TermSpec:
    return TermSpec(name, make_loss(name, options), Schedule("constant", weight, weight), pairs, project, moving or {})


def crd(**changes) -> TermSpec:
    return term("crd", **{"count": 5, "dim": 8, "temperature": 0.07} | changes)


def objective(*terms: TermSpec) -> Objective:
    return Objective(terms, *SIZES, rows=len(TEXTS))


def taken_over(first: TermSpec, second: TermSpec) -> bool:
    """Whether a second stage goes on with what the first one's loss holds."""
    earlier, later = objective(first), objective(term("soft_target", ()), second)
    later.inherit(earlier)
    assert later.terms[1].loss is later.losses[1]
    return later.losses[1].memory is earlier.losses[0].memory and later.losses[1].student_map is earlier.losses[0].student_map


def test_projections_go_on_where_row_and_layers_are_the_same():
    row = lambda: term("hidden_mse", project="linear")  # noqa: E731
    first, second = objective(row()), objective(term("soft_target", ()), row(), term("hidden_mse", [(2, 4)], "linear"))
    second.inherit(first)
    assert [id(weight) for weight in second.projections[1].parameters()] == [id(weight) for weight in first.parameters()]
    assert second.projections[2][0].weight is not first.projections[0][1].weight


def test_two_rows_that_are_the_same_are_taken_over_in_their_order():
    rows = lambda: [crd(), crd(temperature=0.5), crd()]  # noqa: E731
    first, second = objective(*rows()), objective(*rows())
    second.inherit(first)
    assert [one is two for one, two in zip(second.losses, first.losses)] == [True] * 3
    assert len({id(loss) for loss in second.losses}) == 3


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),  # the same row
        ({"weight": 0.25}, True),  # a weight changes nothing that was learnt
        ({"temperature": 0.1}, False),  # scores of another scale
        ({"count": 6}, False),  # another sum
        ({"dim": 4}, False),  # another shape
        ({"form": "nce"}, False),  # another loss
        ({"other_labels": True}, False),  # other negatives
        ({"tokens": "cls"}, False),  # other vectors
        ({"pairs": [(2, 4)]}, False),  # other layers
        ({"moving": {"temperature": Schedule("linear", 0.07, 1.0)}}, False),  # an option that moves here alone
    ],
)
def test_a_loss_goes_on_where_its_options_are_the_same(change, expected):
    assert taken_over(crd(), crd(**change)) is expected


def test_an_option_that_moves_in_both_stages_is_each_stages_own():
    move = lambda *ends: {"temperature": Schedule("linear", *ends)}  # noqa: E731
    earlier = objective(crd(moving=move(1.0, 0.5), temperature=1.0))
    later = objective(crd(moving=move(0.5, 0.1), temperature=0.5))
    later.inherit(earlier)
    for stage, ends in ((earlier, (1.0, 0.5)), (later, (0.5, 0.1))):
        for progress, expected in zip((0.0, 1.0), ends):
            stage.set_progress(progress)
            assert stage.losses[0].temperature == pytest.approx(expected)


def settings(seed: int) -> Settings:
    return Settings(
        learning_rate=2e-3,
        warmup=0.0,
        schedule="linear",
        weight_decay=0.0,
        max_grad_norm=1.0,
        seed=seed,
        precision=torch.float32,
        device=torch.device("cpu"),
        evaluations=2,
    )


def two_stages(folder: Path, tiny_encoder_dir: Path, resume: bool = False) -> dict[str, torch.Tensor]:
    """CoDIR's loss alone, then beside another, an epoch each; what the second stage's loss began with."""
    torch.manual_seed(4)
    teacher = load_encoder(tiny_encoder_dir)
    student = cut_student(teacher, [1, 3], pooling="mean", normalize=True, max_length=64)
    data = TrainingSet(tokenize(student.tokenizer, TEXTS, 64))
    first, second = objective(crd()), objective(term("embedding_mse", ()), crd(weight=0.5))
    second.inherit(first)
    began: dict[str, torch.Tensor] = {}
    for number, stage in enumerate((first, second)):
        if number:
            began = {name: value.clone() for name, value in stage.losses[1].state_dict().items()}
        plan = training_plan(data.texts.lengths, batch_size=16, batch_tokens=4096, epochs=1, seed=number)
        place = StagePlace(f"stage-{number}", folder, folder / "checkpoints" / f"{number}-stage")
        live = LiveTeacher(teacher, data.texts, stage.teacher_reads)
        train_stage(Distillation(student, stage), data, live, plan, None, settings(number), place, resume)
    return began


def saved(folder: Path, stage: int) -> dict[str, torch.Tensor]:
    return load_file(folder / "checkpoints" / f"{stage}-stage" / "checkpoint-4" / "model.safetensors")


def loss_of(state: dict[str, torch.Tensor], number: int) -> dict[str, torch.Tensor]:
    place = f"objective.losses.{number}."
    return {name.removeprefix(place): value for name, value in state.items() if name.startswith(place)}


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.allclose(one[name], two[name], 0, 0, equal_nan=True) for name in one)


def test_a_second_stage_begins_with_the_maps_and_the_memory_of_the_first_also_after_a_break(tmp_path, tiny_encoder_dir, monkeypatch):
    whole = tmp_path / "whole"
    began = two_stages(whole, tiny_encoder_dir)
    assert {"student_map.weight", "teacher_map.weight", "memory", "classes", "log_z"} == began.keys()
    assert same(began, loss_of(saved(whole, 0), 0)) and not same(began, loss_of(saved(whole, 1), 1))

    compute = StageTrainer.compute_loss

    def break_in_the_second(self, *arguments, **more):
        if len(self.objective.terms) == 2 and self.state.global_step == 3:
            raise ConnectionError("the machine goes down")
        return compute(self, *arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(StageTrainer, "compute_loss", break_in_the_second)
        with pytest.raises(ConnectionError):
            two_stages(tmp_path / "broken", tiny_encoder_dir)
    assert same(began, two_stages(tmp_path / "broken", tiny_encoder_dir, resume=True))
    assert same(saved(whole, 1), saved(tmp_path / "broken", 1))
