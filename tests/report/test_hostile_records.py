"""Records of other making: each is read, refused in one line, or left out of the page; never a traceback."""

from __future__ import annotations

import copy
import io
import json
import random
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from helpers.diagnosed import CHANCE, MISTAKES, STUDENT, TEACHER, diagnosed_run
from helpers.samples import make_cases, make_metrics, make_run
from potstill.comparison.page import write_comparison
from potstill.errors import PotstillError, PotstillWarning
from potstill.report import page
from potstill.report.answers import MISTAKES_FILE
from potstill.report.grouped import group_runs
from potstill.report.table import print_table
from potstill.results import CASES_FILE, METRICS_FILE, RESULTS_FILE, read_cases, read_metrics, read_run

GATE = [
    {"setting": "all", "cosine_mean": 0.97, "drop": 1.2, "failed": ["drop 1.20 > 0.5"], "passed": False},
    {"setting": "no output layers", "cosine_mean": 0.99, "drop": 0.1, "failed": [], "passed": True, "tuned": True},
]
ANSWERS = {"gold": "yes", "teacher": "no", "student": 0.5}
# What stands in place of a value: other types, numbers that break arithmetic, texts that break a page.
HOSTILE: list[Any] = [
    None, True, -1, 0, 10**400, 1e308, -1e308, 5e-324, float("nan"), float("inf"), "", "x", "\0", "~nosuchuser/x", "a" * 300,
    [], [None], [[]], {}, {"": None}, {"x": [1]}, [1, "a"],
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def spoiled(content: Any, generator: random.Random) -> Any:
    """The content with one or two of its values put by others, or left out."""
    content = copy.deepcopy(content)
    for _ in range(generator.choice([1, 1, 2])):
        found = list(places(content))
        if not found:
            return content
        *above, last = generator.choice(found)
        inner = content
        for key in above:
            inner = inner[key]
        if isinstance(inner, dict) and generator.random() < 0.2:
            del inner[last]
        else:
            inner[last] = copy.deepcopy(generator.choice(HOSTILE))
    return content


@pytest.fixture
def show(tmp_path: Path) -> Callable[[], None]:
    """Shows the run in tmp_path/a: its page, its table, and beside tmp_path/b."""

    def everything() -> None:
        page.write_report(tmp_path / "a", tmp_path / "a.html")
        print_table([read_run(tmp_path / "a")], Console(file=io.StringIO(), width=80))
        write_comparison([tmp_path / "a", tmp_path / "b"], tmp_path / "ab.html")

    for name in "ab":
        (tmp_path / name).mkdir()
        run = make_run(name).model_copy(update={"gate": GATE, "cases": [case | {"labels": ANSWERS} for case in make_cases()]})
        run.training["best"] = {"name": "sts/stsb-dev", "value": 84.5, "step": 100, "stage": "two"}
        run.write(tmp_path / name)
        lines = make_metrics(("one", "two"), lines=20)
        (tmp_path / name / METRICS_FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
        (tmp_path / name / CASES_FILE).write_text(json.dumps(run.cases))
    return everything


@pytest.mark.parametrize("seed", range(2))
def test_no_record_ends_in_a_traceback(tmp_path: Path, show: Callable[[], None], seed: int) -> None:
    generator = random.Random(seed)
    run = json.loads((tmp_path / "a" / RESULTS_FILE).read_text())
    lines = [json.loads(line) for line in (tmp_path / "a" / METRICS_FILE).read_text().splitlines()]
    shown, refused = 0, 0
    for _ in range(40):
        (tmp_path / "a" / RESULTS_FILE).write_text(json.dumps(spoiled(run, generator) if generator.random() < 0.7 else run))
        if generator.random() < 0.5:
            other = spoiled(lines, generator)
            (tmp_path / "a" / METRICS_FILE).write_text("".join(json.dumps(line) + "\n" for line in other))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", PotstillWarning)
                show()
            shown += 1
        except PotstillError as error:
            assert "\n" not in str(error)
            refused += 1
    assert shown > 10 and refused > 5  # neither all of them nor none


def test_what_stands_beside_scores_ends_in_no_traceback(tmp_path: Path) -> None:
    run, generator = diagnosed_run(teacher=TEACHER, student=STUDENT, int8=CHANCE).model_dump(mode="json"), random.Random(7)
    shown = 0
    for _ in range(40):
        content = copy.deepcopy(run)
        for record in content["records"]:
            record["scores"]["glue/mrpc"] = spoiled(record["scores"]["glue/mrpc"], generator)
        (tmp_path / MISTAKES_FILE).write_text(json.dumps(spoiled(MISTAKES, generator)))
        (tmp_path / RESULTS_FILE).write_text(json.dumps(content))
        try:
            page.write_report(tmp_path, tmp_path / "a.html")
            print_table([read_run(tmp_path)], Console(file=io.StringIO(), width=80))
            shown += 1
        except PotstillError as error:
            assert "\n" not in str(error)
    assert shown > 25


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("cases", 0, "angles", 0, "student"), "one", "cases: {'term': 'cos_nce'"),  # a layer that is no number
        (("cases", 0, "angles", 0), None, r"cases: angles are [None"),  # no row
        (("cases", 0, "labels"), ["yes"], "cases: labels are ['yes'], not a mapping"),
        (("gate", 0, "failed"), True, "gate: failed is True, not a list"),
        (("training", "best"), {"name": "x"}, "training: best is {'name': 'x'}"),
        (("training", "best", "name"), 3, "training: best is {'name': 3"),
        (("records", 0, "cost", "parameters"), 10**400, "records: 0: cost: parameters: Input should be less than"),
        (("records", 0, "files", "model.safetensors"), -1, "records: 0: files: model.safetensors: Input should be greater than"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    tmp_path: Path, show: Callable[[], None], path: tuple[Any, ...], value: Any, said: str
) -> None:
    file = tmp_path / "a" / RESULTS_FILE
    run = inner = json.loads(file.read_text())
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    file.write_text(json.dumps(run))
    with pytest.raises(PotstillError) as caught:
        show()
    assert str(caught.value).startswith(f"{file}: is not a run record ({said}")


@pytest.mark.parametrize("model", ["~nosuchuser/x", "x" * 300, "a\0b", "x/" * 3000])
def test_a_teacher_that_lies_nowhere_is_shown_by_its_name(tmp_path: Path, show: Callable[[], None], model: str) -> None:
    run = read_run(tmp_path / "a")
    (teacher,) = [record for record in run.records if record.role == "teacher"]
    teacher.model = model
    run.write(tmp_path / "a")
    show()
    assert group_runs([run], [tmp_path / "a"])[0].taught_by == model


def test_lines_that_are_no_steps_are_left_out_with_a_word(tmp_path: Path, show: Callable[[], None]) -> None:
    with (tmp_path / "a" / METRICS_FILE).open("a") as stream:
        stream.write('5\n{"step": 9, "terms": 3}\n{"step": 9, "dev": [1]}\n{"step": 9, "loss": 5e-324, "terms": {"x": "y"}}\n')
    with pytest.warns(PotstillWarning, match=r"metrics.jsonl: 3 lines are no records of steps; they are left out"):
        show()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (CASES_FILE, b"[1]", "holds [1], not a list of cases"),
        (CASES_FILE, b"{", "is not JSON"),
        (CASES_FILE, b"\xff", "cannot be read"),
        (METRICS_FILE, b"\xff", "cannot be read"),
    ],
)
def test_files_of_other_making(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PotstillError) as caught:
        (read_cases if name == CASES_FILE else read_metrics)(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / name}: {said}")
