"""Entries of a comparison: who is held against whom, and with what result; the table on a terminal, as CSV, as Markdown."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from helpers.pages import validate
from helpers.samples import RUNS, labelled, make_run, save_model
from potstill.comparison.against import Comparison, compare_groups
from potstill.comparison.charts import pareto, trade_charts
from potstill.comparison.published import read_preset, with_published
from potstill.comparison.sheet import as_csv, as_markdown, print_sheet, sheet_columns
from potstill.comparison.summary import summary
from potstill.errors import PotstillError
from potstill.report.grouped import group_runs
from potstill.report.svg import draw
from potstill.results import Run


def compared(runs: list[Run]) -> Comparison:
    return compare_groups(group_runs(runs, [None] * len(runs)))


def entry(comparison: Comparison, name: str) -> Any:
    return next(each for each in comparison.entries if each.name == name)


def test_each_is_held_against_the_same_student_without_distillation() -> None:
    comparison = compared(RUNS)
    assert [each.name for each in comparison.entries] == ["all-mpnet-base-v2", "finetune", "kd", "pkd", "lrc"]
    assert [each.verdict for each in comparison.entries] == ["", "", "better", "not better", "undecided"]
    kd = entry(comparison, "kd")
    assert (kd.baseline, kd.runs, kd.score, kd.low, kd.high) == ("finetune", 3, 81.5, 80.5, 83.5), "of int8, which ships"
    assert kd.gain == pytest.approx(2.0) and kd.of_teacher == pytest.approx(100 * 81.5 / 90)
    assert (kd.fp32, kd.int8, kd.width, kd.layers) == (pytest.approx(68.973056), pytest.approx(17.493871), 384, 3)
    assert entry(comparison, "finetune").of_teacher == pytest.approx(100 * 79.5 / 90)


def test_the_score_is_of_a_file_that_every_run_has() -> None:
    bare = labelled("bare", 13, 83.0)
    del bare.records[2]
    comparison = compared([*RUNS, bare])
    assert entry(comparison, "kd").score == 82.0 and "every run’s torch model" in comparison.notes[0]
    more = labelled("kd", 16, 83.0)  # a seed of several is a run too
    del more.records[2]
    assert "every run’s torch model" in compared([*RUNS, more]).notes[0]


def test_of_several_students_of_a_shape_the_one_of_the_same_start_is_the_baseline(tmp_path: Path) -> None:
    (tmp_path / "t" / "student").mkdir(parents=True)
    mine, foreign = str(tmp_path / "t" / "student"), str(tmp_path / "other" / "student")
    kd = labelled("kd", 13, 82.0, model=None)
    kd.recipe["teacher"] = {"model": str(tmp_path / "t")}  # cut from its teacher
    plain = labelled("cut", 13, 80.0, taught=False, model=mine), labelled("grown", 13, 81.0, taught=False, model=foreign)
    assert entry(compared([*plain, kd]), "kd").baseline == "cut"
    kd.recipe["student"]["model"] = foreign
    assert entry(compared([*plain, kd]), "kd").baseline == "grown"
    kd.recipe["student"]["model"] = "elsewhere"
    comparison = compared([*plain, kd])
    assert entry(comparison, "kd").verdict == "" and "kd has no verdict: cut and grown" in " ".join(comparison.notes)


@pytest.mark.parametrize(
    "other",
    [
        {"layers": 6},  # deeper
        {"width": 96},  # narrower
        {"kind": "bilstm"},  # of another architecture
    ],
)
def test_a_student_of_another_shape_is_no_baseline(other: dict[str, Any]) -> None:
    runs = [run for run in RUNS if run.recipe["teacher"]] + [labelled("finetune", seed, 80, taught=False, **other) for seed in (13, 14)]
    assert {each.verdict for each in compared(runs).entries} == {""}


def test_of_two_baselines_none_is_guessed() -> None:
    second = [run.model_copy(update={"name": "other"}) for run in RUNS[:3]]
    comparison = compared([*RUNS, *second])
    assert entry(comparison, "kd").verdict == "" and any("name one with --baseline" in note for note in comparison.notes)


def test_a_named_baseline(tmp_path: Path) -> None:
    folders: list[Path | None] = [tmp_path / str(number) for number in range(len(RUNS))]
    comparison = compare_groups(group_runs(RUNS, folders), [tmp_path / "6"])
    assert entry(comparison, "kd").baseline == "pkd" and entry(comparison, "pkd").verdict == ""
    assert "pkd, named as baseline, was distilled itself." in comparison.notes
    with pytest.raises(PotstillError, match="--baseline: .*nowhere is not among the runs"):
        compare_groups(group_runs(RUNS, folders), [tmp_path / "nowhere"])


def test_a_named_baseline_of_another_shape_is_told(tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in range(2)]
    groups = group_runs([labelled("wide", 13, 80.0, taught=False, layers=6), RUNS[3]], folders)
    assert "wide, named as baseline, is of another shape than kd." in compare_groups(groups, folders[:1]).notes
    groups = group_runs([RUNS[0], RUNS[3]], folders)
    assert not any("named as baseline" in note for note in compare_groups(groups, folders[:1]).notes)


def test_of_embeddings_the_student_before_training_is_the_baseline() -> None:
    comparison = compared([make_run()])
    (own,) = [each for each in comparison.entries if each.kind == "distilled"]
    assert own.baseline == "mpnet-to-3-layers, before training" and own.verdict == "undecided" and own.gain is not None


def test_a_run_that_taught_the_others_is_their_teacher(tmp_path: Path) -> None:
    teacher = labelled("finetune-mrpc", 13, 90.0, taught=False, layers=None)
    runs = [run.model_copy(deep=True) for run in RUNS]
    for run in runs:
        for record in run.records:
            if record.role == "teacher":
                record.model, record.cost = str(tmp_path / "teacher"), None
    save_model(tmp_path / "teacher" / "student", width=768, layers=12)
    comparison = compare_groups(group_runs([*runs, teacher], [None] * len(runs) + [tmp_path / "teacher"]))
    assert comparison.groups[-1].name == "all-mpnet-base-v2"
    top = comparison.entries[0]
    assert [each.name for each in comparison.entries][1:] == ["finetune", "kd", "pkd", "lrc"]
    assert (top.kind, top.width, top.layers, top.p50_ms) == ("teacher", 768, 12, 4.63), "its cost stands in its own run"
    teachers = [dot.y for dot in validate(trade_charts(comparison)["size"]).dots if dot.series == "teacher"]
    assert teachers == [90.0, 89.5], "and so do the smaller files of it, which need no student"


def test_a_teacher_is_one_however_it_is_written_and_the_fullest_figures_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "teacher" / "student").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    runs = [labelled("finetune", 13, 80.0, taught=False), *(labelled(name, 13, 82.0) for name in ("kd", "lrc", "pkd"))]
    for run, place in zip(runs[1:], ("./teacher/", str(tmp_path / "teacher"), "teacher/student")):
        run.records[0].model = place
    runs[1].records[0].cost = None
    comparison = compared(runs)
    assert [each.kind for each in comparison.entries] == ["teacher", "without distillation", *["distilled"] * 3]
    assert (comparison.entries[0].fp32, comparison.entries[0].p50_ms) == (437.967648, 48.2)
    assert comparison.entries[1].of_teacher == pytest.approx(100 * 79.5 / 90)


def test_the_sentence_names_one_that_is_better_not_the_luckiest_seed() -> None:
    sentence, counts = summary(compared(RUNS))
    assert sentence == "kd keeps 90.6 % of the teacher’s MRPC F1, 6.3× smaller"
    assert counts == "4 methods, 9 runs; against the same student without distillation 1 better, 1 not better, 1 undecided."
    assert summary(compared(RUNS[:3] + RUNS[6:]))[0] == "No method is shown to be better than finetune"
    assert summary(compared(RUNS[3:]))[0].startswith("lrc keeps 93.9 %"), "no verdict at all"
    assert summary(compared([]))[0] == "Nothing was scored yet"


def test_csv_has_every_digit_and_runs_no_formula() -> None:
    runs = [*RUNS, labelled("=1+1", 13, 80.123456)]
    rows = list(csv.DictReader(io.StringIO(as_csv(compared(runs)))))
    assert [row["name"] for row in rows][-1] == "'=1+1" and float(rows[-1]["score"]) == 79.623456
    assert rows[2]["seeds"] == "13, 14, 15" and rows[2]["accuracy"] == "74.5" and rows[0]["verdict"] == ""


def test_markdown_marks_what_was_published() -> None:
    text = as_markdown(with_published(compared(RUNS), read_preset("strategies")))
    lines = text.splitlines()
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1
    assert "| *DualTrain + SharedProjUp, 192* (published) |" in text and "MRPC F1" in lines[0]
    assert next(line for line in lines if line.startswith("| kd |")).count("better") == 1
    assert "BERT-base; DualTrain + SharedProjUp, 192; " in text and "PKD, 3 layers: table 1 of the comparison" in text


def with_majority(run: Run, right: float = 90.0) -> Run:
    """The run's records with what 66 % of one label of two score, and the recall of both: that of the other is `right`."""
    for record in run.records:
        record.scores["glue/mrpc"] |= {
            "majority": {"f1": 79.87, "accuracy": 66.49},
            "majority_answer": "yes",
            "classes": {
                "yes": {"precision": 90.0, "recall": 95.0, "f1": 92.0, "gold": 1147},
                "no": {"precision": 90.0, "recall": right if record.role != "teacher" else 90.0, "f1": 90.0, "gold": 578},
            },
        }
    return run


def test_the_majority_class_is_a_row_of_every_table(tmp_path: Path) -> None:
    comparison = compared([with_majority(labelled("kd", 13, 82.0)), with_majority(labelled("finetune", 13, 80.0, taught=False))])
    assert [each.name for each in comparison.entries] == ["all-mpnet-base-v2", "majority class", "kd", "finetune"]
    row = comparison.entries[1]
    assert (row.kind, row.score, row.measures, row.runs, row.parameters) == ("one answer", 79.87, {"accuracy": 66.49}, 0, None)
    assert row.of_teacher == pytest.approx(100 * 79.87 / 90), "so much of F1 is kept by learning nothing"
    (line,) = [line for line in csv.DictReader(io.StringIO(as_csv(comparison))) if line["name"] == "majority class"]
    assert (line["kind"], line["score"], line["accuracy"], line["gain"], line["verdict"]) == ("one answer", "79.87", "66.49", "", "")
    assert "| majority class | 79.87 | – | – | – | – | – | – | – | 88.7 | 66.49 |" in as_markdown(comparison)
    stream = io.StringIO()
    print_sheet(comparison, Console(file=stream, width=140))
    assert any(line.strip().startswith("majority class") and "79.87" in line for line in stream.getvalue().splitlines())
    assert {"compress", "size"} <= set(trade_charts(comparison))
    assert entry(compared(RUNS), "kd") and all(each.kind != "one answer" for each in compared(RUNS).entries), "old records do not say"


def test_a_column_has_its_best_among_models_that_learnt_something() -> None:
    runs = [with_majority(labelled(name, seed, f1)) for name, f1 in (("kd", 70.0), ("pkd", 75.0)) for seed in (13, 14)]
    assert bold(compared(runs), "median") == "74.50"


def bold(comparison: Comparison, title: str) -> str | None:
    return next(column for column in sheet_columns(comparison) if column.title == title).best(comparison.entries)


@pytest.mark.parametrize(
    ("kd", "pkd", "wanted"),
    [
        ([82.0, 83.0], [80.0, 81.0], "82.00"),  # every seed above every seed; of int8, half a point below
        ([82.0, 83.0], [80.0, 82.5], None),  # one seed of the other is above one of its
        ([82.0, 83.0], [80.0], None),  # a single run tells nothing
        ([83.0], [80.0, 81.0], None),
    ],
)
def test_noise_is_never_bold(kd: list[float], pkd: list[float], wanted: str | None) -> None:
    scores = {"kd": kd, "pkd": pkd}
    comparison = compared([labelled(name, 13 + number, f1) for name, each in scores.items() for number, f1 in enumerate(each)])
    assert bold(comparison, "median") == wanted
    assert (bold(comparison, "of teacher") is None) == (wanted is None)
    assert bold(comparison, "speed-up") is None and bold(comparison, "accuracy") is None, "nothing tells how far these scatter"
    stream = io.StringIO()
    print_sheet(comparison, Console(file=stream, width=140, force_terminal=True))
    assert ("\x1b[1m82.00" in stream.getvalue()) == (wanted is not None)


def test_sizes_are_counted_and_not_measured() -> None:
    small = labelled("small", 13, 80.0)
    for record in small.records:
        if record.cost is not None and record.role != "teacher":
            record.cost.bytes //= 2
    comparison = compared([labelled("kd", 13, 82.0), small])
    assert bold(comparison, "int8") is not None and bold(comparison, "int8") == min(
        (f"{each.int8:,.1f}" for each in comparison.entries if each.int8 is not None), key=float
    )


@pytest.mark.parametrize(
    ("right", "teacher_right", "words"),
    [
        # both are better than the majority class
        (60.0, 90.0, "kd keeps 90.6 % of the teacher’s MRPC F1"),
        # the student has learnt nothing
        (5.0, 90.0, "kd reaches MRPC F1 81.50, no better than the majority class (79.87)"),
        # its teacher has learnt nothing
        (60.0, 5.0, "kd reaches MRPC F1 81.50, but its teacher is no better than the majority class (79.87)"),
        # neither has
        (5.0, 5.0, "kd reaches MRPC F1 81.50, no better, nor is its teacher, than the majority class (79.87)"),
    ],
)
def test_no_share_is_told_of_what_the_majority_class_reaches(right: float, teacher_right: float, words: str) -> None:
    run = with_majority(labelled("kd", 13, 82.0), right)
    run.records[0].scores["glue/mrpc"]["classes"]["no"]["recall"] = teacher_right
    assert summary(compared([run]))[0].startswith(words)


def test_published_scores_are_set_against_their_own_teacher() -> None:
    comparison = with_published(compared(RUNS), read_preset("strategies"))
    pkd = entry(comparison, "PKD, 6 layers")
    assert (pkd.kind, pkd.score, pkd.layers, pkd.verdict) == ("published", 85.0, 6, "")
    assert pkd.of_teacher == pytest.approx(100 * 85.0 / 88.9)
    assert entry(with_published(compared(RUNS), read_preset("lrc-bert")), "TinyBERT, 4 × 312").score == 86.4, "of its tasks MRPC"
    assert entry(with_published(compared([make_run()]), read_preset("lrc-bert")), "BERT-base").score is None


@pytest.mark.parametrize(
    "width",
    [
        80,  # few columns
        100,  # more of them
        200,  # all
    ],
)
def test_the_terminal_shows_whole_figures(width: int) -> None:
    stream = io.StringIO()
    runs = [run.model_copy(update={"name": f"{run.name} with a rather long name that goes on"}) for run in RUNS]
    print_sheet(compared(runs), Console(file=stream, width=width))
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= width and "…" not in stream.getvalue()
    assert any("81.50" in line and "better" in line for line in lines)
    assert ("80.50–83.50" in stream.getvalue()) == (width > 80)


def test_names_are_not_read_as_markup() -> None:
    stream = io.StringIO()
    print_sheet(compared([labelled("[red]x[/]", 13, 80.0)]), Console(file=stream, width=120))
    assert "[red]x[/]" in stream.getvalue()


def test_the_front() -> None:
    assert pareto([(3, 5), (1, 2), (2, 2), (2, 1), (1, 1), (4, 5), (5, 6)]) == [(1, 2), (3, 5), (5, 6)]


def test_the_charts_hold_every_file_and_the_front() -> None:
    comparison = with_published(compared(RUNS), read_preset("strategies"))
    size, latency, kept = (validate(chart) for chart in trade_charts(comparison).values())
    points = Counter(dot.series for dot in size.dots)
    assert points == {"teacher": 1, "without distillation": 2, "student": 3, "int8": 3}
    (front,) = size.lines
    assert [y for _, y in front.points] == [84.5, 85.0, 90.0], "lrc in int8, in fp32, the teacher"
    spread = next(dot for dot in size.dots if dot.series == "int8")
    assert (spread.y, spread.low, spread.high) == (81.5, 80.5, 83.5)
    assert Counter(dot.series for dot in latency.dots) == points and latency.y == size.y, "on one scale"
    assert Counter(dot.series for dot in kept.dots) == {"teacher": 1, "without distillation": 1, "int8": 3, "published": 7}
    assert kept.y.high == 100.0
    assert "latency" in trade_charts(compared([labelled("one", 13, 80.0, taught=False)]))
    assert "compress" not in trade_charts(compared([make_run(cost=False)]))


def test_numbers_stand_for_names_only_beside_their_key() -> None:
    few = compared([labelled("a", 13, 80.0), labelled("b", 13, 82.0)])
    assert "<ol" not in draw(trade_charts(few)["size"])
    many = compared([labelled(f"method {number}", 13, 80.0 + number / 4) for number in range(12)])
    drawn = draw(validate(trade_charts(many)["size"]))
    assert drawn.count("<ol") == 2 and drawn.count(">method 11</li>") == 2


def test_equal_scores_leave_nothing_to_draw() -> None:
    runs = [labelled(name, 13, 90.0) for name in ("a", "b")]
    for run in runs:
        for record in run.records:
            record.scores["glue/mrpc"]["f1"] = 90.0
    assert trade_charts(compared(runs)) == {}
