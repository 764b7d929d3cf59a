"""A run makes each thing once: it chooses the machine, loads the teacher, makes a stage's terms and reads a task's file a single time."""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import pkgutil
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import potstill

WORDS = "river village cat owl house tree stone boat night snow ship lamp door hill road song".split()

# Python cannot take an audit hook away again: there is one, and it notes files only while a test wants it.
_opened: list[Counter[Path]] = []


@functools.cache
def _listen() -> None:
    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and _opened and isinstance(arguments[0], str) and not set(arguments[1] or "r") & set("wax+"):
            _opened[-1][Path(arguments[0]).absolute()] += 1

    sys.addaudithook(note)


@pytest.fixture
def opened() -> Iterator[Counter[Path]]:
    """How often this process opened each file for reading, in whatever way: open, Path.open, read_text, gzip …"""
    _listen()
    _opened.append(Counter())
    yield _opened[-1]
    _opened.pop()


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Counter[Any]]:
    """Count the calls of a function, whichever module holds it by whichever name."""
    modules = [
        importlib.import_module(found.name)
        for found in pkgutil.walk_packages(potstill.__path__, "potstill.")
        if not found.name.endswith("__main__")
    ]

    def start(function: Callable[..., Any], key: Callable[[dict[str, Any]], Any] = lambda given: "calls") -> Counter[Any]:
        """Count by `key` of the arguments by name; calls whose key is None do not count."""
        calls: Counter[Any] = Counter()

        @functools.wraps(function)
        def counted(*arguments: Any, **options: Any) -> Any:
            given = key(dict(inspect.signature(function).bind(*arguments, **options).arguments))
            if given is not None:
                calls[given] += 1
            return function(*arguments, **options)

        for module in modules:
            for name, value in list(vars(module).items()):
                if value is function:
                    monkeypatch.setattr(module, name, counted)
        return calls

    return start


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    return tmp_path


TRAINING = {"epochs": 1, "batch_size": 16, "learning_rate": 1e-3, "evaluations": 2, "precision": "fp32", "device": "cpu"}
# Random weights quantise badly and a model this small is no faster in int8: the limits are lax here.
LAX = {"max_drop": 100, "min_cosine_mean": 0.5, "min_cosine": 0, "min_invariance": 0.5, "min_agreement": 0, "max_error": 100}


def embedding(folder: Path, teacher: Path) -> tuple[dict[str, Any], list[Path]]:
    """Two stages of vectors, chosen by agreement, down to the int8 file; and the task's files."""
    (folder / "data/retrieval").mkdir(parents=True)
    (folder / "data/texts.txt").write_text("\n".join(f"the {a} sees the {b}" for a in WORDS for b in WORDS) + "\n")
    rows = [{"query": f"the {a} and the {b}", "document": f"{b} was seen by {a}"} for a, b in zip(WORDS, WORDS[3:])]
    task = folder / "data/retrieval/words.jsonl"
    task.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = {
        "name": "tiny",
        "data": {"dir": "data", "texts": ["texts.txt"], "held_out": 32},
        "teacher": {"model": str(teacher)},
        "student": {"layers": 2, "max_length": 32},
        "training": TRAINING,
        "stages": [
            {"name": "first", "share": 0.5, "terms": [{"loss": "embedding_mse", "weight": 32}]},
            {"name": "second", "share": 0.5, "terms": [{"loss": "embedding_cosine", "project": "linear"}, {"loss": "similarity_mse"}]},
        ],
        "evaluate": ["retrieval/words"],
        "export": {"int8": LAX | {"min_speedup": 0}},
    }
    return recipe, [task]


def labelled(folder: Path, teacher: Path, source: Path) -> tuple[dict[str, Any], list[Path]]:
    """Two stages of a labelled task, chosen by its dev set, down to the int8 file; and the task's files."""
    shutil.copytree(source, folder / "data")
    recipe = {
        "name": "tiny",
        "task": "classification/about",
        "data": {"dir": "data"},
        "teacher": {"model": str(teacher)},
        "student": {"layers": 2, "max_length": 32},
        "training": TRAINING,
        "stages": [
            {"name": "first", "share": 0.5, "terms": [{"loss": "hidden_mse", "layers": "uniform"}]},
            {"name": "second", "share": 0.5, "terms": [{"loss": "soft_target"}, {"loss": "hard_label"}]},
        ],
        "evaluate": ["classification/about"],
        "export": {"int8": LAX | {"min_speedup": 0}},
    }
    return recipe, sorted((folder / "data/classification/about").iterdir())


@pytest.mark.parametrize("kind", ["embedding", "labelled"])
def test_a_run_takes_the_short_way(
    kind: str,
    work: Path,
    tiny_encoder_dir: Path,
    tiny_teachers: dict[str, Path],
    labelled_dir: Path,
    count: Callable[..., Counter[Any]],
    opened: Counter[Path],
) -> None:
    from potstill.machine.precision import choose_device, choose_precision
    from potstill.models.loading import load_encoder
    from potstill.objective.terms import stage_terms

    # The student is cut from the teacher: one load serves both.
    teacher = Path(shutil.copytree(tiny_teachers["classification"] if kind == "labelled" else tiny_encoder_dir, work / "teacher"))
    recipe, files = labelled(work, teacher, labelled_dir) if kind == "labelled" else embedding(work, teacher)

    devices, precisions = count(choose_device), count(choose_precision)
    teachers = count(load_encoder, lambda given: "calls" if Path(given["name"]).resolve() == teacher.resolve() else None)
    terms = count(stage_terms, lambda given: given["stage"].name)
    potstill.distil(recipe)
    seen = {
        "device": dict(devices),
        "precision": dict(precisions),
        "teacher": dict(teachers),
        "terms": dict(terms),
        "files": {file.name: opened[file] for file in files},
    }
    assert seen == {
        "device": {"calls": 1},
        "precision": {"calls": 1},
        "teacher": {"calls": 1},
        "terms": {"first": 1, "second": 1},
        "files": {file.name: 1 for file in files},
    }


@pytest.mark.parametrize("kind", ["embedding", "labelled"])
def test_another_seed_does_not_ask_the_teacher_for_its_score_again(
    kind: str, work: Path, tiny_encoder_dir: Path, tiny_teachers: dict[str, Path], labelled_dir: Path, count: Callable[..., Counter[Any]]
) -> None:
    from potstill.evaluation import kept
    from potstill.training.case_study import MISTAKES

    teacher = tiny_teachers["classification"] if kind == "labelled" else tiny_encoder_dir
    recipe, _ = labelled(work, teacher, labelled_dir) if kind == "labelled" else embedding(work, teacher)
    recipe["export"] = {"onnx": False}
    # Answers that were not there. Beside the tasks' texts the teacher is asked for the few in which a student errs, which differ.
    asked = count(kept._write, lambda given: "calls" if len(given["answers"]) > MISTAKES else None)
    first = potstill.distil(recipe, out="first")
    once = asked.total()
    second = potstill.distil(recipe | {"training": TRAINING | {"seed": 14}}, out="second")
    assert once > 0
    assert asked.total() == once
    assert second.records[0].role == first.records[0].role == "teacher"
    assert second.records[0].scores == first.records[0].scores
    recipe["teacher"]["cache"] = False
    assert potstill.distil(recipe, out="third").records[0].scores == first.records[0].scores
    assert asked.total() == once
