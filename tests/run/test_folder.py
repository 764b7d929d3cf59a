"""The run folder: one process works in it, and what a kill left of it is taken up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from potstill.errors import DiskFull, PotstillError
from potstill.machine.held import LOCK, held
from potstill.recipe.file import parse_recipe, resolved
from potstill.results import RECIPE_FILE
from potstill.run.folder import claim, release

CONTENT = {
    "name": "x",
    "data": {"texts": ["a"]},
    "teacher": {"model": "t"},
    "student": {},
    "stages": [{"name": "s", "terms": [{"loss": "mlm"}]}],
}
HALF = ".recipe.yaml.0badcafe.part"  # of an earlier version's name
HOLD = """
import sys, time
from pathlib import Path
from potstill.machine.held import held
from potstill.results import RECIPE_FILE
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(100)
"""


@pytest.fixture
def recipe():
    return parse_recipe(CONTENT)


def holder(folder: Path) -> subprocess.Popen[str]:
    """Another process that holds the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_two_processes_never_work_in_one_folder(tmp_path, recipe):
    process = holder(tmp_path / "run")
    try:
        with pytest.raises(PotstillError, match=f"run: process {process.pid} works on it; wait for that one"), held(tmp_path / "run"):
            pass
        assert (tmp_path / "run" / LOCK).is_file(), "the one that is refused leaves the lock of the other alone"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    for _ in range(2):  # killed, and then ended well
        with held(tmp_path / "run"):
            claim(tmp_path / "run", recipe, resume=False)
            with pytest.raises(PotstillError, match=f"process {os.getpid()} works on it"), held(tmp_path / "run"):
                pass
            (tmp_path / "run" / "x").touch()
        assert [path.name for path in (tmp_path / "run").iterdir()] == ["x"]
        (tmp_path / "run" / "x").unlink()


def test_a_folder_that_was_made_for_nothing_goes_again(tmp_path):
    with pytest.raises(PotstillError, match="no"), held(tmp_path / "a" / "b"):
        raise PotstillError("x", "no")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "there").mkdir()
    with held(tmp_path / "there"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


@pytest.mark.parametrize("resume", [False, True])
def test_a_kill_before_the_first_file_leaves_an_empty_folder(tmp_path, recipe, resume):
    (tmp_path / HALF).write_text("name: ")
    (tmp_path / LOCK).touch()  # of the killed one
    claim(tmp_path, recipe, resume)
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]


def test_resume_clears_the_halves_that_a_kill_left_wherever_they_lie(tmp_path, recipe):
    (tmp_path / RECIPE_FILE).write_text(resolved(recipe))
    (tmp_path / "student").mkdir()
    files = [".metrics.jsonl.01234567-12-0badcafe.part", ".report.html.0badcafe.part", "student/.README.md.0badcafe.part"]
    for name in files:
        (tmp_path / name).write_text("half")
    (tmp_path / ".onnx.01234567-12-0badcafe.part").mkdir()
    (tmp_path / ".onnx.01234567-12-0badcafe.part" / "model.onnx").touch()
    (tmp_path / ".tuned.01234567-12-0badcafe.part.old").mkdir()  # moved out of the way, and killed before the new one came
    others = [".profile.part", "notes.part", ".x.part"]  # a user's own
    for name in others:
        (tmp_path / name).touch()
    claim(tmp_path, recipe, resume=True)
    assert {path.name for path in tmp_path.iterdir()} == {RECIPE_FILE, "student", "tuned", *others}
    assert list((tmp_path / "student").iterdir()) == []


def test_what_is_no_run_or_another_run_is_left_alone(tmp_path, recipe):
    (tmp_path / "notes.txt").touch()
    (tmp_path / HALF).touch()
    with pytest.raises(PotstillError, match="holds a run already; add --resume"):
        claim(tmp_path, recipe, resume=False)
    with pytest.raises(PotstillError, match="something that is no run"):
        claim(tmp_path, recipe, resume=True)
    (tmp_path / RECIPE_FILE).write_text(resolved(parse_recipe(CONTENT | {"training": {"seed": 1}})))
    with pytest.raises(PotstillError, match="begun with another recipe"):
        claim(tmp_path, recipe, resume=True)
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", HALF, RECIPE_FILE}


def test_release_takes_back_what_a_run_wrote_that_never_began(tmp_path, recipe):
    with held(tmp_path / "run"):
        (tmp_path / "run" / RECIPE_FILE).write_text(resolved(recipe))
        (tmp_path / "run" / ".undistilled").mkdir()
        release(tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("file", "is a file; choose another --out"),
        ("file/run", "cannot be written"),
        ("x" * 300, "more than 255 bytes"),
        ("a/" + "ü" * 200 + "/b", "more than 255 bytes"),
        ("a\0b", "no text in UTF-8"),
        ("a\udc80b", "no text in UTF-8"),
    ],
    ids=range(6),
)
def test_a_folder_that_cannot_be_is_one_line(tmp_path, out, words):
    (tmp_path / "file").touch()
    with pytest.raises(PotstillError, match=words) as told, held(Path(f"{tmp_path}/{out}")):
        pass
    assert not isinstance(told.value, DiskFull) and str(told.value).isprintable()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
