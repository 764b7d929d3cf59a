"""Runs and models beside a publication: `potstill compare --like`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from potstill.comparison import beside
from potstill.errors import PotstillError
from potstill.results import Record, Run, machine

PAIRS = [("the river", "a river", 5), ("the village", "nine 9s", 1), ("a long text about a village", "and rivers", 2), ("x", "y z", 3)]


@pytest.fixture(scope="module")
def sts_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the sets of the distilface preset, four pairs each."""
    folder = tmp_path_factory.mktemp("sts")
    place = folder / "senteval" / "STS"
    for year in range(12, 16):
        (place / f"STS{year}-en-test").mkdir(parents=True)
        (place / f"STS{year}-en-test" / "STS.input.some.txt").write_text("".join(f"{a}\t{b}\n" for a, b, _ in PAIRS))
        (place / f"STS{year}-en-test" / "STS.gs.some.txt").write_text("".join(f"{score}\n" for *_, score in PAIRS))
    (place / "STSBenchmark").mkdir()
    rows = "".join(f"g\tf\ty\t{number}\t{score}\t{a}\t{b}\n" for number, (a, b, score) in enumerate(PAIRS))
    (place / "STSBenchmark" / "sts-test.csv").write_text(rows)
    return folder


@pytest.fixture
def run_dir(tmp_path: Path, tiny_encoder_dir: Path) -> Path:
    """A run's folder with a student, and records of four models, two of which are not there."""
    folder = tmp_path / "run"
    shutil.copytree(tiny_encoder_dir, folder / "student")
    records = [
        Record(name=role, role=role, model=str(tmp_path / "gone"), format="torch", machine=machine())
        for role in ("teacher", "undistilled", "student", "torch-int8")
    ]
    Run(name="tiny", seed=1, created="2026-11-21", recipe={}, records=records).write(folder)
    return folder


def test_runs_are_timed_where_there_is_data(run_dir: Path, sts_dir: Path) -> None:
    table, folders = beside("distilface", [str(run_dir)], sts_dir, threads=1)
    assert folders == [run_dir]
    seconds = {name: cells[7] for name, cells in table.groups[1].rows}
    assert seconds["teacher, gone"] == seconds["undistilled cut"] == "–"
    assert 0 < float(seconds["student"]) < 5 and 0 < float(seconds["torch int8"]) < 5
    assert "sts/stsb one text at a time, threads: 1" in table.notes[1]
    assert "teacher: " in table.notes[2] and "its weights were not kept" in table.notes[3]


def test_without_data_nothing_is_measured(run_dir: Path) -> None:
    table, _ = beside("distilface", [str(run_dir)])
    assert {cells[7] for _, cells in table.groups[1].rows} == {"–"} and len(table.notes) == 1


def test_a_model_is_scored_and_timed(tiny_encoder_dir: Path, sts_dir: Path) -> None:
    table, folders = beside("distilface", [str(tiny_encoder_dir)], sts_dir, threads=1)
    ((name, cells),) = table.groups[1].rows
    assert (folders, table.groups[1].name, name) == ([], "tiny-encoder", "tiny-encoder")
    assert "–" not in cells and float(cells[8]) == pytest.approx((tiny_encoder_dir / "model.safetensors").stat().st_size / 1000, abs=0.5)


def test_what_is_missing_is_told_first(tiny_encoder_dir: Path, run_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match="is no finished run, and to score a model takes data; add --data DIR"):
        beside("distilface", [str(tiny_encoder_dir)])
    with pytest.raises(PotstillError, match="sts-test.csv"):
        beside("distilface", [str(run_dir)], tmp_path)


def test_the_command(call: Callable[..., tuple[int, str, str]], run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    status, out, _ = call("compare", "--like", "distilface")
    assert status == 0 and all(figure in out for figure in ("53.73", "58.23", "72.10", "668", "410", "435,650", "265,489", "138,116"))
    assert max(map(len, out.splitlines())) <= 100
    status, out, _ = call("compare", "--like", "distilface", run_dir, "--html", tmp_path / "page.html")
    assert status == 0 and "torch int8" in out and "435,650" in (tmp_path / "page.html").read_text()
    assert call("compare", "--like", "distilfaec")[::2] == (2, "error: --like: unknown preset 'distilfaec'; did you mean 'distilface'?\n")
    status, _, err = call("compare")
    assert status == 2 and err == "error: compare: no run is named; name run folders, or a publication with --like\n"


def test_evaluate_takes_the_precision(
    call: Callable[..., tuple[int, str, str]], tiny_encoder_dir: Path, sts_dir: Path, tmp_path: Path
) -> None:
    options = ("--tasks", "sts/stsb", "--data", sts_dir, "--precision", "torch-int8", "--json", tmp_path / "record.json")
    status, _, err = call("evaluate", tiny_encoder_dir, *options)
    assert status == 0, err
    assert Record.model_validate_json((tmp_path / "record.json").read_text()).role == "torch-int8"
