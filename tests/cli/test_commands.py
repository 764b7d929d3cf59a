"""The command: quick to answer, exact about mistakes, and nothing left behind after one."""

from __future__ import annotations

import errno
import gzip
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import potstill
from potstill.cli import show
from potstill.errors import install
from potstill.machine.held import held


def test_help_answers_in_half_a_second_and_loads_nothing_heavy():
    subprocess.run([sys.executable, "-m", "potstill.cli", "--help"], capture_output=True, check=True)  # compiled once
    quickest = float("inf")
    for _ in range(3):
        before = _spent()
        done = subprocess.run([sys.executable, "-m", "potstill.cli", "--help"], capture_output=True, text=True, check=True)
        quickest = min(quickest, _spent() - before)
    commands = ("check", "train", "evaluate", "export", "encode", "demo", "predict", "compare", "list", "quickstart")
    assert quickest < 0.5 and all(name in done.stdout for name in commands)
    code = "import sys, potstill.cli.commands; print([m for m in ('torch', 'transformers', 'numpy', 'onnxruntime') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def _spent() -> float:
    """Seconds of the processor that ended commands took: other tests run beside this one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("recipes", "embed/python-docs"),
        ("losses", "similarity_mse"),
        ("layers", "pkd-skip"),
        ("rules", "importance"),
        ("poolings", "concat_last_four"),
        ("tasks", "sts/stsb-dev"),
        ("tasks", "cost"),
        ("presets", "distilface"),
    ],
)
def test_list(call, kind, word):
    status, out, _ = call("list", kind)
    assert status == 0 and word in out


def test_a_name_that_no_folder_can_have_is_one_line(call):
    status, _, err = call("quickstart", "--out", "x" * 300)
    assert status == 2 and "has a name of more than 255 bytes" in err and err.count("\n") == 1


def test_the_help_of_export_promises_no_onnx_folder(call):
    _, out, _ = call("export", "--help")
    said = " ".join(out.replace("│", " ").split())
    assert "or a hub name; no ONNX alone." in said and "exported ONNX folder" not in said


def test_every_kind_is_listed_and_named_in_the_help(call):
    status, help_text, _ = call("list", "--help")
    for kind in show.KINDS:
        assert status == 0 and kind in help_text
        found, out, _ = call("list", kind)
        assert found == 0 and len(out.splitlines()) > 2


def test_list_of_an_unknown_kind(call):
    assert call("list", "loses")[::2] == (2, "error: list: unknown kind 'loses'; did you mean 'losses'?\n")


@pytest.fixture
def work(tmp_path, monkeypatch, tiny_encoder_dir):
    """A working folder with a good recipe, its texts and a copy of the tiny teacher."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    shutil.copytree(tiny_encoder_dir, "teacher")
    Path("texts.txt").write_text("".join(f"text number {n}\n" for n in range(64)))
    recipe = {
        "name": "tiny",
        "data": {"texts": ["texts.txt"]},
        "teacher": {"model": "teacher"},
        "student": {"layers": 2},
        "stages": [{"name": "embed", "terms": [{"loss": "embedding_mse"}]}],
        "evaluate": [],
    }
    Path("recipe.yaml").write_text(yaml.safe_dump(recipe))
    return tmp_path


def test_check_says_what_a_run_would_do(work, call):
    status, out, _ = call("check", "recipe.yaml")
    assert status == 0
    for words in ("58 to train on, 6 held out", "layers 2, 4 of 4", "1 epoch in batches of 64", "embedding_mse", "agreement"):
        assert words in out
    assert sorted(path.name for path in work.iterdir()) == ["recipe.yaml", "teacher", "texts.txt"]


def texts(content):
    return lambda work: Path("texts.txt").write_bytes(content)


def without_tokenizer(work):
    Path("teacher/tokenizer.json").unlink()


def only_a_pickle(work):
    Path("teacher/model.safetensors").rename("teacher/pytorch_model.bin")


def broken_gzip(work):
    packed = gzip.compress(b"a text\n" * 5000, mtime=0)
    Path("texts.txt.gz").write_bytes(packed[: len(packed) // 2])


def sts_folder(score="1.0", line="one\ttwo"):
    def write(work):
        folder = Path("senteval/STS/STS12-en-test")
        folder.mkdir(parents=True)
        (folder / "STS.input.MSRpar.txt").write_text(f"a\tb\n{line}\n")
        (folder / "STS.gs.MSRpar.txt").write_text(f"2.0\n{score}\n")

    return write


BAD = {
    "a misspelt key": (None, ["--set", "training.learnin_rate=1"], "training.learnin_rate: unknown key; did you mean 'learning_rate'?"),
    "a misspelt option": (None, ["--set", "stages.0.terms.0.wieght=1"], "unknown key for loss 'embedding_mse'; did you mean 'weight'?"),
    "an unknown loss": (None, ["--set", "stages.0.terms.0.loss=embeding_mse"], "did you mean 'embedding_mse'?"),
    "an unknown pooling": (None, ["--set", "student.pooling=men"], "did you mean 'mean'?"),
    "an unknown task": (None, ["--set", "evaluate=[sts/stbs]"], "evaluate: unknown task 'sts/stbs'; did you mean 'sts/stsb'?"),
    "a missing file": (None, ["--set", "data.texts=[nowhere.txt]"], "nowhere.txt: does not exist"),
    "an empty file": (texts(b""), [], "texts.txt: is empty"),
    "a line of 10 MB": (texts(b"x" * 10_000_000 + b"\n"), [], "texts.txt:1: "),
    "invalid UTF-8": (texts(b"good\n\xff\xfe bad\n"), [], "texts.txt:2: "),
    "a NUL byte": (texts(b"good\nbad \x00 byte\n"), [], "texts.txt:2: "),
    "no text after trimming": (texts(b"   \n\n \n"), [], "holds no text"),
    "too few texts": (texts(b"one\ntwo\n"), [], "2 different texts"),
    "rows of unequal width": (
        texts(b"a\tb\nc\n"), ["--set", "data.texts=[{path: texts.txt, format: tsv}]"], "texts.txt:2: "),
    "half a gzip": (broken_gzip, ["--set", "data.texts=[texts.txt.gz]"], "texts.txt.gz"),
    "a score that is no number": (sts_folder(score="three"), ["--set", "evaluate=[sts/12]"], "STS.gs.MSRpar.txt:2: "),
    "a pair of one sentence": (sts_folder(line="alone"), ["--set", "evaluate=[sts/12]"], "STS.input.MSRpar.txt:2: "),
    "a layer that the teacher lacks": (None, ["--set", "student.layers=[1, 9]"], "the model has no layer 9; layers count from 1 to 4"),
    "too many layers": (None, ["--set", "student.layers=5"], "5 layers asked of a model that has 4"),
    "a width that heads do not divide": (
        None, ["--set", "student.width=30", "--set", "student.heads=4", "--set", "student.ffn=64"], "width 30 is not divisible by heads 4"),
    "widths that differ without a projection": (
        None, ["--set", "student.width=16", "--set", "student.heads=4", "--set", "student.ffn=64"], "add project: linear"),
    "a model without a tokenizer": (without_tokenizer, [], "has no tokenizer"),
    "a model with only a pickle": (only_a_pickle, [], "only pickled weights (pytorch_model.bin)"),
    "a hub name without a network": (None, ["--set", "teacher.model=nobody/nothing"], "the hub cannot be reached"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_line_and_leaves_nothing(work, call, case):
    spoil, overrides, words = BAD[case]
    if spoil:
        spoil(work)
    before = sorted(work.rglob("*"))
    status, _, err = call("train", "recipe.yaml", *overrides)
    assert status == 2
    assert words in err
    assert all(line.startswith("error: ") and len(line) < 400 for line in err.splitlines()) and len(err.splitlines()) == 1
    assert sorted(work.rglob("*")) == before


def test_several_mistakes_are_told_together(work, call):
    Path("texts.txt").unlink()
    status, _, err = call("check", "recipe.yaml", "--set", "student.layers=9", "--set", "stages.0.terms.0.loss=nothing")
    assert status == 2 and len(err.splitlines()) == 3


NAMES = [  # an unknown name of each kind
    "stages.0.terms.0.loss=hiden_mse",
    "stages.1.terms.0.layers=unifrm",
    "student.rule=frist",
    "student.pooling=men",
    "teacher.pooling=maxx",
    "evaluate=[sts/stbs, nothing]",
]


def test_names_are_told_in_the_same_words_with_and_without_a_misspelt_key(work, call):
    terms = [[{"loss": "embedding_mse"}], [{"loss": "hidden_mse"}]]
    content = yaml.safe_load(Path("recipe.yaml").read_text())
    content["stages"] = [{"name": f"s{number}", "share": 0.5, "terms": each} for number, each in enumerate(terms)]
    Path("recipe.yaml").write_text(yaml.safe_dump(content))
    overrides = [part for setting in NAMES for part in ("--set", setting)]
    _, _, alone = call("check", "recipe.yaml", *overrides)
    _, _, both = call("check", "recipe.yaml", *overrides, "--set", "techer=1")
    assert "techer: unknown key" not in alone and "techer: unknown key" in both

    def said(err):
        return {line.rpartition(": unknown ")[2] for line in err.splitlines() if ": unknown key" not in line}

    assert len(said(both)) == 7
    # Without a rule the student's layers are not known, and so nothing is said of their map.
    assert said(alone) == {words for words in said(both) if not words.startswith("layer map")}


def test_a_disk_without_room_is_told_before_any_work(work, call, monkeypatch):
    usage = shutil.disk_usage(work)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    status, _, err = call("train", "recipe.yaml")
    assert status == 2 and "are free" in err and not Path("runs").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["evaluate", "nowhere", "--tasks", "cost"], "no such folder"),
        (["evaluate", "teacher", "--tasks", "sts/stsb"], "sts-test.csv"),
        (["evaluate", "teacher", "--tasks", "stsb"], "unknown task 'stsb'"),
        (["encode", "teacher", "nothing.txt", "--out", "v.npy"], "nothing.txt: does not exist"),
        (["export", "nowhere", "--out", "exported"], "no such folder"),
        (["export", "teacher", "--out", "texts.txt"], "texts.txt"),
        (["compare", "nowhere", "--html", "page.html"], "nowhere"),
        (["train", "embed/python-dosc"], "did you mean 'embed/python-docs'?"),
        (["train", "recipe.yaml", "--out", "texts.txt"], "is a file"),
        (["train", "recipe.yaml", "--out", "texts.txt/run"], "cannot be written"),
        (["train", "recipe.yaml", "--out", "x" * 300], "more than 255 bytes"),
        (["search", "recipe.yaml", "--space", "teacher"], "teacher: is a folder, not a file"),
        (["search", "recipe.yaml", "--space", "x" * 300], "no such file"),
        (["check", "teacher"], "teacher: is a folder, not the file of a recipe"),
        (["check", "x" * 300], "no such recipe file"),
    ],
)
def test_every_command_refuses_in_one_line(work, call, arguments, words):
    before = sorted(work.rglob("*"))
    status, _, err = call(*arguments)
    assert status == 2 and words in err and len(err.splitlines()) == 1
    assert sorted(work.rglob("*")) == before


@pytest.mark.parametrize("more", [[], ["--resume"]])
def test_a_second_start_in_the_same_folder_is_refused(work, call, more):
    with held(Path("runs/tiny")):
        status, _, err = call("train", "recipe.yaml", *more)
        assert status == 2
        assert err == f"error: runs/tiny: process {os.getpid()} works on it; wait for that one, end it, or choose another --out\n"
        assert [path.name for path in Path("runs/tiny").iterdir()] == [".lock"]
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "some/file"), "error: some/file: no space is left on the disk; free some\n"),
        (RuntimeError("PytorchStreamWriter failed writing file data/3: file write failed"), "no space is left on the disk; free some\n"),
        (OSError("8192 requested and 512 written"), "no space is left on the disk; free some\n"),
        (RuntimeError("can't start new thread"), "the system starts no more of them; end other programs, or raise `ulimit -u`\n"),
    ],
)
def test_what_the_machine_has_no_more_of_is_one_line(call, monkeypatch, error, line):
    def fail(kind):
        raise error

    monkeypatch.setattr(show, "listing", fail)
    status, _, err = call("list")
    assert status == 2 and err.startswith("error: ") and err.endswith(line) and len(err.splitlines()) == 1


def test_any_other_error_keeps_its_traceback(call, monkeypatch):
    def fail(kind):
        raise OSError("something else")

    monkeypatch.setattr(show, "listing", fail)
    with pytest.raises(OSError, match="something else"):
        call("list")


def test_runs_of_different_tasks_are_not_compared(work, call):
    from potstill.results import Record, Run, machine

    for task in ("mrpc", "rte"):
        scores = {f"glue/{task}": {"accuracy": 70.0, "primary": "accuracy"}}
        record = Record(name="student", role="student", model="student", format="torch", scores=scores, machine=machine())
        Path("runs", task).mkdir(parents=True)
        Run(name=task, seed=1, created="2026-11-21", recipe={"task": f"glue/{task}"}, records=[record]).write(Path("runs", task))
    before = sorted(work.rglob("*"))
    status, out, err = call("compare", "runs/mrpc", "runs/rte", "--html", "page.html")
    assert (status, out) == (2, "") and sorted(work.rglob("*")) == before
    assert err == (
        "error: compare: runs of different tasks: runs/mrpc is of glue/mrpc, runs/rte of glue/rte; "
        "compare the runs of one task at a time, or put them into a publication's table with --like\n"
    )


def test_what_is_not_installed_is_named_with_the_command_that_installs_it(work):
    """Without the training packages the runtime works and `train` says what is missing."""
    blocked = "import sys; sys.modules.update(dict.fromkeys(('torch', 'transformers', 'scipy', 'jinja2', 'onnx', 'datasets')));"
    code = blocked + "sys.argv = ['potstill', 'train', 'recipe.yaml']; from potstill.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2 and f"; {install('train')}" in done.stderr and len(done.stderr.splitlines()) == 1


def test_the_version_is_told(call):
    assert call("--version") == (0, f"potstill {potstill.__version__}\n", "")


def test_below_a_labelled_score_stands_what_one_answer_to_everything_has(capsys):
    from potstill.results import Record, machine

    mrpc = {"f1": 81.0, "accuracy": 70.0, "examples": 1725, "primary": "f1"}
    constant = {"majority": {"f1": 79.87, "accuracy": 66.49}, "majority_answer": "yes"}
    scores = {"glue/mrpc": mrpc | constant, "sts/stsb": {"spearman": 75.0, "pairs": 3}}
    show.record(Record(name="kd", role="model", model="kd", format="torch", scores=scores, machine=machine()))
    title, *rows = (line.split() for line in capsys.readouterr().out.splitlines())
    assert title == ["kd"]
    assert rows == [
        ["file", "torch", "model"],
        ["glue/mrpc", "f1", "81.00", "accuracy", "70.00"],
        ["always", "“yes”", "f1", "79.87", "accuracy", "66.49"],
        ["sts/stsb", "spearman", "75.00"],
    ]
