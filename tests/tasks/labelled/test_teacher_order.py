"""A teacher whose labels stand in another order than the data's teaches the same student, by every way that its answers take."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from potstill import distil
from potstill.check.check import check_recipe, outline_recipe
from potstill.errors import PotstillError
from potstill.recipe.file import parse_recipe
from potstill.results import read_cases, read_run

SMALL = {"layers": 2, "width": 16, "heads": 4, "ffn": 32, "max_length": 32}
TERMS = [{"loss": "soft_target"}, {"loss": "hidden_mse", "layers": [[1, 2], [2, 4]], "project": "linear"}]
NAMES = ["river", "village"]


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def called(teacher: Path, name: str, labels: Sequence[str], order: Sequence[int] | None = None) -> Path:
    """A copy of a teacher with other names for its logits, and the logits in another order."""
    folder = Path(shutil.copytree(teacher, name))
    config = json.loads((folder / "config.json").read_text())
    config |= {"id2label": dict(enumerate(labels)), "label2id": {label: number for number, label in enumerate(labels)}}
    (folder / "config.json").write_text(json.dumps(config))
    if order is not None:
        weights = load_file(folder / "model.safetensors")
        for key in ("classifier.weight", "classifier.bias"):
            weights[key] = np.ascontiguousarray(weights[key][list(order)])
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def numbered_data(folder: Path) -> Path:
    """The data about rivers and villages with the numbers 0 and 1 in place of the labels' names."""
    place = Path("numbered/classification/about")
    place.mkdir(parents=True)
    for file in (folder / "classification/about").glob("*.csv"):
        rows = list(csv.reader(file.read_text().splitlines()))
        lines = [rows[0], *([text, str(NAMES.index(label))] for text, label in rows[1:])]
        (place / file.name).write_text("".join(f"{text},{label}\n" for text, label in lines))
    return Path("numbered")


def recipe(name: str, data: dict[str, Any], teacher: Path, task: str = "classification/about", **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "task": task,
        "data": data,
        "teacher": {"model": str(teacher), **more},
        "student": SMALL,
        "training": {"epochs": 1, "batch_size": 16, "learning_rate": 5e-3, "dropout": 0, "evaluations": 1, "precision": "fp32"},
        "stages": [{"name": "task", "terms": TERMS}],
        "evaluate": [task],
        "export": {"onnx": False},
    }


def trained(*arguments: Any, **more: Any) -> tuple[dict[str, np.ndarray], dict[str, Any], list[Any], list[str]]:
    """The student's weights, the teacher's measures, what both answer to the cases, and the names of the student's logits."""
    content = recipe(*arguments, **more)
    distil(content)
    run = Path("runs") / content["name"]
    scores = next(record.scores for record in read_run(run).records if record.role == "teacher")
    # What stands beside the measures is in the order of the labels.
    scores = {task: {name: value for name, value in own.items() if isinstance(value, (int, float))} for task, own in scores.items()}
    names = json.loads((run / "student" / "config.json").read_text())["id2label"]
    answers = [case["labels"]["teacher"] for case in read_cases(run)]
    return load_file(run / "student" / "model.safetensors"), scores, answers, [names[key] for key in sorted(names)]


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return max(float(abs(one[key] - other[key]).max()) for key in one) < 1e-5


def test_by_name_from_the_cache_and_live(labelled_dir: Path, tiny_teachers: dict[str, Path]) -> None:
    data = {"dir": str(labelled_dir)}
    plain = trained("plain", data, tiny_teachers["classification"])
    turned = called(tiny_teachers["classification"], "turned", ["Village", "River"], [1, 0])
    for cache in (True, False):
        other = trained(f"turned-{cache}", data, turned, cache=cache)
        assert same(plain[0], other[0]) and other[1:] == plain[1:]
    assert plain[3] == NAMES and set(plain[2]) <= set(NAMES)
    stored = [np.load(file) for file in sorted(Path("cache/teacher").glob("*/logits/00000.npy"))]
    assert len(stored) == 2 and np.allclose(stored[0], stored[1][:, ::-1], atol=1e-5)  # on disk in the teacher's own order


def test_tags(labelled_dir: Path, tiny_teachers: dict[str, Path]) -> None:
    data = {"dir": str(labelled_dir)}
    plain = trained("plain", data, tiny_teachers["tagging"], task="tagging/about")
    turned = called(tiny_teachers["tagging"], "turned", ["B-PLACE", "O"], [1, 0])
    other = trained("turned", data, turned, task="tagging/about")
    assert same(plain[0], other[0]) and other[1:] == plain[1:]


def test_numbers_by_the_names_that_the_recipe_gives(labelled_dir: Path, tiny_teachers: dict[str, Path]) -> None:
    plain = trained("plain", {"dir": str(labelled_dir)}, tiny_teachers["classification"])
    unnamed = called(tiny_teachers["classification"], "unnamed", ["LABEL_0", "LABEL_1"])
    numbers = numbered_data(labelled_dir)
    other = trained("numbers", {"dir": str(numbers), "labels": NAMES}, unnamed)
    assert same(plain[0], other[0]) and other[1:] == plain[1:]
    # The other way round: the teacher's number 0 is the village, and the data has names.
    unnamed = called(tiny_teachers["classification"], "unnamed-turned", ["LABEL_0", "LABEL_1"], [1, 0])
    turned = trained("names", {"dir": str(labelled_dir), "labels": NAMES[::-1]}, unnamed)
    assert turned[3] == NAMES[::-1] and turned[1:3] == plain[1:3]
    assert np.allclose(turned[1]["classification/about"]["accuracy"], plain[1]["classification/about"]["accuracy"])


def test_without_names_nothing_is_guessed(labelled_dir: Path, tiny_teachers: dict[str, Path]) -> None:
    unnamed = called(tiny_teachers["classification"], "unnamed", ["LABEL_0", "LABEL_1"])
    data = {"dir": str(labelled_dir)}
    with pytest.raises(PotstillError) as caught:
        check_recipe(parse_recipe(recipe("x", data, unnamed)))
    assert str(caught.value) == (
        "teacher.model: the model's labels have no names ('LABEL_0', 'LABEL_1'), and the data's are 'river', 'village'; give data.labels, "
        "the names in the order of the numbers, or write them into the model's config.json as id2label"
    )
    content = recipe("states", data, unnamed)
    content["stages"][0]["terms"] = [TERMS[1], {"loss": "hard_label"}]
    distil(content)  # no term reads its logits
    assert [record.role for record in read_run(Path("runs/states")).records] == ["student"]
    # Data that has the numbers itself needs no names.
    check_recipe(parse_recipe(recipe("x", {"dir": str(numbered_data(labelled_dir))}, unnamed)))


@pytest.mark.parametrize(
    ("labels", "names", "said"),
    [
        (["river", "village"], None, "0 river, 1 village: in the data's order"),
        (["village", "river"], None, "0 village, 1 river: matched by name"),
        (["LABEL_0", "LABEL_1"], ["village", "river"], "0 LABEL_0, 1 LABEL_1, which are 0 village, 1 river: in the data's order"),
        (["a", "b"], None, "0 a, 1 b: others than the data's"),  # no harm where no term reads its logits
    ],
)
def test_the_check_tells_both_sides(
    labelled_dir: Path, tiny_teachers: dict[str, Path], labels: list[str], names: list[str] | None, said: str
) -> None:
    teacher = called(tiny_teachers["classification"], "teacher", labels)
    content = recipe("x", {"dir": str(labelled_dir), "labels": names}, teacher)
    content["stages"][0]["terms"] = [{"loss": "hard_label"}]
    rows = dict(outline_recipe(parse_recipe(content)))
    own = names or NAMES
    assert rows["labels"] == f"0 {own[0]}, 1 {own[1]}" and rows["teacher's labels"] == said


def test_what_data_labels_cannot_name(labelled_dir: Path, tiny_teachers: dict[str, Path]) -> None:
    cases = [
        ({"task": "regression/about"}, ["a"], "data.labels: a for a regression, which has no labels; drop it"),
        ({"task": "embed"}, ["a"], "data.labels: is for labelled tasks, and the task is embed; drop it"),
        ({}, ["river", "town"], "train.csv:4: label 'village' is outside the set of labels; known: river, town"),
        ({}, ["river", "river"], "recipe: data.labels: 'river' is twice in it"),
        ({}, ["river", " "], "recipe: data.labels: '' is twice in it, or blank"),
    ]
    for changed, labels, message in cases:
        content = recipe("x", {"dir": str(labelled_dir), "labels": labels}, tiny_teachers["classification"]) | changed
        with pytest.raises(PotstillError) as caught:
            check_recipe(parse_recipe(content))
        assert message in str(caught.value), message
