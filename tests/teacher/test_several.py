"""Several teachers: their logits or vectors are averaged, each from a cache of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from potstill.check.check import check_recipe
from potstill.check.plan import first_student
from potstill.errors import PotstillError
from potstill.models.loading import load_encoder
from potstill.models.output import EMBEDDING, LOGITS, Field
from potstill.recipe.file import parse_recipe
from potstill.run.train import training_set
from potstill.teacher.answers import Teacher
from potstill.teacher.cached import MANIFEST
from potstill.teacher.make import Lesson, make_teacher, teacher_vectors

CPU, ROWS = torch.device("cpu"), np.array([5, 0, 17])


@pytest.fixture
def others(tiny_teachers: dict[str, Path], tiny_encoder_dir: Path, tmp_path: Path) -> dict[str, list[str]]:
    """Folders of two teachers of labels, the second one's in another order, and of two of vectors."""
    second = load_encoder(tiny_encoder_dir, head="classification", labels=["village", "river"], seed=2)
    second.save(tmp_path / "second")
    vectors = load_encoder(tiny_encoder_dir)
    with torch.no_grad():
        for parameter in vectors.network.encoder.layer[1].parameters():
            parameter.mul_(8)
    vectors.save(tmp_path / "vectors")
    return {
        "classification/about": [str(tiny_teachers["classification"]), str(tmp_path / "second")],
        "embed": [str(tiny_encoder_dir), str(tmp_path / "vectors")],
    }


def recipe_of(task: str, folder: Path, models: list[str], **changes: Any) -> dict[str, Any]:
    labelled = task != "embed"
    (folder / "texts.txt").write_text("".join(f"the river {number} and a village\n" for number in range(60)))
    return {
        "name": "several",
        "task": task,
        "data": {"dir": str(folder), **({} if labelled else {"texts": ["texts.txt"], "held_out": 8})},
        "teacher": {"models": models, "max_length": 32},
        "student": {"layers": 2, "max_length": 32},
        "stages": [{"name": "task", "terms": [{"loss": "soft_target" if labelled else "embedding_cosine"}]}],
        "evaluate": [],
    } | changes


@pytest.fixture
def teach(tmp_path: Path, labelled_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Teacher, Any, Any]]:
    """`teach(task, models, field)`: the teacher of a recipe, the recipe's plan, and the recipe."""
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))

    def teach(task: str, models: list[str], field: Field, **changes: Any) -> tuple[Teacher, Any, Any]:
        recipe = parse_recipe(recipe_of(task, labelled_dir if "/" in task else tmp_path, models, **changes))
        plan = check_recipe(recipe)
        student = first_student(recipe, plan)
        tokens = training_set(recipe, plan, student).texts
        assert plan.teacher is not None
        made, _ = make_teacher(plan.teacher, Lesson(recipe, plan.corpus, student, tokens, [frozenset({field})], CPU, torch.float32))
        return made, plan, recipe

    return teach


@pytest.mark.parametrize(("task", "field"), [("classification/about", LOGITS), ("embed", EMBEDDING)])
@pytest.mark.parametrize("cache", [True, False])
def test_what_they_answer_is_averaged(
    task: str, field: Field, cache: bool, others: dict[str, list[str]], teach: Callable[..., Any], tmp_path: Path
) -> None:
    both, plan, _ = teach(task, others[task], field, teacher={"models": others[task], "max_length": 32, "cache": cache})
    texts = [plan.corpus.texts[row] for row in ROWS]
    answers = []
    for folder in others[task]:
        model = load_encoder(folder, head="embed" if task == "embed" else None, max_length=32)
        found = torch.from_numpy(model.encode(texts) if task == "embed" else model.predict(texts))
        answers.append(found if task == "embed" else found[:, [model.labels.index(name) for name in plan.corpus.names]])
    expected = (answers[0] + answers[1]) / 2
    if task == "embed":
        expected = expected / expected.norm(dim=1, keepdim=True)
    torch.testing.assert_close(both(ROWS, CPU)[field], expected, atol=1e-5, rtol=0)
    assert (answers[0] - answers[1]).abs().max() > 1e-2
    assert len(list((tmp_path / "cache").rglob(MANIFEST))) == (2 if cache else 0)


def test_the_teachers_record_is_of_the_mean(others: dict[str, list[str]], teach: Callable[..., Any]) -> None:
    from potstill.evaluation.subject import averaged, torch_subject

    _, plan, _ = teach("classification/about", others["classification/about"], LOGITS)
    models = [each.model for each in plan.teacher.all]
    both = averaged([torch_subject(model, each.folder, each.name) for model, each in zip(models, plan.teacher.all)], plan.teacher.name)
    texts = plan.corpus.held_out[:4]
    first, second = (model.predict(texts) for model in models)
    np.testing.assert_allclose(both.run(texts), (first + second[:, ::-1]) / 2, atol=1e-6)
    assert both.name == "classification and 1 more" and both.parameters == sum(sum(model.parameter_counts()) for model in models)


def test_agreement_is_with_the_mean(others: dict[str, list[str]], teach: Callable[..., Any]) -> None:
    _, plan, _ = teach("embed", others["embed"], EMBEDDING)
    texts = plan.corpus.held_out
    expected = np.mean([load_encoder(folder, max_length=32).encode(texts) for folder in others["embed"]], axis=0)
    np.testing.assert_allclose(teacher_vectors(plan.teacher, texts, CPU, torch.float32), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("teacher", "terms", "said"),
    [
        # What lies inside has no mean over models.
        (
            {},
            [{"loss": "hidden_mse", "layers": "uniform"}],
            "hidden_mse reads hidden_states, which of several teachers have no mean",
        ),
        # Two keys for one thing that disagree.
        ({"model": "other"}, [{"loss": "soft_target"}], "model is 'other' and the first of models"),
        # One of them is no model.
        ({"add": "nowhere/at/all"}, [{"loss": "soft_target"}], "nowhere/at/all: no such folder"),
        # One of them tells other labels apart.
        ({"add": "tagging"}, [{"loss": "soft_target"}], "has a head for tagging, and a term reads logits of classification"),
    ],
)
def test_what_cannot_be_averaged_is_refused(
    teacher: dict[str, str],
    terms: list[dict[str, Any]],
    said: str,
    others: dict[str, list[str]],
    teach: Callable[..., Any],
    tiny_teachers: dict[str, Path],
) -> None:
    task = "classification/about"
    added = teacher.pop("add", None)
    models = [*others[task], *([str(tiny_teachers.get(added, added))] if added else [])]
    with pytest.raises(PotstillError) as told:
        teach(task, models, LOGITS, teacher={"models": models, **teacher}, stages=[{"name": "task", "terms": terms}])
    assert said in str(told.value)


def test_a_model_named_twice(others: dict[str, list[str]], teach: Callable[..., Any]) -> None:
    with pytest.raises(PotstillError, match="twice: name each once"):
        teach("embed", [others["embed"][0]] * 2, EMBEDDING)
