"""What a check finds out of the models that a recipe names, before any work."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from helpers.families import save_family
from potstill.check.check import check_recipe, outline_recipe
from potstill.check.models import NOT_EXPORTED
from potstill.errors import PotstillError, PotstillWarning
from potstill.machine import precision as machine
from potstill.models.encoder import EncoderModel
from potstill.recipe.file import read_recipe

VECTORS, STATES = {"loss": "embedding_cosine"}, {"loss": "hidden_mse", "layers": "last"}
INSIDE = {"loss": "attention_mse", "layers": "last"}


@pytest.fixture
def checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Checks a recipe of some terms: its teacher is of a family, its student of another or cut from the teacher."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    Path("texts.txt").write_text("".join(f"the village and river number {n}\n" for n in range(60)))

    def check(teacher: str, *terms: dict[str, Any], student: str | None = None, changes: list[str] | None = None, **training: Any) -> Any:
        for family in {teacher, student} - {None}:
            if not Path(str(family)).exists():
                save_family(str(family), Path(str(family)))
        recipe = {
            "name": "tried",
            "task": "embed",
            "data": {"dir": ".", "texts": ["texts.txt"], "held_out": 8},
            "teacher": {"model": teacher},
            "student": {"layers": 1, "max_length": 16} | ({"model": student} if student else {}),
            "training": training,
            "stages": [{"name": "one", "terms": list(terms)}],
            "evaluate": [],
            "export": {"onnx": False},
        }
        Path("recipe.yaml").write_text(yaml.safe_dump(recipe))
        return check_recipe(read_recipe("recipe.yaml", changes or []), "recipe.yaml")

    return check


@pytest.mark.parametrize("family", ["albert", "xlm", "flaubert"])
def test_layers_that_are_shared_or_lie_apart_cannot_be_cut_and_can_teach(family: str, checked: Callable[..., Any]) -> None:
    for changes in ([], ["student.width=8", "student.heads=2", "student.ffn=16"]):  # cut, or built small
        with pytest.raises(
            PotstillError, match=f"recipe.yaml: student: the 2 layers of this {family} are shared or lie apart, and .* can teach"
        ):
            checked(family, VECTORS, changes=changes)
    assert checked(family, VECTORS, student="bert").teacher.model.encode(["the river"]).shape == (1, 16)
    with pytest.raises(PotstillError, match="stages.one.terms.0: "):
        checked(family, INSIDE, student="bert")
    plan = checked(family, STATES, student="bert") if family == "albert" else None
    assert plan is None or [term.pairs for term in plan.stages[0].terms] == [[(1, 2)]]


@pytest.mark.parametrize(
    ("family", "words"),
    [
        ("t5", "a t5 has a decoder beside its encoder"),
        ("funnel", "funnel"),  # its layers are in blocks
    ],
)
def test_other_networks_are_refused_as_students(family: str, words: str, checked: Callable[..., Any]) -> None:
    with pytest.raises(PotstillError, match=words):
        checked(family, VECTORS)


@pytest.mark.parametrize("family", ["longformer", "xlnet"])
def test_a_student_that_cannot_be_exported_is_told_before_it_is_trained(family: str, checked: Callable[..., Any]) -> None:
    assert family in NOT_EXPORTED
    with pytest.raises(PotstillError, match=f"export.onnx: a {family} cannot be exported by torch.onnx; set export.onnx=false"):
        checked(family, VECTORS, student=family, changes=["export.onnx=true"])
    checked(family, VECTORS, student="bert", changes=["export.onnx=true"])  # as a teacher it may


def test_weights_that_are_not_the_teacher_s_are_told_by_the_check(checked: Callable[..., Any], tmp_path: Path) -> None:
    checked("bert", VECTORS)
    weights = load_file(tmp_path / "bert" / "model.safetensors")
    save_file({"x": weights["embeddings.word_embeddings.weight"]}, tmp_path / "bert" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(PotstillError, match="^bert: lacks [0-9]+ tensors of a BertModel"):
        checked("bert", VECTORS)


def test_each_model_is_loaded_once(checked: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from potstill.models import loading

    seen: Counter[str] = Counter()
    plain = loading.load_encoder

    def counted(name: str | Path, **settings: Any) -> Any:
        seen[str(name)] += 1
        return plain(name, **settings)

    monkeypatch.setattr(loading, "load_encoder", counted)
    checked("bert", VECTORS)
    assert seen == {"bert": 1}
    checked("bert", VECTORS, student="distilbert")
    assert seen == {"bert": 2, "distilbert": 1}


@pytest.mark.parametrize(
    ("teacher", "student", "able"),
    [
        ("bert", None, True),
        ("deberta-v2", None, True),
        ("deberta", None, False),  # its mask holds a number that bf16 has not
        ("deberta", "bert", False),
        ("bert", "deberta", False),
    ],
)
def test_precision_that_a_network_cannot_run_in(
    teacher: str, student: str | None, able: bool, checked: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "bf16_is_faster", lambda: True)
    chosen = checked(teacher, VECTORS, student=student, precision="auto", device="cpu").precision
    assert chosen == (torch.bfloat16 if able else torch.float32)
    if able:
        assert checked(teacher, VECTORS, student=student, precision="bf16", device="cpu").precision == torch.bfloat16
    else:
        with pytest.raises(
            PotstillError, match="^training.precision: in bfloat16 a DebertaModel does not run .*; set training.precision=fp32$"
        ):
            checked(teacher, VECTORS, student=student, precision="bf16", device="cpu")
    assert checked(teacher, VECTORS, student=student, precision="fp32", device="cpu").precision == torch.float32


@pytest.fixture
def labelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labelled_dir: Path, tiny_teachers: dict[str, Path]) -> Callable[..., Any]:
    """Checks a labelled recipe as `potstill check` does, under a teacher that gives certain answers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))

    def check(task: str, answer: Callable[[Any], Any], read: Callable[..., Any] = outline_recipe) -> Any:
        monkeypatch.setattr(EncoderModel, "predict", lambda model, texts, *more, **other: answer(texts))
        recipe = {
            "name": "tried",
            "task": task,
            "data": {"dir": str(labelled_dir)},
            "teacher": {"model": str(tiny_teachers[task.partition("/")[0]])},
            "student": {"layers": 1, "max_length": 16},
            "stages": [{"name": "one", "terms": [{"loss": "hard_label"}]}],
            "evaluate": [],
        }
        Path("recipe.yaml").write_text(json.dumps(recipe))
        return read(read_recipe("recipe.yaml", []), "recipe.yaml")

    return check


def is_village(texts: list[str]) -> np.ndarray:
    """(n, 2) logits of river and village."""
    return np.asarray([[float("river" in text), float("village" in text)] for text in texts])


def tags(texts: list[list[str]]) -> list[np.ndarray]:
    """Logits of O and B-PLACE for each word."""
    return [np.asarray([[0.5, float(word in ("river", "village"))] for word in words]) for words in texts]


CHANCE = "answers {} of {} labels of {} dev rows right, and the most frequent answer alone would {}"


@pytest.mark.parametrize(
    ("task", "answer", "said"),
    [
        ("classification/about", is_village, None),
        # the labels turned round
        ("classification/about", lambda texts: -is_village(texts), CHANCE.format(0, 16, 16, 8)),
        # the same label each time is no better
        ("classification/about", lambda texts: np.tile([1.0, 0.0], (len(texts), 1)), CHANCE.format(8, 16, 16, 8)),
        ("tagging/about", tags, None),
        ("tagging/about", lambda texts: [np.tile([1.0, 0.0], (len(words), 1)) for words in texts], "the most frequent answer alone"),
        # a score has no most frequent one
        ("regression/about", lambda texts: np.zeros((len(texts), 1)), None),
    ],
)
def test_a_teacher_that_knows_nothing_of_the_labels_is_told_in_the_check(
    task: str, answer: Callable[[Any], Any], said: str | None, labelled: Callable[..., Any]
) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", PotstillWarning)
        labelled(task, answer)
    found = [str(one.message) for one in seen if issubclass(one.category, PotstillWarning)]
    assert len(found) == (said is not None)
    assert said is None or ("teacher.model: " in found[0] and said in found[0])


def test_a_training_does_not_score_its_teacher_for_that(labelled: Callable[..., Any]) -> None:
    def never(texts: Any) -> Any:
        raise AssertionError("asked")

    assert labelled("classification/about", never, check_recipe).teacher is not None
