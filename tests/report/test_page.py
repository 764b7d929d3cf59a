"""The page as a browser shows it, and as a file: whole, closed to the network, safe with any name."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from helpers.pages import Reader, Save
from helpers.samples import make_cases, make_metrics, make_run
from potstill.errors import PotstillError
from potstill.report import write_report
from potstill.report.grouped import group_runs
from potstill.report.page import render as render_groups
from potstill.results import Run


def render(runs: Sequence[Run], metrics: Sequence[Sequence[dict[str, Any]]]) -> str:
    """The page of runs that lie nowhere."""
    return render_groups(group_runs(runs, [None] * len(runs)), metrics)


def test_a_browser_draws_the_table_and_the_charts(save_run: Save, browse: Callable[[Path], str], tmp_path: Path) -> None:
    write_report(save_run(make_run(), make_metrics(("angles", "task"))), tmp_path / "report.html")
    page = Reader(browse(tmp_path / "report.html"))
    rows = {row[0]: row[1:] for row in page.rows if row}
    assert rows["ONNX int8"] == [  # first score, size and speed, which a phone shows without scrolling
        "78.71", "17.5", "1,990", "1.18", "2.02", "97.6", "71.40", "81.31", "75.77", "83.88", "81.19", "11.9", "5.3", "17.2", "214"
    ]  # fmt: skip
    assert rows["teacherall-mpnet-base-v2"][0] == "80.64" and rows["teacherall-mpnet-base-v2"][5] == "100.0"
    assert rows["int8, per channel"][1] == "0.8871"
    assert {name: marks["dot"] for name, marks in page.charts.items()} == {
        "Against size": 5, "Against speed": 5, "Loss by step": 0, "Score by step": 10, "Learning rate by step": 0
    }  # fmt: skip
    assert page.charts["Loss by step"]["path.line"] == 4, "total and three terms"
    assert page.charts["Learning rate by step"]["path.line"] == page.charts["Score by step"]["path.line"] == 1
    assert page.outside == []


def test_a_labelled_task_without_teacher_and_cut() -> None:
    run = make_run("finetune-mrpc", roles=("student", "onnx", "int8"))
    for record, f1 in zip(run.records, (88.4, 88.4, 88.1)):
        record.scores = {"glue/mrpc": {"f1": f1, "accuracy": 83.0, "examples": 1725, "primary": "f1"}}
    run.gate = [
        {"setting": "all int8", "agreement": 0.99, "invariance": 1.0, "speedup": 1.9, "bytes": 17_000_000, "passed": True, "failed": []}
    ]
    run.recipe = {"student": {"layers": None}}
    document = render([run], [make_metrics()])
    assert "MRPC F1 88.10" in document and "of teacher" not in document and "same answers" in document and 'id="cases"' not in document
    assert set(Reader(document).charts) >= {"Against size", "Against speed", "Loss by step"}


def test_how_it_was_made_reads_like_a_sentence() -> None:
    run = make_run()
    run.training = {"steps": 345, "best": {"stage": "task", "step": 1345, "name": "glue/mrpc-dev", "value": 79.9268}}
    run.records = [record.model_copy(update={"machine": record.machine.model_copy(update={"cores": 1})}) for record in run.records]
    document = render([run], [[]])
    assert "<dd>MRPC dev 79.93 at step 1,345 of stage task</dd>" in document and "7B13, 1 core, 8.3 GB" in document
    run.training = {"steps": 345, "best": {}}
    assert "<dt>Best</dt>" not in render([run], [[]])


def test_the_page_is_closed_to_the_network(save_run: Save, tmp_path: Path) -> None:
    write_report(save_run(make_run(), make_metrics()), tmp_path / "report.html")
    document = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in document
    assert "http:" not in document and "https:" not in document and "@import" not in document and "url(" not in document
    assert Reader(document).outside == []
    assert len(document) < 100_000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "run-0"], "nothing half-written stays"


def test_names_and_recipes_are_escaped(tmp_path: Path, browse: Callable[[Path], str]) -> None:
    evil = "<img src=x onerror=document.title='broken'></script>"
    run = make_run(evil)
    run.records[0].name = run.records[0].model = evil
    run.cases = make_cases(evil, texts=[evil, "plain"])
    run.gate[0]["setting"] = run.gate[0]["failed"][0] = run.training["note"] = run.recipe["name"] = evil
    metrics = [{**entry, "stage": evil} for entry in make_metrics()]
    document = render([run, make_run("other")], [metrics, metrics])
    assert "<img" not in document
    (tmp_path / "page.html").write_text(document, encoding="utf-8")
    drawn = browse(tmp_path / "page.html")
    assert "<img" not in drawn and "<title>broken" not in drawn
    assert Reader(drawn).charts["Loss by step"]["path.line"] == 2


def test_records_without_cost_give_a_table_and_no_trade_off(save_run: Save, tmp_path: Path) -> None:
    write_report(save_run(make_run(cost=False)), tmp_path / "report.html")
    document = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "STS mean" in document and 'class="chart"' not in document and "Against size" not in document


def test_one_record_alone(save_run: Save, tmp_path: Path) -> None:
    run = make_run(roles=("int8",))
    run.gate, run.recipe, run.training = [], {}, {}
    write_report(save_run(run), tmp_path / "report.html")
    document = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "STS mean 78.71" in document and 'id="gate"' not in document and "The recipe" not in document


def test_no_records_at_all(save_run: Save, tmp_path: Path) -> None:
    write_report(save_run(make_run(roles=())), tmp_path / "report.html")
    document = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Nothing was made yet." in document and "<svg" not in document


def test_not_a_number_reaches_neither_table_nor_chart() -> None:
    run = make_run()
    run.records[4].scores["sts/12"]["spearman"] = math.nan
    run.gate[0]["cosine_mean"] = math.nan
    assert run.records[1].cost is not None
    run.records[1].cost.sentences_per_second = math.inf
    metrics = make_metrics()
    metrics[3]["loss"] = math.nan
    document = render([run], [metrics])
    assert not re.search(r"\b(nan|NaN|inf|Infinity)\b", document)
    assert ">–</td>" in document


def test_a_gate_that_refused_says_so() -> None:
    run = make_run(roles=("teacher", "student", "onnx"))
    run.gate = [{**row, "passed": False, "failed": ["drop 0.59 > 0.50"]} for row in run.gate]
    document = render([run], [[]])
    assert "No setting passed" in document and "drop 0.59 &gt; 0.50" in document
    assert '<td class="failed">0.59</td>' in document


def test_bad_places_are_named(save_run: Save, tmp_path: Path) -> None:
    for folder, target in ((tmp_path / "absent", tmp_path / "report.html"), (save_run(make_run()), tmp_path)):
        with pytest.raises(PotstillError):
            write_report(folder, target)
    assert not (tmp_path / "report.html").exists()


def test_torch_is_never_imported(save_run: Save, tmp_path: Path) -> None:
    folder = save_run(make_run(), make_metrics())
    code = (
        "import sys; from pathlib import Path; from potstill.report import write_report;"
        "assert 'jinja2' not in sys.modules, 'loaded before it is needed';"
        f"write_report(Path({str(folder)!r}), Path({str(tmp_path / 'r.html')!r}));"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
