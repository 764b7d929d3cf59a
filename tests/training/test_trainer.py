"""One stage: it learns from teachers and labels, keeps its best checkpoint, goes on where it stopped, and says when a term breaks."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from helpers.stages import LIKE, TEXTS, run_twice, same, spec, train
from potstill.data.masking import mask_tokens
from potstill.errors import PotstillError
from potstill.losses.base import make_loss
from potstill.models.loading import load_encoder
from potstill.models.output import EMBEDDING, EncoderOutput, Field
from potstill.models.recording import IMPLEMENTATION
from potstill.objective.objective import Objective
from potstill.objective.sizes import Sizes, TermSpec
from potstill.results import read_metrics
from potstill.runtime.tokens import tokenize
from potstill.student.low_rank import factor
from potstill.student.transformer import build_student, cut_student
from potstill.teacher.answers import LiveTeacher, prepare_teacher
from potstill.training.agreement import Agreement
from potstill.training.perturbation import Perturbation
from potstill.training.trainer import CheckpointScore, StageTrainer
from potstill.training.training_set import TrainingSet


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_stage_learns_and_logs(parts, tmp_path, precision):
    teacher, student, data, objective = parts
    agreement = Agreement(TEXTS[::5], teacher.encode(TEXTS[::5]))
    before = agreement(student.encode)
    live = LiveTeacher(teacher, data.texts, [EMBEDDING])
    dev = CheckpointScore("agreement", lambda model: agreement(model.encode))
    train(student, objective, data, live, tmp_path, dev, settings={"precision": precision})
    lines = read_metrics(tmp_path)
    losses = [line["loss"] for line in lines if "loss" in line]
    devs = [line["dev"]["value"] for line in lines if "dev" in line]
    assert losses[-1] < 0.6 * losses[0] and len(devs) == 4
    # The student left with is the best one, not the last.
    assert agreement(student.encode) == pytest.approx(max(devs), abs=1e-4 if precision == torch.float32 else 0.5) and max(devs) > before
    last = [line for line in lines if "loss" in line][-1]
    assert last["step"] == 32 and last["texts"] == 4 * len(TEXTS) and set(last["terms"]) == {"embedding_mse"}
    assert last["loss"] == pytest.approx(32 * last["terms"]["embedding_mse"], rel=1e-4)


def test_labels_alone_teach_a_classifier(classes, tmp_path):
    student, data = classes
    student.set_dropout(0.0)
    train(student, Objective([spec("hard_label")], Sizes(0, 32, 2)), data, None, tmp_path, epochs=6, settings={"learning_rate": 5e-3})
    assert (student.predict(TEXTS).argmax(1) == data.labels).mean() > 0.9
    assert not student.training


def test_without_a_dev_score_the_last_weights_are_kept(classes, tmp_path):
    student, data = classes
    train(student, Objective([spec("hard_label")], Sizes(0, 32, 2)), data, None, tmp_path, epochs=1)
    saved = load_file(tmp_path / "checkpoints" / "0-only" / "checkpoint-8" / "model.safetensors")
    for name, value in student.state_dict().items():
        torch.testing.assert_close(saved[f"student.{name}"], value, atol=0, rtol=0)
    assert not [line for line in read_metrics(tmp_path) if "dev" in line]


def test_several_teachers_terms_and_labels_under_perturbation(classes, tiny_encoder_dir, tmp_path):
    student, data = classes
    model = load_encoder(tiny_encoder_dir, head="classification", labels=["inside", "outside"], seed=2)
    terms = [
        spec("soft_target"),
        spec("hard_label"),
        spec("hidden_mse", pairs=[(0, 0), (2, 4)]),
        spec("attention_mse", pairs=[(1, 2)]),
        spec("cos_nce", pairs=[(2, 4)], mode="cls", negatives="train", count=10),
    ]
    objective = Objective(terms, Sizes(0, 32, 2), Sizes(0, 32, 2), rows=len(data))
    live = LiveTeacher(prepare_teacher(model, objective.teacher_reads), data.texts, objective.teacher_reads)
    asked: list[np.ndarray] = []

    def counted(rows, device, inputs=None):
        asked.append(rows)
        return live(rows, device, inputs)

    train(student, objective, data, counted, tmp_path, epochs=1, perturbation=Perturbation())
    # Eight steps: once for the batch, whatever the passes, and once for the negatives, none of which is in the batch.
    assert len(asked) == 16
    for batch, negatives in zip(asked[::2], asked[1::2]):
        assert len(negatives) == 10 == len(set(negatives)) and not set(batch) & set(negatives)
    assert set([line for line in read_metrics(tmp_path) if "loss" in line][-1]["terms"]) == set(objective.names)


@pytest.mark.parametrize("form", ["infonce", "nce"])
def test_a_memory_bank_survives_a_break(parts, tmp_path, monkeypatch, tiny_encoder_dir, form):
    data = parts[2]

    def make():
        torch.manual_seed(4)
        teacher = load_encoder(tiny_encoder_dir)
        student = cut_student(teacher, [1, 3], **LIKE)
        terms = [spec("crd", pairs=[(1, 2), (2, 4)], form=form, count=5, dim=8)]
        objective = Objective(terms, Sizes(32, 32), Sizes(32, 32), rows=len(data))
        return student, objective, data, LiveTeacher(teacher, data.texts, objective.teacher_reads)

    whole, broken = run_twice(make, tmp_path, monkeypatch)
    assert same(whole, broken)
    assert {"objective.losses.0.memory", "objective.losses.0.log_z", "objective.losses.0.student_map.weight"} <= whole.keys()


@pytest.mark.parametrize("rank", [None, 8])
def test_a_language_model_masks_alike_after_a_break(tiny_encoder_dir, tmp_path, monkeypatch, rank):
    def make():
        student = load_encoder(tiny_encoder_dir, head="mlm", seed=1)
        if rank:  # its output matrix is then the narrow table
            factor(student, embedding=rank)
        masking = lambda ids, rng: mask_tokens(ids, [0, 1, 2, 3, 4], 4, 100, rng)  # noqa: E731
        data = TrainingSet(tokenize(student.tokenizer, TEXTS, 64), masking=masking)
        return student, Objective([spec("mlm")], Sizes(0, 32, int(student.network.config.vocab_size))), data, None

    whole, broken = run_twice(make, tmp_path, monkeypatch)
    assert same(whole, broken)
    losses = [line["loss"] for line in read_metrics(tmp_path / "whole") if "loss" in line]
    assert losses[-1] < losses[0]


def test_one_shared_projection_is_saved_and_loaded_as_one(parts, tmp_path, monkeypatch, tiny_encoder_dir):
    """Safetensors refuses the same memory under two names: neither a shared matrix nor a tied head may stop a run."""
    data = parts[2]

    def make():
        torch.manual_seed(4)
        teacher = load_encoder(tiny_encoder_dir)
        student = build_student(teacher, layers=2, width=16, heads=4, ffn=32, seed=1, **LIKE)
        row = TermSpec("hidden_mse", make_loss("hidden_mse", {}), pairs=[(0, 0), (1, 2), (2, 4)], project="shared")
        objective = Objective([row], Sizes(16, 16), Sizes(32, 32), rows=len(data))
        return student, objective, data, LiveTeacher(teacher, data.texts, objective.teacher_reads)

    whole, broken = run_twice(make, tmp_path, monkeypatch)
    assert same(whole, broken)


def test_a_stage_leaves_no_trainer_behind(classes, tmp_path):
    """Its optimizer would stay beside the next stage's, and of several processes threads that abort Python at its end."""
    student, data = classes

    def trainers():
        return {id(each) for each in gc.get_objects() if type(each) is StageTrainer}

    before = trainers()  # of tests that broke theirs
    gc.disable()
    try:
        train(student, Objective([spec("hard_label")], Sizes(0, 32, 2)), data, None, tmp_path)
        assert trainers() <= before
    finally:
        gc.enable()


def test_a_finished_stage_taken_up_again_changes_nothing(classes, tmp_path):
    student, data = classes
    objective = Objective([spec("hard_label")], Sizes(0, 32, 2))
    train(student, objective, data, None, tmp_path, epochs=1)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    torch.nn.init.normal_(student.network.classifier.weight)
    train(student, objective, data, None, tmp_path, epochs=1, resume=True)
    assert same(before, dict(student.state_dict()))


def test_a_term_that_breaks_is_named_with_its_step_and_its_batch_is_kept(parts, tmp_path):
    _, student, data, _ = parts
    objective = Objective([spec("embedding_cosine"), spec("embedding_mse")], Sizes(32, 32), Sizes(32, 32))
    calls = []

    def broken(rows, device, inputs=None):
        calls.append(rows)
        fill = float("inf") if len(calls) == 3 else 0.1
        return EncoderOutput(values={EMBEDDING: torch.full((len(rows), 32), fill)})

    objective.losses[0].forward = lambda student, teacher, batch: student.sum() * 0  # type: ignore[method-assign]
    with pytest.raises(PotstillError, match=r"step 3: the term embedding_mse is inf; its batch is in .*; lower the learning rate"):
        train(student, objective, data, broken, tmp_path)
    (file,) = tmp_path.glob("broken-batch-3.safetensors")
    kept = load_file(file)
    np.testing.assert_array_equal(kept["rows"].numpy(), calls[2])
    np.testing.assert_array_equal(kept["input_ids"].numpy(), data.texts.pad(calls[2], 0)["input_ids"])


def test_reads_from_inside_attention_are_chosen_stage_by_stage(parts, tmp_path):
    """A stage that reads queries and a next one that does not: the student's attention is told each time."""
    teacher, student, data, plain = parts
    terms = [spec("relation", pairs=[(2, 4)], heads=4, of="values")]
    objective = Objective(terms, Sizes(32, 32), Sizes(32, 32))
    live = LiveTeacher(prepare_teacher(teacher, [*objective.teacher_reads, EMBEDDING]), data.texts, [Field("values", 4), EMBEDDING])
    train(student, objective, data, live, tmp_path / "first", epochs=1)
    assert student.backbone.config._attn_implementation == IMPLEMENTATION
    train(student, plain, data, live, tmp_path / "second", epochs=1)
    assert student.backbone.config._attn_implementation == "eager"
    student.save(tmp_path / "saved")
    np.testing.assert_allclose(load_encoder(tmp_path / "saved").encode(TEXTS[:3]), student.encode(TEXTS[:3]), atol=1e-5)
    assert IMPLEMENTATION not in (tmp_path / "saved" / "config.json").read_text()
