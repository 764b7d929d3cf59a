"""Runs of one method on several tasks in the table of a publication."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.samples import labelled
from potstill.comparison.compare import compare
from potstill.errors import PotstillError
from potstill.results import Run

NINE = ("mnli", "mnli-mm", "qqp", "sst2", "qnli", "mrpc", "rte", "cola", "stsb")


def on(task: str, name: str, score: float, seed: int = 13, taught: bool = True, **student: object) -> Run:
    """A run of a method on one of GLUE's tasks, whose teacher has 90 there."""
    run = labelled(f"{name}-{task}", seed, score, taught, **student)
    for record in run.records:
        record.scores = {
            f"glue/{task}": {"f1": record.scores["glue/mrpc"]["f1"], "examples": 100, "primary": "f1", "majority": {"f1": 50.0}}
        }
        if record.role == "teacher":
            record.name, record.model = f"{task}-teacher", f"runs/{task}-teacher"
    return run.model_copy(update={"recipe": run.recipe | {"task": f"glue/{task}", "name": run.name}})


def written(folder: Path, *runs: Run) -> list[Path]:
    """A folder for each run."""
    places = [folder / f"{run.name}-{run.seed}-{number}" for number, run in enumerate(runs)]
    for place, run in zip(places, runs):
        place.mkdir(parents=True)
        run.write(place)
    return places


def rows(names: list[Path], like: str = "lrc-bert") -> dict[str, list[str]]:
    _, table = compare(names, like=like)
    assert table is not None
    return {f"{group.name}: {name}": cells for group in table.groups for name, cells in group.rows}


def test_nine_columns_and_their_mean(tmp_path: Path) -> None:
    found = rows(written(tmp_path, *(on(task, "lrc-bert", 80.0 + place) for place, task in enumerate(NINE))))
    assert found["lrc-bert: student"][:10] == [*(f"{80 + place}.00" for place in range(9)), "84.00"]
    assert found["lrc-bert: teacher, teacher of each task"][:10] == ["90.00"] * 10
    assert found["one answer to everything: majority class"][:10] == ["50.00"] * 10
    assert found["published: BERT-base"][9] == "79.60"


def test_the_mean_is_of_the_tasks_that_all_have(tmp_path: Path) -> None:
    runs = [*(on(task, "kd", 82.0, seed) for task in ("rte", "mrpc") for seed in (13, 14)), on("cola", "kd", 70.0)]
    runs += [on(task, "finetune", 80.0, taught=False, seed=seed) for task in ("mrpc", "rte") for seed in (13, 14)]
    names = written(tmp_path / "runs", *runs)
    html, table = tmp_path / "page.html", tmp_path / "table.csv"
    comparison, like = compare(names, html, like="lrc-bert", csv=table)
    assert like is not None and like.columns[9] == ("mean", "of 2")
    found = {f"{group.name}: {name}": cells for group in like.groups for name, cells in group.rows}
    assert found["kd, median of 2 runs: student"][5:10] == ["82.00", "82.00", "70.00", "–", "82.00"], "CoLA is not in the mean"
    assert found["published: BERT-base"][9] == "77.65", "of MRPC and RTE, as ours"
    kd = next(entry for entry in comparison.entries if entry.name == "kd")
    assert (kd.score, kd.runs, kd.verdict, kd.baseline) == (81.5, 2, "better", "finetune"), "seed by seed, over both tasks"
    assert comparison.tasks == ["glue/mrpc", "glue/rte"] and "The score is of MRPC, RTE, which every method has." in comparison.notes
    assert "kd" in html.read_text(encoding="utf-8") and "majority class" in table.read_text()


def test_a_table_of_one_task_shows_runs_of_others_by_their_method(tmp_path: Path) -> None:
    found = rows(written(tmp_path, on("mrpc", "kd", 82.0), on("rte", "kd", 70.0), on("rte", "pkd", 71.0)), "strategies")
    assert found["kd: student"][0] == "82.00" and found["pkd: student"][0] == "–"


def test_students_of_another_size_are_another_row(tmp_path: Path) -> None:
    found = rows(written(tmp_path, on("mrpc", "kd", 82.0), on("rte", "kd", 70.0, width=192)))
    assert len([name for name in found if name.endswith(": student")]) == 2


def test_two_runs_for_one_cell_are_refused(tmp_path: Path) -> None:
    names = written(tmp_path, on("mrpc", "kd", 82.0), on("rte", "kd", 70.0), on("rte", "kd", 71.0))
    with pytest.raises(PotstillError) as caught:
        rows(names)
    line = (
        f"compare: {names[1]} and {names[2]} are both kd on glue/rte with seed 13; name one of them, or give each recipe a name of its own"
    )
    assert str(caught.value) == line


def test_a_baseline_is_named_by_any_of_its_runs(tmp_path: Path) -> None:
    runs = [on(task, name, score) for name, score in (("kd", 82.0), ("other", 80.0)) for task in ("mrpc", "rte")]
    names = written(tmp_path, *runs)
    comparison, _ = compare(names, like="lrc-bert", baseline=[names[3]])
    assert [entry.baseline for entry in comparison.entries if entry.name == "kd"] == ["other"]


def test_without_a_publication_runs_of_two_tasks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        PotstillError, match="runs of different tasks.*; compare the runs of one task at a time, or put them .* with --like"
    ):
        compare(written(tmp_path, on("mrpc", "kd", 82.0), on("rte", "kd", 70.0)))
