"""A recipe's teacher: what of its answers is kept, what is run, and what is tokenized."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import potstill.models.encoder as encoder_module
from potstill.check.check import check_recipe, outline_recipe
from potstill.check.plan import first_student
from potstill.corpus.read import read_corpus
from potstill.errors import PotstillError
from potstill.machine.cache import cache_place
from potstill.models.output import LOGITS, Field
from potstill.recipe.file import parse_recipe
from potstill.recipe.recipe import Recipe
from potstill.run.train import training_set
from potstill.teacher.aligned import AlignedTeacher
from potstill.teacher.answers import LiveTeacher, MergedTeacher
from potstill.teacher.budget import cache_bytes
from potstill.teacher.cached import MANIFEST, CachedTeacher
from potstill.teacher.make import Lesson, make_teacher

HIDDEN = [Field("hidden_states", layer) for layer in (1, 2, 4)]
READS = frozenset([LOGITS, *HIDDEN])


def recipe_of(folder: Path, model: Path, max_length: int = 32, **teacher) -> Recipe:
    pairs = [[1, field.layer] for field in HIDDEN]
    return parse_recipe(
        {
            "name": "made",
            "task": "classification/about",
            "data": {"dir": str(folder)},
            "teacher": {"model": str(model), "max_length": 32, **teacher},
            "student": {"layers": 2, "max_length": max_length},
            "stages": [{"name": "task", "terms": [{"loss": "soft_target"}, {"loss": "hidden_mse", "layers": pairs}]}],
        }
    )


@pytest.fixture
def make(tmp_path, monkeypatch, labelled_dir, tiny_teachers):
    """`make(stages, …)`: the teacher, the student's tokens, and the recipe's own line about the cache (in the folder `cache`)."""
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))

    def make(*stages: frozenset[Field], max_length: int = 32, precision: torch.dtype = torch.float32, **teacher):
        recipe = recipe_of(labelled_dir, tiny_teachers["classification"], max_length, **teacher)
        plan = check_recipe(recipe)
        student = first_student(recipe, plan)
        tokens = training_set(recipe, plan, student).texts
        made, segments = make_teacher(plan.teacher, Lesson(recipe, plan.corpus, student, tokens, stages, torch.device("cpu"), precision))
        assert (segments is not None) == isinstance(made, AlignedTeacher)
        return made, tokens, dict(outline_recipe(recipe))["teacher cache"]

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
    tokenize = encoder_module.tokenize
    monkeypatch.setattr(encoder_module, "tokenize", lambda *rest: asked.append(len(rest[1])) or tokenize(*rest))
    alike, tokens, _ = make(READS, cache=False)
    assert alike.texts is tokens and asked.count(96) == 1  # the others are what the check scores the teacher on
    longer, tokens, _ = make(READS, cache=False, max_length=40)
    assert longer.texts is not tokens and asked.count(96) == 3
    aligned, tokens, _ = make(READS, cache=False, max_length=4)
    answer = aligned(np.array([5, 0, 17]), torch.device("cpu"))
    assert answer[HIDDEN[0]].shape[:2] == answer.mask.shape == (3, 4)  # what the student sees, by its segments
    with pytest.raises(PotstillError, match="cut 96 texts into other tokens"):
        make(READS | {Field("attention_scores", 1)}, max_length=4)


def test_each_precision_has_a_cache_of_its_own(make, tmp_path, tiny_teachers, labelled_dir):
    places = {}
    for precision in (torch.float32, torch.bfloat16, torch.float16):
        before = set(places.values())
        make(READS, precision=precision)
        (places[precision],) = {file.parents[1] for file in (tmp_path / "cache").rglob(MANIFEST)} - before
    # Before there was fp16 the names of fp32's and bf16's caches were made of these settings: they are still found.
    texts = read_corpus(recipe_of(labelled_dir, tiny_teachers["classification"])).texts
    for precision, is_bf16 in ((torch.float32, False), (torch.bfloat16, True)):
        settings = {"pooling": None, "max_length": 32, "bf16": is_bf16, "half": False}
        assert places[precision] == cache_place(tiny_teachers["classification"], texts, settings)
