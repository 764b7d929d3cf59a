"""A publication's table: its rows as published, ours beside them, on a terminal and in the page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from rich.console import Console

from helpers.samples import labelled, make_run
from potstill.comparison.against import PUBLISHED
from potstill.comparison.page import write_comparison
from potstill.comparison.published import LikeTable, Preset, like_table, presets, print_like, read_preset
from potstill.errors import PotstillError
from potstill.report.grouped import group_runs
from potstill.results import Run


def printed(table: LikeTable, width: int = 100) -> list[str]:
    stream = io.StringIO()
    print_like(table, Console(file=stream, width=width))
    return stream.getvalue().splitlines()


def beside(name: str, runs: Sequence[Run] = (), *more: Any) -> LikeTable:
    """A preset's table with runs that lie nowhere."""
    return like_table(read_preset(name), group_runs(runs, [None] * len(runs)), *more)


def cells(table: LikeTable) -> dict[str, list[str]]:
    return {name: row for group in table.groups for name, row in group.rows}


@pytest.mark.parametrize("name", presets())
def test_every_preset_reads_and_fits_a_terminal(name: str) -> None:
    lines = printed(beside(name, [make_run(name="a run with a long name, as some have it" * 3)]))
    assert max(map(len, lines)) <= 100 and any("…" in line for line in lines), "a long name of ours gives way"
    for published, row in beside(name).groups[0].rows:
        assert all(any(line.strip().startswith(published) and figure in line for line in lines) for figure in row)
    assert max(map(len, printed(beside(name, [make_run()]), 80))) <= 80


def test_the_published_rows_of_distilface() -> None:
    table = beside("distilface", [])
    assert [title for title, _ in table.columns] == ["STS12", "STS13", "STS14", "STS15", "STS-B", "mean", "params", "pass", "weights"]
    assert [(group.name, group.published) for group in table.groups] == [(PUBLISHED, True)]
    rows = cells(table)
    assert rows["BERT-base, first-last"] == ["39.70", "59.38", "49.67", "66.03", "53.87", "53.73", "110.0", "668", "435,650"]
    assert rows["DistilBERT, first-last"][5:] == ["58.23", "66.0", "410", "–"]
    assert rows["DistilFACE, last four"][5:] == ["72.10", "–", "–", "265,489"]
    assert rows["DistilFACE, torch int8"] == ["–"] * 8 + ["138,116"]
    assert rows["SimCSE-BERT-base"][5] == "76.25"  # as it is printed, of seven sets


def test_runs_stand_below_with_what_was_measured() -> None:
    table = beside("distilface", [make_run(), make_run("b")], {(0, 0): 133.5, (1, 4): 3.3333}, ["A note."])
    assert [group.name for group in table.groups] == [PUBLISHED, "mpnet-to-3-layers", "b"]
    first, second = table.groups[1:]
    assert first.rows[0] == (
        "teacher, all-mpnet-base-v2",
        ["72.63", "83.48", "78.00", "85.66", "83.42", "80.64", "109.5", "134", "437,968"],
    )
    assert first.rows[4][1][5:] == ["78.71", "17.2", "–", "17,494"] and second.rows[3][1][7] == "3.33"
    assert second.rows[0][0] == "undistilled cut", "its teacher stands in the first group"
    assert table.notes[-1] == "A note."
    lines = printed(table)
    assert any(re.search(r"ONNX int8 .* 78\.71 +17\.2 +3\.33 +17,494", line) for line in lines) and max(map(len, lines)) <= 100


def test_the_published_rows_of_the_strategies_and_of_lrc_bert() -> None:
    rows = cells(beside("strategies"))
    assert rows["BERT-base"] == ["88.90", "–", "–", "1.00", "–"] and rows["PKD, 3 layers"] == ["80.70", "–", "3", "2.40", "–"]
    assert [rows[f"DualTrain + SharedProjUp, {width}"][3] for width in (192, 96, 48)] == ["5.74", "19.41", "61.94"]
    rows = cells(beside("lrc-bert"))
    assert rows["BERT-base"][9:] == ["79.60", "109.0", "1.00", "1.0"], "table 1 of Devlin et al., whose nine have this mean"
    assert rows["TinyBERT, 4 × 312"][9] == "77.04" and rows["DistilBERT, 4 layers"][9] == "71.93", "there 77.0 and 71.9"
    tiny, task = rows["TinyBERT, 4 × 312"], rows["LRC-BERT 1, 4 × 312"]
    assert [round(float(task[place]) - float(tiny[place]), 1) for place in (0, 1, 2, 4)] == [0.3, 0.8, 0.6, 0.6]
    assert rows["LRC-BERT, 4 × 312"] == ["83.10", "–", "–", "92.90", *"––––––", "14.5", "7.50", "9.6"], "and no figure that nobody prints"


@pytest.mark.parametrize("name", presets())
def test_every_published_row_says_where_it_stands(name: str) -> None:
    notes = " ".join(beside(name).notes)
    assert all(f"{row.name}" in notes and row.source in notes for row in read_preset(name).published)


def test_a_group_of_seeds_stands_as_its_median() -> None:
    runs = [make_run(shift=shift).model_copy(update={"seed": 13 + place}) for place, shift in enumerate((0.0, 1.0, -2.0))]
    table = beside("distilface", runs)
    assert [group.name for group in table.groups] == [PUBLISHED, "mpnet-to-3-layers, median of 3 runs"]
    assert cells(table)["ONNX int8"][5] == "78.71"


def test_a_missing_score_is_a_dash_and_has_no_mean() -> None:
    run = make_run(roles=("student",), cost=False)
    del run.records[0].scores["sts/14"]
    assert cells(beside("distilface", [run]))["student"][2:] == ["–", "84.10", "81.44", "–", "–", "–", "–"]


def test_an_unknown_preset_is_one_line() -> None:
    with pytest.raises(PotstillError) as caught:
        read_preset("../distilface")
    assert str(caught.value) == "--like: unknown preset '../distilface'; did you mean 'distilface'?"


@pytest.mark.parametrize(
    ("spoilt", "words"),
    [
        # more scores than tasks
        ({"published": [{"name": "x", "source": "y", "scores": [1.0, 2.0]}]}, "2 scores for 1 tasks"),
        # a figure without a column
        ({"published": [{"name": "x", "source": "y", "figures": {"parameters": 1}}]}, "figures that the table does not show"),
        # seconds of no task
        ({"figures": ["seconds"]}, "seconds need a pass"),
        # a timed task without its column
        ({"pass": "sts/stsb"}, "seconds need a pass"),
        # no number
        ({"published": [{"name": "x", "source": "y", "scores": [float("nan")]}]}, "finite"),
        # a row that stands nowhere
        ({"published": [{"name": "x"}]}, "source"),
    ],
)
def test_what_a_preset_must_not_say(spoilt: dict[str, Any], words: str) -> None:
    good: dict[str, Any] = {"title": "T", "tasks": ["sts/stsb"], "published": []}
    Preset.model_validate(good)
    with pytest.raises(ValidationError, match=words):
        Preset.model_validate(good | spoilt)


def test_the_page_marks_what_was_published(save_run: Callable[..., Path], tmp_path: Path) -> None:
    folder, page = save_run(make_run()), tmp_path / "page.html"
    write_comparison([folder], page, beside("distilface", [make_run()]))
    document = page.read_text(encoding="utf-8")
    published = document.partition('<tbody class="published">')[2].partition("</tbody>")[0]
    assert "435,650" in published and "72.10" in published and "78.71" not in published
    assert document.index('id="like"') < document.index('id="models"')
    write_comparison([folder], page)
    assert 'id="like"' not in page.read_text(encoding="utf-8")


def test_a_page_of_published_rows_alone(browse: Callable[[Path], str], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    write_comparison([], page, beside("distilface", []))
    shown = browse(page)
    assert "DistilFACE, as published" in shown and "435,650" in shown and "<title>DistilFACE · potstill</title>" in shown
    assert 'id="making"' not in shown and 'id="models"' not in shown


def test_the_majority_class_stands_below_ours() -> None:
    run = labelled("kd", 13, 82.0)
    for record in run.records:
        record.scores["glue/mrpc"] |= {"majority": {"f1": 79.87, "accuracy": 66.49}}
    table = beside("strategies", [run])
    assert (table.groups[-1].name, table.groups[-1].rows) == ("one answer to everything", [("majority class", ["79.87", *"––––"])])
    assert any(line.strip().startswith("majority class") and "79.87" in line for line in printed(table))
    assert "majority class" not in cells(beside("strategies", [labelled("kd", 13, 82.0)])), "old records do not say"
