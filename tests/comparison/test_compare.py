"""Runs and models beside a publication: `potstill compare --like`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from potstill.comparison.compare import compare
from potstill.errors import PotstillError, PotstillWarning
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
    _, table = compare([run_dir], like="distilface", data=sts_dir, threads=1)
    assert table is not None
    seconds = {name: cells[7] for name, cells in table.groups[1].rows}
    assert seconds["teacher, gone"] == seconds["undistilled cut"] == "–"
    assert 0 < float(seconds["student"]) < 5 and 0 < float(seconds["torch int8"]) < 5
    timed, teacher, cut = table.notes[-3:]
    assert "sts/stsb one text at a time, threads: 1" in timed
    assert "teacher: " in teacher and "its weights were not kept" in cut


def test_without_data_nothing_is_measured(run_dir: Path) -> None:
    _, table = compare([run_dir], like="distilface")
    assert table is not None
    assert {cells[7] for _, cells in table.groups[1].rows} == {"–"} and not any("one text at a time" in note for note in table.notes)


def test_a_model_is_scored_and_timed(tiny_encoder_dir: Path, sts_dir: Path) -> None:
    _, table = compare([tiny_encoder_dir], like="distilface", data=sts_dir, threads=1)
    assert table is not None
    ((name, cells),) = table.groups[1].rows
    assert (table.groups[1].name, name) == ("tiny-encoder", "tiny-encoder")
    assert "–" not in cells and float(cells[8]) == pytest.approx((tiny_encoder_dir / "model.safetensors").stat().st_size / 1000, abs=0.5)


def test_what_is_missing_is_told_first(tiny_encoder_dir: Path, run_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match="is no finished run, and to score a model takes data; add --data DIR"):
        compare([tiny_encoder_dir], like="distilface")
    with pytest.raises(PotstillError, match="sts-test.csv"):
        compare([run_dir], like="distilface", data=tmp_path)


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
    status, _, err = call("compare", run_dir, "--csv", tmp_path / "x", "--markdown", tmp_path / "x")
    assert status == 2 and err == f"error: {tmp_path / 'x'}: is to hold two things; name a file for each\n"


def test_evaluate_takes_the_precision(
    call: Callable[..., tuple[int, str, str]], tiny_encoder_dir: Path, sts_dir: Path, tmp_path: Path
) -> None:
    options = ("--tasks", "sts/stsb", "--data", sts_dir, "--precision", "torch-int8", "--json", tmp_path / "record.json")
    status, _, err = call("evaluate", tiny_encoder_dir, *options)
    assert status == 0, err
    assert Record.model_validate_json((tmp_path / "record.json").read_text()).role == "torch-int8"


@pytest.fixture
def seeds(tmp_path: Path) -> list[str]:
    """Two seeds of a recipe with a teacher, the second's record without a setting that has a default, and two on labels alone."""
    folders = []
    for method, seed, f1 in (("kd", 13, 82.0), ("kd", 14, 83.0), ("finetune", 13, 80.0), ("finetune", 14, 81.0)):
        scores = {"glue/mrpc": {"f1": f1, "primary": "f1"}}
        record = Record(name="student", role="student", model="gone", format="torch", scores=scores, machine=machine())
        recipe = {
            "name": method,
            "task": "glue/mrpc",
            "data": {"dir": "data"} if seed == 13 else {"dir": "data", "held_out": 1000},
            "teacher": {"model": "teacher"} if method == "kd" else None,
            "student": {"model": "start", "layers": 2, "width": 8, "heads": 2, "ffn": 16},
            "training": {"seed": seed},
            "stages": [{"name": "task", "share": 1.0, "terms": [{"loss": "hard_label"}]}],
        }
        folder = tmp_path / f"{method}-{seed}"
        folder.mkdir()
        Run(name=method, seed=seed, created="2026-11-21", recipe=recipe, records=[record]).write(folder)
        folders.append(str(folder))
    return folders


def test_seeds_are_one_row_and_get_a_verdict(call: Callable[..., tuple[int, str, str]], seeds: list[str], tmp_path: Path) -> None:
    targets = ("--csv", tmp_path / "t.csv", "--markdown", tmp_path / "t.md", "--html", tmp_path / "t.html")
    status, out, err = call("compare", *seeds, seeds[0], *targets)
    assert status == 0, err
    assert "better" in out and f"csv: {tmp_path / 't.csv'}" in out
    lines = (tmp_path / "t.csv").read_text().splitlines()
    assert len(lines) == 3 and lines[1].startswith('kd,distilled,2,"13, 14",8,2,') and lines[1].endswith(",2.0,better,finetune")
    assert "82.00–83.00" in (tmp_path / "t.md").read_text() and 'id="comparison"' in (tmp_path / "t.html").read_text()
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]


def test_the_baseline_is_named_or_among_the_runs(call: Callable[..., tuple[int, str, str]], seeds: list[str], tmp_path: Path) -> None:
    out = compare(seeds[:2])[0]
    assert [entry.verdict for entry in out.entries] == [""]
    out = compare(seeds[:2], baseline=seeds[2:])[0]
    assert [(entry.name, entry.verdict) for entry in out.entries] == [("kd", "better"), ("finetune", "")]
    status, _, err = call("compare", seeds[0], "--baseline", tmp_path / "nowhere")
    assert status == 2 and "nowhere" in err and len(err.splitlines()) == 1
    status, _, err = call("compare", seeds[0], "--csv", tmp_path)
    assert (status, err) == (2, f"error: {tmp_path}: is a folder; name a file\n")


def test_unfinished_runs_are_left_out_of_all_that_a_pattern_names(seeds: list[str], tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "recipe.yaml").touch()
    (tmp_path / "kd-search").mkdir()
    (tmp_path / "page.html").touch()
    with pytest.warns(PotstillWarning) as told:
        comparison = compare(sorted(map(str, tmp_path.iterdir())))[0]
    assert [(entry.name, entry.runs) for entry in comparison.entries] == [("finetune", 2), ("kd", 2)]
    assert [str(warning.message).removeprefix(f"{tmp_path}/").partition(";")[0] for warning in told] == [
        "broken: is no finished run and is left out",
        "kd-search: is no run and is left out",
        "page.html: is no run and is left out",
    ]


@pytest.mark.parametrize("others", [True, False], ids=["beside runs", "alone"])
@pytest.mark.parametrize("name", ["nowhere", "elsewhere/notes", "broken"])
def test_what_was_meant_is_no_run_and_an_error(seeds: list[str], tmp_path: Path, name: str, others: bool) -> None:
    (tmp_path / "elsewhere" / "notes").mkdir(parents=True)  # in another folder than the runs: no pattern gave it
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "recipe.yaml").touch()
    names = [*(seeds if others else []), str(tmp_path / name)]
    if others and name == "broken":
        with pytest.warns(PotstillWarning, match="is no finished run and is left out"):
            compare(names)
        return
    with pytest.raises(PotstillError, match=f"{name}.*no such file; name a run folder that"):
        compare(names)


def test_an_unfinished_baseline_is_an_error(seeds: list[str], tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "recipe.yaml").touch()
    with pytest.raises(PotstillError, match="no such file"):
        compare(seeds, baseline=[str(tmp_path / "broken")])


def test_models_of_one_shape_are_timed_once(run_dir: Path, tiny_encoder_dir: Path, sts_dir: Path, tmp_path: Path, monkeypatch: Any) -> None:
    timed: list[str] = []
    monkeypatch.setattr("potstill.comparison.compare.measure_pass", lambda where, *rest: timed.append(where) or float(len(timed)))
    sizes = {"model.safetensors": (tiny_encoder_dir / "model.safetensors").stat().st_size}
    for name, heads in (("same", 4), ("other", 2)):  # fewer heads of the same width: as many bytes, and another time
        shutil.copytree(run_dir, tmp_path / name)
        config = json.loads((tmp_path / name / "student" / "config.json").read_text())
        config |= {"num_attention_heads": heads, "id2label": {"0": name}}
        (tmp_path / name / "student" / "config.json").write_text(json.dumps(config))
    for name in ("run", "same", "other"):
        record = Record(name="student", role="student", model="gone", format="torch", files=sizes, machine=machine())
        Run(name=name, seed=1, created="2026-11-21", recipe={}, records=[record]).write(tmp_path / name)
    _, table = compare([tmp_path / name for name in ("run", "same", "other")], like="distilface", data=sts_dir, threads=1)
    assert table is not None
    assert [Path(where).parent.name for where in timed] == ["run", "other"]
    assert [cells[7] for group in table.groups[1:] for _, cells in group.rows] == ["1.00", "1.00", "2.00"]
    assert "Models of one shape and size were timed once." in table.notes
