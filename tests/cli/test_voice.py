"""How much the command says: --smoke, --log, -q, -v, completion, and models found by name."""

from __future__ import annotations

import io
import json
import logging
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import yaml

from potstill.cli import voice
from potstill.cli.commands import app
from potstill.errors import PotstillWarning
from potstill.machine import progress as module


@pytest.fixture
def work(tmp_path, monkeypatch, tiny_encoder_dir, labelled_dir, tiny_teachers):
    """A working folder with a recipe of labels, whose models lie in POTSTILL_MODELS."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("POTSTILL_MODELS", str(tmp_path / "models"))
    shutil.copytree(tiny_encoder_dir, tmp_path / "models" / "tiny" / "encoder")
    shutil.copytree(tiny_teachers["classification"], tmp_path / "models" / "judge")
    stages = [
        {"name": "first", "share": 0.5, "terms": [{"loss": "hard_label"}]},
        {"name": "second", "share": 0.5, "terms": [{"loss": "soft_target"}, {"loss": "hard_label"}]},
    ]
    recipe = {
        "name": "about",
        "task": "classification/about",
        "data": {"dir": str(labelled_dir)},
        "teacher": {"model": "judge"},
        "student": {"model": "tiny/encoder", "layers": 2},
        "training": {"epochs": 40, "batch_size": 32},
        "stages": stages,
        "evaluate": ["classification/about"],
        "export": {"int8": {"min_cosine": 1.0}},
    }
    Path("r.yaml").write_text(yaml.safe_dump(recipe))
    yield tmp_path
    voice.choose(quiet=False, verbose=False)


def test_a_smoke_run_takes_every_step_says_so_and_is_not_compared(call, work, monkeypatch):
    monkeypatch.setattr(module, "EVERY", 0.0)  # a line at every advance
    status, out, err = call("train", "r.yaml", "--smoke", "--log", "logs/run.log", "--set", "evaluate=[classification/about]")
    folder = Path("runs/about-smoke")
    assert status == 0 and "A smoke run: every step on a few dozen rows, so its scores mean nothing." in out
    assert all((folder / file).is_file() for file in ("report.html", "onnx/model_quantized.onnx", "student/model.safetensors"))
    results = json.loads((folder / "results.json").read_text())
    assert results["recipe"]["smoke"] is True and results["training"]["steps"] == 4
    assert {record["scores"]["classification/about"]["examples"] for record in results["records"]} == {16}
    assert "its scores mean nothing" in (folder / "report.html").read_text()
    said = re.search(r"^train second: done in .*; step 2 of 2, loss [0-9.]+, best classification/about-dev [0-9.]+$", err, re.MULTILINE)
    assert said is not None
    logged = Path("logs/run.log").read_text()
    assert re.search(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d train first: done in ", logged, re.MULTILINE)

    status, _, err = call("compare", folder)
    assert (status, err) == (2, f"error: {folder}: is a smoke run, whose scores mean nothing; compare runs without --smoke\n")
    status, _, err = call("train", "r.yaml", "--smoke", "--log", "logs/run.log")
    assert status == 2 and "error: runs/about-smoke: holds a run already" in Path("logs/run.log").read_text()


def test_quiet_leaves_warnings_out_and_verbose_shows_where_an_error_arose(call, work):
    for options, said in (([], "warning: it is doubtful\n"), (["-q"], "")):
        assert call(*options, "check", "r.yaml")[0] == 0
        assert warnings.formatwarning("it is doubtful", PotstillWarning, "file.py", 1) == said  # pytest takes what would be printed
    status, _, err = call("-v", "check", "r.yaml", "--set", "teacher.model=nowhere")
    assert status == 2 and "Traceback" in err and err.splitlines()[-1].startswith("error: nowhere: no such folder")
    assert call("-q", "-v", "check", "r.yaml")[::2] == (2, "error: --quiet: is given with --verbose; drop one of them\n")


def test_quiet_tells_an_error_once(call, work):
    status, out, err = call("-q", "encode", "tiny/encoder", "none.txt", "--out", "v.npy")
    assert (status, out) == (2, "") and err == "error: none.txt: does not exist; check the path (the folder . does exist)\n"


def test_a_name_that_is_not_among_the_models_is_told_with_one_that_is(call, work):
    _, _, err = call("check", "r.yaml", "--set", "student.model=tiny/encodr")
    assert "tiny/encodr: no such folder, and the hub cannot be reached" in err
    assert (
        f"POTSTILL_MODELS ({work / 'models'}) has none of that name; name a local folder, or connect; did you mean 'tiny/encoder'?" in err
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POTSTILL_MODELS", str(work / "r.yaml"))
        assert "error: POTSTILL_MODELS: " in call("check", "r.yaml")[2]


def test_a_tracker_that_is_not_installed_is_told_by_check(call, work):
    _, _, err = call("check", "r.yaml", "--set", "training.report_to=[trackio]")
    assert "training.report_to: trackio is not installed; pip install" in err and "[trackio]" in err
    assert "training.report_to" in call("check", "r.yaml", "--set", "training.report_to=[mlflow]")[2]


def test_check_tells_steps_time_and_size(call, work):
    _, out, _ = call("check", "r.yaml")
    rows = dict(re.findall(r"^(steps|student's size|time) +(.*?) *$", out, re.MULTILINE))
    # 96 rows in batches of 32, forty times over; half of the steps are the first stage's
    assert rows["steps"] == "about 120 (first 60, second 60): 3,840 texts, 40 epochs"
    assert re.match(r"0\.\d million parameters: 0\.\d MB in fp32, about 0\.\d in int8", rows["student's size"])
    # fp32 twice and int8 make nine bytes a parameter; each stage keeps two checkpoints, and a fifth is written before one goes
    told = r"run folder about (0\.\d) MB: student (0\.\d) MB, ONNX \2 MB, int8 0\.\d MB; while it trains up to ([0-9.]+) MB of checkpoints"
    size = re.search(told, " ".join(out.split()))
    assert size is not None and float(size[3]) == pytest.approx(65 / 9 * float(size[1]), abs=0.5)
    assert re.match(r"roughly \d+ (s|min) for the teacher's answers and the steps, by 8", rows["time"])


def test_check_counts_some_of_many_texts_for_all(call, work, monkeypatch):
    monkeypatch.setattr("potstill.check.effort.COUNTED", 40)  # one in three
    assert "about 120 (first 60, second 60): 3,840 texts, 40 epochs" in " ".join(call("check", "r.yaml")[1].split())
    fixed = ("--set", "stages.0.share=null", "--set", "stages.1.share=null", "--set", "stages.0.steps=7", "--set", "stages.1.epochs=10")
    assert "about 37 (first 7, second 30): 1,184 texts, 12.3 epochs" in " ".join(call("check", "r.yaml", *fixed)[1].split())


def test_check_counts_epochs_with_the_copies_that_augmentation_makes(call, work):
    status, out, err = call("check", "r.yaml", "--set", "data.augment.copies=2", "--set", "training.epochs=5")
    assert status == 0, err
    # 96 rows and two copies of each
    assert "1,440 texts, 5 epochs" in " ".join(out.split())


def test_a_shell_completes_recipes(capsys, monkeypatch):
    monkeypatch.setenv("_POTSTILL_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "potstill train embed/py")
    monkeypatch.setenv("COMP_CWORD", "2")
    monkeypatch.setattr("sys.argv", ["potstill"])
    with pytest.raises(SystemExit):
        app(prog_name="potstill")
    assert capsys.readouterr().out.split() == ["embed/python-docs"]


def test_progress_goes_on_without_the_stream_of_a_command_before(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    voice.begin()
    monkeypatch.undo()
    logging.getLogger("potstill").info("seen")
    assert stream.getvalue() == "seen\n"
    stream.close()
    logging.getLogger("potstill").info("nobody sees it")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("show kd/clasification", "error: kd/clasification: no such recipe file, and no shipped recipe of that name; did you mean"),
        ("list nothing", "error: list: unknown kind 'nothing'; known: "),
        ("train r.yaml --workers 2", "error: --workers: works only with --ray; "),
        ("-q -v check r.yaml", "error: --quiet: is given with --verbose; drop one of them"),
        ("train r.yaml -q", "error: potstill train: no such option: -q; it stands before the command: potstill -q train …"),
        ("train r.yaml --sed", "error: potstill train: no such option: --sed"),
        ("check", "error: potstill check: missing argument 'RECIPE'; see potstill check --help"),
        ("trian r.yaml", "error: potstill: no such command 'trian'"),
        ("--nothing", "error: potstill: no such option: --nothing; see potstill --help"),
    ],
)
def test_what_is_refused_before_a_command_begins_is_one_line(arguments, line):
    done = subprocess.run([sys.executable, "-m", "potstill.cli", *arguments.split()], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert done.stderr.startswith(line)
