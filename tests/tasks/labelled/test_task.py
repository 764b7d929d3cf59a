from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from potstill.errors import PotstillError
from potstill.tasks.base import Predictor, load_task
from potstill.tasks.labelled import labelled_set, load_labelled, training_data


def write(folder: Path, name: str, **files: str) -> Path:
    place = folder / name
    place.mkdir(parents=True)
    for split, text in files.items():
        (place / f"{split}{'.conll' if name.startswith('tagging') else '.csv'}").write_text(text)
    return folder


def from_table(kind: str, labels: list[str], table: Mapping[Any, Any]) -> Predictor:
    def logits(texts: Sequence[Any]) -> Any:
        return [np.array(table[tuple(text)]) for text in texts] if kind == "tagging" else np.array([table[text] for text in texts])

    return Predictor(labels, kind, logits)


def test_classification(tmp_path: Path) -> None:
    folder = write(tmp_path, "classification/mood", train="text,label\nx,sad\ny,glad\n", test="text,label\na,sad\nb,sad\nc,glad\nd,glad\n")
    task = load_task("classification/mood", folder)
    assert (task.name, task.primary, task.needs, task.texts()) == ("classification/mood", "accuracy", "logits", ["a", "b", "c", "d"])
    table = {"a": [2, 1], "b": [0, 1], "c": [-3, -2], "d": [0, 9]}  # sad, glad: right, wrong, right, right
    scores = task.evaluate(from_table("classification", ["sad", "glad"], table))
    assert list(scores.items())[:3] == [("accuracy", 75.0), ("macro_f1", pytest.approx(100 * (2 / 3 + 4 / 5) / 2)), ("examples", 4)]
    assert scores["majority"] == {"accuracy": 50.0, "macro_f1": pytest.approx(100 / 3)} and scores["majority_answer"] == "glad"
    assert scores["answers"] == {"glad": 3, "sad": 1} and scores["confusion"] == [[2, 0], [1, 1]]  # of glad and of sad
    assert set(scores["classes"]) == {"glad", "sad"} and scores["calibration"]["bins"] == 15


def test_multilabel(tmp_path: Path) -> None:
    folder = write(tmp_path, "multilabel/topic", train="text,label\nx,a|b\ny,c\n", test="text,label\nt,a|b\nu,c\nv,\n")
    table = {"t": [1, -1, -1], "u": [-1, 2, 3], "v": [-1, -1, -1]}  # a; b and c; nothing: 2 right of 3 given and 3 there
    scores = load_task("multilabel/topic", folder).evaluate(from_table("multilabel", ["a", "b", "c"], table))
    assert list(scores)[:3] == ["micro_f1", "macro_f1", "examples"]
    assert scores["answers"] == {"a": 1, "b": 1, "c": 1} and "calibration" in scores and "confusion" not in scores
    assert scores["micro_f1"] == pytest.approx(100 * 2 / 3)
    assert scores["macro_f1"] == pytest.approx(100 * (1 + 0 + 1) / 3)


def test_regression(tmp_path: Path) -> None:
    rows = "text,text_pair,label\na,b,1\nc,d,2\ne,f,4\n"
    task = load_task("regression/likeness", write(tmp_path, "regression/likeness", train=rows, test=rows))
    table = {("a", "b"): [1.0], ("c", "d"): [3.0], ("e", "f"): [5.0]}
    scores = task.evaluate(from_table("regression", ["LABEL_0"], table))
    assert list(scores) == ["spearman", "pearson", "rmse", "examples"]
    assert scores["spearman"] == pytest.approx(100) and scores["rmse"] == pytest.approx((2 / 3) ** 0.5)
    with pytest.raises(PotstillError, match="regression/likeness: all 3 predicted scores are 2, so no correlation exists"):
        task.evaluate(from_table("regression", [], {pair: [2.0] for pair in table}))


def test_all_reported_scores_alike(tmp_path: Path) -> None:
    varied, alike = "text,label\na,1\nb,2\n", "text,label\nc,1\nd,1\n"
    for name, files in {"x": {"test": alike}, "x-dev": {"dev": alike, "test": varied}}.items():
        folder = write(tmp_path / name, "regression/x", train=varied, **files)
        with pytest.raises(PotstillError, match=f"regression/{name}: all 2 gold scores are 1, so no correlation exists; check the label"):
            load_task(f"regression/{name}", folder)


def test_tagging(tmp_path: Path) -> None:
    train = "Rome B-loc\nis O\n\nNew B-loc\nYork I-loc\n"
    task = load_task("tagging/places", write(tmp_path, "tagging/places", train=train, test="in O\nNew B-loc\nYork I-loc\n\nOslo B-loc\n"))
    assert task.primary == "f1"
    outside, begin, inside = [1, 0, 0], [0, 1, 0], [0, 0, 1]
    labels = ["O", "B-loc", "I-loc"]
    right = {("in", "New", "York"): [outside, begin, inside], ("Oslo",): [begin]}
    assert list(task.evaluate(from_table("tagging", labels, right)).items())[:7] == [
        ("f1", 100.0), ("precision", 100.0), ("recall", 100.0), ("examples", 2), ("words", 4), ("unseen_words", 0), ("entities", 2),
    ]  # fmt: skip
    cut = {("in", "New", "York"): [outside, begin], ("Oslo",): [inside]}  # New alone is wrong, a stray I- is an entity
    scores = task.evaluate(from_table("tagging", labels, cut))
    assert (scores["precision"], scores["recall"], scores["f1"], scores["unseen_words"]) == (50, 50, 50, 1)
    assert scores["answers"] == {"O": 1, "B-loc": 1, "I-loc": 1} and scores["majority"] == {"f1": 0, "precision": 0, "recall": 0}
    assert scores["classes"] == {"loc": {"precision": 50, "recall": 50, "f1": 50, "gold": 2}}
    blind = {("in", "New", "York"): np.zeros((0, 3)), ("Oslo",): np.zeros((0, 3))}
    assert task.evaluate(from_table("tagging", labels, blind))["f1"] == 0


def test_the_split_to_choose_by(tmp_path: Path) -> None:
    table = "text,label\n" + "".join(f"t{number},{number % 2}\n" for number in range(40))
    folder = write(tmp_path, "classification/parity", train=table, dev="text,label\nd,1\n")
    assert load_labelled("classification/parity", folder).texts() == ["d"]
    task, data = load_labelled("classification/parity-dev", folder), training_data("classification/parity", folder)
    assert task.name == "classification/parity-dev"
    assert task.texts() == list(data.dev.texts) and len(data.dev) == 4 and len(data.train) == 36
    assert (data.kind, data.labels) == ("classification", ["0", "1"])
    assert training_data("classification/parity-dev", folder).train.texts == data.train.texts


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the data files that are opened from now on."""
    names: list[str] = []
    open_it = Path.open

    def noted(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.suffix != ".py":  # the registry reads the tasks' own files
            names.append(path.name)
        return open_it(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", noted)
    return names


ROWS = "text,label\n" + "".join(f"t{number},{number % 2}\n" for number in range(40))
OTHERS = {"dev": "text,label\nd,1\n", "test": "text,label\ne,0\n"}


@pytest.mark.parametrize(
    "others",
    [
        ("dev", "test"),  # dev chooses
        ("dev",),  # rows of train choose
        ("test",),  # likewise
    ],
)
@pytest.mark.parametrize("suffix", ["", "-dev"])
def test_a_set_reads_each_file_once_for_all_its_uses(tmp_path: Path, opened: list[str], others: Sequence[str], suffix: str) -> None:
    name = "classification/parity"
    folder = write(tmp_path, name, train=ROWS, **{split: OTHERS[split] for split in others})
    opened.clear()
    data = labelled_set(name + suffix, folder)
    for _ in range(2):
        made = {task: make() for task, make in data.tasks().items()}
        training = data.training()
    assert sorted(opened) == sorted(["train.csv", *(f"{split}.csv" for split in others)])
    for task, found in made.items():
        single = load_labelled(task, folder)
        assert (found.name, found.primary, found.labels, found.texts()) == (task, single.primary, single.labels, single.texts())
    alone = training_data(name, folder)
    assert (training.train.texts, training.dev.texts) == (alone.train.texts, alone.dev.texts)
    assert training.dev.texts == made[f"{name}-dev"].texts() and set(made) == {name, f"{name}-dev"}


def test_a_set_reads_nothing_that_is_not_asked_for(tmp_path: Path, opened: list[str]) -> None:
    folder = write(tmp_path, "classification/parity", test=OTHERS["test"] + "f,1\n")
    opened.clear()
    assert labelled_set("classification/parity", folder).test_task().texts() == ["e", "f"] and opened == ["test.csv"]


def test_mrpc_reads_each_file_once(data_dir: Path, opened: list[str]) -> None:
    data = labelled_set("glue/mrpc", data_dir)
    assert (len(data.test_task().texts()), len(data.dev_task().texts()), len(data.training().dev)) == (1725, 407, 407)
    assert sorted(opened) == ["msr_paraphrase_test.txt", "msr_paraphrase_train.txt"]
    assert data.dev_task().choice({"f1": 80.0, "accuracy": 66.0}) == 73.0  # of the family's own class


@pytest.mark.parametrize("open_it", [load_labelled, training_data, labelled_set])
@pytest.mark.parametrize(
    "name",
    [
        "sts/stsb",  # of vectors
        "nowhere/x",  # no such family
        "glue",  # no variant
        "",  # no name
        "retrieval/x",  # of vectors, by a file's name
    ],
)
def test_no_task_with_labels(tmp_path: Path, open_it: Callable[[str, Path], Any], name: str) -> None:
    with pytest.raises(PotstillError, match=f"task: '{name}' is no task with labels"):
        open_it(name, tmp_path)


def test_a_head_that_does_not_fit(tmp_path: Path) -> None:
    rows = "text,label\na,x\nb,y\n"
    task = load_task("classification/z", write(tmp_path, "classification/z", train=rows, test=rows))
    with pytest.raises(PotstillError, match="classification/z: label sets differ"):
        task.evaluate(from_table("classification", ["x", "w"], {}))
    with pytest.raises(PotstillError, match="classification/z: needs a head for classification, and the model's is for tagging"):
        task.evaluate(from_table("tagging", ["x", "y"], {}))


def test_reading_data_imports_no_torch(tmp_path: Path) -> None:
    rows = "text,label\na,x\nb,y\n"
    folder = write(tmp_path, "classification/z", train=rows, test=rows)
    code = (
        "import sys; from potstill.tasks.labelled import load_labelled; "
        f"load_labelled('classification/z', {str(folder)!r}); "
        "print({'torch', 'scipy', 'sklearn', 'transformers', 'datasets'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"
