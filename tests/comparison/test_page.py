"""The comparison's page in a real browser: it sorts, it hides and shows, and its console stays empty."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.pages import Reader, Save
from helpers.samples import RUNS, labelled, make_cases, make_metrics, make_run
from potstill.comparison.against import compare_groups
from potstill.comparison.page import write_comparison
from potstill.comparison.published import like_table, read_preset, with_published
from potstill.errors import PotstillError
from potstill.report.grouped import group_runs

# What a reader does, done by a script at the end of a copy of the page: what was seen after each step goes into the document.
DRIVER = """<script>
const seen = document.body.appendChild(document.createElement("ol"));
seen.id = "seen";
const tell = (what, value) => { seen.appendChild(document.createElement("li")).textContent = `${what}: ${value}`; };
const names = () => [...document.querySelectorAll(".sheet tbody th")].map((cell) => cell.childNodes[1].textContent).join(" | ");
const heading = (title) => [...document.querySelectorAll(".sheet thead button")].find((each) => each.firstChild.textContent === title);
const charts = [...document.querySelectorAll("#trade .chart")];
const shown = (mark) => mark.getBoundingClientRect().width > 0;
const points = (number) => [...charts[number].querySelectorAll(".dots > :not(.bar)")].filter(shown).length;
const key = (series) => document.querySelector(`button[data-series="${series}"]`);
tell("at first", names());
heading("median").click();
tell("by score", names());
tell("marked", heading("median").parentElement.getAttribute("aria-sort"));
heading("median").click();
tell("by score upwards", names());
heading("verdict").click();
tell("by verdict", names());
heading("Method").click();
tell("by number", names());
tell("verdict narrow", heading("verdict").closest("th").offsetWidth < 120);
tell("points", `${points(0)} ${points(2)}`);
key("int8").click();
tell("without int8", `${points(0)} ${points(2)} ${key("int8").getAttribute("aria-pressed")}`);
key("int8").click();
tell("with int8", `${points(0)} ${points(2)} ${key("int8").getAttribute("aria-pressed")}`);
</script></body>"""
OURS = "all-mpnet-base-v2 | finetune | kd | pkd | lrc"


def test_a_reader_sorts_and_hides(save_run: Save, browse: Callable[[Path], str], tmp_path: Path) -> None:
    folders = [save_run(run) for run in RUNS]
    groups, preset = group_runs(RUNS, folders), read_preset("strategies")
    page = tmp_path / "page.html"
    write_comparison(folders, page, like_table(preset, groups), with_published(compare_groups(groups), preset))
    document = page.read_text(encoding="utf-8")
    assert Reader(document).outside == [] and "://" not in document
    page.write_text(DRIVER.join(document.rsplit("</body>", 1)), encoding="utf-8")
    drawn = browse(page)
    seen = dict(re.findall(r"<li>(.*?): (.*?)</li>", drawn.partition('<ol id="seen">')[2]))
    published = " | ".join(row.name for row in preset.published)
    assert seen["at first"] == seen["by number"] == f"{OURS} | {published}"
    by_score = seen["by score"].split(" | ")
    assert by_score[:3] == ["all-mpnet-base-v2", "BERT-base", "DistilBERT"] and seen["marked"] == "descending"
    assert by_score[-3:] == ["finetune", "DualTrain + SharedProjUp, 48", "pkd"], "79.5, 79.3, 79.0"
    assert seen["by score upwards"].split(" | ")[:2] == ["pkd", "DualTrain + SharedProjUp, 48"]
    assert seen["by verdict"].split(" | ")[:3] == ["kd", "lrc", "pkd"], "no verdict stays last"
    assert seen["verdict narrow"] == "true", "or the last columns are out of sight on a screen of 1,280 pixels"
    assert (seen["points"], seen["without int8"], seen["with int8"]) == ("9 12", "6 9 false", "9 12 true")
    reader = Reader(drawn)
    assert list(reader.charts) == ["Against size", "Against latency", "Kept of the teacher, by compression"]
    assert any(row[0] == "DualTrain + SharedProjUp, 192" and "5.74" in row for row in reader.rows if row)
    assert "kd keeps 90.6&nbsp;% of the teacher’s MRPC F1" in drawn


def test_the_page_of_one_recipe_with_seeds(save_run: Save, tmp_path: Path) -> None:
    write_comparison([save_run(run) for run in RUNS[3:6]], tmp_path / "page.html")
    document = (tmp_path / "page.html").read_text(encoding="utf-8")
    own = document
    assert 'id="comparison"' in own and "<dt>Seeds</dt><dd>13, 14, 15</dd>" in own and own.count("<summary>") == 1


def test_a_chart_of_the_teacher_s_files_alone_is_left_out(save_run: Save, tmp_path: Path) -> None:
    runs = [labelled("finetune", 13, 80.0, taught=False), labelled("kd", 13, 82.0), labelled("teacher", 13, 90.0, taught=False)]
    folders = [save_run(run) for run in runs]
    for run, folder in zip(runs[:2], folders):
        for record in run.records:
            if record.role == "teacher":
                record.model = str(folders[2])
            elif record.cost is not None:
                record.cost.latency_p50_ms = 0.0  # as good as not measured: no place on an axis of decades
        run.write(folder)
    write_comparison(folders, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert list(Reader(page).charts) == ["Against size", "Kept of the teacher, by compression"]


def test_names_are_escaped(save_run: Save, tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>"
    runs = [run.model_copy(update={"name": evil}) for run in RUNS]
    write_comparison([save_run(run) for run in runs], tmp_path / "page.html")
    assert "<img" not in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_browser_draws_a_comparison(save_run: Save, browse: Callable[[Path], str], tmp_path: Path) -> None:
    folders = [save_run(make_run("one"), make_metrics()), save_run(make_run("two", shift=-2, scale=0.6), make_metrics(seed=1))]
    write_comparison(folders, tmp_path / "all.html")
    page = Reader(browse(tmp_path / "all.html"))
    assert [row[0] for row in page.rows if len(row) == 1] == ["one", "two"]
    assert page.charts["Against size"]["dot"] == 9, "four of each, and the teacher once"
    assert all(page.charts[name]["path.line"] == 2 for name in ("Loss by step", "Score by step", "Learning rate by step"))


def test_a_browser_draws_two_losses_and_the_angles_side_by_side(save_run: Save, browse: Callable[[Path], str], tmp_path: Path) -> None:
    runs = [make_run("angles").model_copy(update={"cases": make_cases()})]
    runs += [make_run("squares").model_copy(update={"cases": make_cases("hidden_mse", 4.0)})]
    write_comparison([save_run(run, make_metrics(("first", "second"))) for run in runs], tmp_path / "all.html")
    page = Reader(browse(tmp_path / "all.html"))
    cells = [[cell.strip() for cell in row] for row in page.rows]
    first = cells.index(["He left . | He went ."])
    assert cells[first + 1 : first + 3] == [["angles cos_nce", "10.0", "20.0"], ["squares hidden_mse", "14.0", "24.0"]]
    assert page.charts["Loss by step"]["path.line"] == 2


@pytest.mark.parametrize(
    ("run", "target", "said"),
    [
        ("absent", "report.html", "absent/results.json|absent: no such file"),  # no such run
        (None, "report.html", "no run is named"),  # no run at all
        ("run-0", "", "is a folder"),  # a folder in the page's place
    ],
)
def test_bad_places_are_named(run: str | None, target: str, said: str, save_run: Save, tmp_path: Path) -> None:
    save_run(make_run())
    with pytest.raises(PotstillError, match=said):
        write_comparison([tmp_path / run] if run else [], tmp_path / target)
    assert not (tmp_path / "report.html").exists()
