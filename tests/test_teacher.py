"""A recipe's teacher: what of its answers is kept, what is run, and what is tokenized."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import potstill.data.batches as batches
from potstill import recipe_file
from potstill.errors import PotstillError
from potstill.models.output import LOGITS, Field
from potstill.preflight import preflight
from potstill.student import make_student
from potstill.teach import training_set
from potstill.teacher import load_teacher, make_teacher
from potstill.training.aligned import AlignedTeacher
from potstill.training.cache import CachedTeacher
from potstill.training.cache_budget import cache_bytes
from potstill.training.teacher import LiveTeacher, MergedTeacher

HIDDEN = [Field("hidden_states", layer) for layer in (1, 2, 4)]
READS = frozenset([LOGITS, *HIDDEN])


@pytest.fixture
def make(tmp_path, monkeypatch, labelled_dir, tiny_teachers):
    """`make(stages, …)`: the teacher, the student's tokens, and the recipe's own line about the cache."""
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))

    def make(*stages: frozenset[Field], max_length: int = 32, **teacher):
        pairs = [[1, field.layer] for field in HIDDEN]
        recipe = recipe_file.check(
            {
                "name": "made",
                "task": "classification/about",
                "data": {"dir": str(labelled_dir)},
                "teacher": {"model": str(tiny_teachers["classification"]), "max_length": 32, **teacher},
                "student": {"layers": 2, "max_length": max_length},
                "stages": [{"name": "task", "terms": [{"loss": "soft_target"}, {"loss": "hidden_mse", "layers": pairs}]}],
            }
        )
        facts = preflight(recipe)
        student, model = make_student(recipe, facts), load_teacher(recipe, facts)
        tokens = training_set(recipe, facts, student).texts
        made, segments = make_teacher(recipe, facts, model, student, tokens, stages, torch.device("cpu"), torch.float32)
        assert (segments is not None) == isinstance(made, AlignedTeacher)
        return made, tokens, dict(facts.table)["teacher cache"]

    return make


def gigabytes(tokens, model, fields) -> float:
    return sum(cache_bytes(tokens.lengths, field, model) for field in fields) / 1e9


def test_the_budget_divides_the_fields(make):
    live, tokens, line = make(READS, cache=False)
    assert isinstance(live, LiveTeacher) and len(live.model.layers) == 4 and line == "none: the teacher runs in every step"
    model = live.model
    whole, _, line = make(READS, cache_gb=10 * gigabytes(tokens, model, READS))
    assert isinstance(whole, CachedTeacher) and "about 0.2 MB in" in line and "live" not in line
    part, _, line = make(READS, cache_gb=1.5 * gigabytes(tokens, model, [LOGITS, HIDDEN[2]]))
    assert isinstance(part, MergedTeacher)
    cached, cut = part.parts
    assert cached.reads == {LOGITS, HIDDEN[2]} and cut.reads == {*HIDDEN[:2]} and len(cut.model.layers) == 2
    assert "hidden_states 4, logits; run live in every step: hidden_states 1 2 (about 0.2 MB, above teacher.cache_gb)" in line
    few, _, line = make(READS, cache_gb=1e-9)
    assert isinstance(few, LiveTeacher) and line == "none: about 0.2 MB, above teacher.cache_gb, so the teacher runs in every step"
    rows = np.array([5, 0, 17])
    answers = [teacher(rows, torch.device("cpu")) for teacher in (live, whole, part, few)]
    mask = answers[0].mask[..., None]
    for answer in answers:
        assert answer.values.keys() == READS
        for field in READS:
            torch.testing.assert_close(
                *((one[field] * mask if field in HIDDEN else one[field]) for one in (answer, answers[0])), atol=1e-5, rtol=0
            )


def test_texts_that_both_cut_alike_are_cut_once(make, monkeypatch):
    asked = []
    tokenize = batches.tokenize
    monkeypatch.setattr(batches, "tokenize", lambda *rest: asked.append(len(rest[1])) or tokenize(*rest))
    alike, tokens, _ = make(READS, cache=False)
    assert alike.texts is tokens and asked == [96]
    longer, tokens, _ = make(READS, cache=False, max_length=40)
    assert longer.texts is not tokens and asked == [96, 96, 96]
    aligned, tokens, _ = make(READS, cache=False, max_length=4)
    answer = aligned(np.array([5, 0, 17]), torch.device("cpu"))
    assert answer[HIDDEN[0]].shape[:2] == answer.mask.shape == (3, 4)  # what the student sees, by its segments
    with pytest.raises(PotstillError, match="cut 96 texts into other tokens"):
        make(READS | {Field("attention_scores", 1)}, max_length=4)


def test_each_precision_has_a_cache_of_its_own(tmp_path, tiny_encoder_dir):
    from potstill.recipe import Teacher
    from potstill.teacher import _cache_settings
    from potstill.training.cache import cache_place

    kept = {dtype: _cache_settings(Teacher(model="x"), dtype) for dtype in (torch.float32, torch.bfloat16, torch.float16)}
    assert len({cache_place(tiny_encoder_dir, ["a"], settings) for settings in kept.values()}) == 3
    # What was cached before there was fp16 is still found.
    for dtype in (torch.float32, torch.bfloat16):
        assert kept[dtype] == {"pooling": None, "max_length": 128, "bf16": dtype == torch.bfloat16, "half": False}
