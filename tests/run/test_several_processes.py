"""Two processes train one run, through torchrun and the real command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from helpers.contrast import working_folder
from potstill.models.loading import load_encoder
from potstill.results import read_metrics, read_run


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_encoder_dir: Path) -> Path:
    """A working folder with texts, an encoder and a contrastive recipe of three steps, batches of 9."""
    training, student = {"batch_size": 9, "evaluations": 2, "device": "cpu", "dropout": 0}, {"layers": 2, "max_length": 32}
    return working_folder(tmp_path, monkeypatch, tiny_encoder_dir, steps=3, student=student, training=training, held_out=8)


# The command, and then the threads of the connections between processes that still run when Python ends.
COMMAND = """
import atexit
import os
import time
from contextlib import suppress
from pathlib import Path

from potstill.cli import main

def running():
    for path in Path("/proc/self/task").glob("*/comm"):
        with suppress(OSError):  # ended meanwhile
            yield path.read_text().strip()

def left():
    end = time.monotonic() + 5
    while (names := [name for name in running() if "gloo" in name]) and time.monotonic() < end:
        time.sleep(0.1)  # one that was joined is listed for a moment
    Path(f"threads-{os.environ['RANK']}").write_text(" ".join(names))

atexit.register(left)
main()
"""


def torchrun(*arguments: str) -> tuple[int, str, str]:
    """`potstill` in two processes: its status and what it prints."""
    Path("command.py").write_text(COMMAND)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "localhost", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launcher, "command.py", *arguments], capture_output=True, text=True, env=environment)
    return done.returncode, done.stdout, done.stderr


def own(stderr: str) -> list[str]:
    """The lines that are potstill's and not torchrun's."""
    return [line for line in stderr.splitlines() if line.startswith(("error:", "warning:", "teacher"))]


def _set(**values: Any) -> list[str]:
    return [part for key, value in values.items() for part in ("--set", f"{key.replace('__', '.')}={json.dumps(value)}")]


@pytest.mark.timeout(600)  # torch starts in seven processes, maybe beside other work
def test_a_contrastive_recipe(work: Path, call: Any) -> None:
    status, out, errors = torchrun("train", "recipe.yaml", "--out", "two")
    assert (status, own(errors)) == (0, []), errors
    assert out.count("run folder:") == 1
    status, _out, err = call("train", "recipe.yaml", "--out", "one")
    assert status == 0, err
    # The same recipe is the same training, whatever the number of processes.
    one, two = read_metrics(Path("one")), read_metrics(Path("two"))
    assert [(line["step"], line.get("texts")) for line in one] == [(line["step"], line.get("texts")) for line in two]
    for ours, theirs in zip([line for line in one if "loss" in line], [line for line in two if "loss" in line]):
        assert theirs["terms"]["info_nce"] == pytest.approx(ours["terms"]["info_nce"], abs=1e-5)
    weights = [load_encoder(Path(name)).state_dict() for name in ("one", "two")]
    for name, value in weights[0].items():
        if "key.bias" not in name:  # without a gradient but rounding, of which Adam makes steps
            assert (weights[1][name] - value).abs().max() < 1e-5, name
    assert read_run(Path("two")).training["steps"] == 3 and not Path("two/checkpoints").exists()
    status, out, errors = torchrun("train", "recipe.yaml", "--out", "two")
    assert (status, out) == (1, "")  # torchrun's own
    assert own(errors) == ["error: two: holds a run already; add --resume to go on with it, or choose another --out"]


def test_a_cached_teacher_in_two_stages(work: Path) -> None:
    inside = [{"loss": "hidden_mse", "layers": "uniform"}, {"loss": "cos_nce", "layers": "final", "negatives": "train", "count": 5}]
    stages = [
        {"name": "inside", "steps": 2, "perturb": True, "terms": inside},
        {"name": "vectors", "steps": 3, "terms": [{"loss": "embedding_mse"}, {"loss": "similarity_mse"}]},
    ]
    more = _set(teacher={"model": "encoder"}, stages=stages, training__select="agreement", training__dropout=0.1)
    status, out, errors = torchrun("train", "recipe.yaml", "--out", "run", *more)
    assert status == 0, errors
    # One that runs on may want Python when it is gone, and then aborts the process at its very end.
    assert [Path(f"threads-{number}").read_text() for number in (0, 1)] == ["", ""]
    # Of the training texts and of those held out, each told and filled by one process.
    assert len(own(errors)) == 2 and all(line.startswith("teacher cache:") for line in own(errors))
    assert out.count("run folder:") == 1
    run = read_run(Path("run"))
    assert run.training["steps"] == 5 and run.training["best"]["name"] == "agreement" and len(run.cases) == 5
    assert [record.role for record in run.records] == ["teacher", "undistilled", "student"]


def test_a_search_is_not_shared_this_way(work: Path, call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    status, _out, err = call("search", "recipe.yaml", "--space", "space.yaml")
    assert (status, err) == (2, "error: search: is the work of one process, and WORLD_SIZE is 2; start it without torchrun\n")
