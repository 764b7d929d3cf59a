"""What was made before the package's folders were laid out anew goes on working: runs, students, a cache, an exported folder.

The README in before_the_move.tar.xz says what is in it and how it was made.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import potstill
from potstill.models.loading import load_encoder
from potstill.results import read_run

TEXTS = ["the river", "an owl and a boat", "the village sees the song"]


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The archive, unpacked for one test, as the working directory with its own cache."""
    with tarfile.open(Path(__file__).with_name("before_the_move.tar.xz")) as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / "before_the_move"
    monkeypatch.chdir(folder)
    monkeypatch.setenv("POTSTILL_CACHE", "cache")
    return folder


def recorded(name: str) -> np.ndarray:
    """The vectors of TEXTS as they were then, of shape (3, width)."""
    with np.load("vectors.npz") as vectors:
        return vectors[name]


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    """When every file below a folder was last written, and what is in it."""
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def python(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own, on the CPU, in the working directory."""
    alone = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run([sys.executable, *map(str, arguments)], env=alone, capture_output=True, text=True, timeout=240)


def test_a_finished_run_evaluates_compares_and_encodes(old: Path, call: Callable[..., tuple[int, str, str]]) -> None:
    status, _, error = call("evaluate", "runs/done", "--tasks", "retrieval/words", "--data", "data", "--json", "scores.json")
    assert status == 0, error
    then = read_run("runs/done").records[-1]
    now = json.loads(Path("scores.json").read_text())
    assert now["role"] == then.role == "int8"
    scores = then.scores["retrieval/words"]  # recall@10 and ndcg@10 were not measured then
    assert {name: now["scores"]["retrieval/words"][name] for name in scores} == pytest.approx(scores)

    status, shown, error = call("compare", "runs/done", "runs/done", "--html", "sheet.html")
    assert status == 0, error
    assert "done" in shown and "done" in Path("sheet.html").read_text()

    np.testing.assert_allclose(potstill.Encoder("runs/done").encode(TEXTS), recorded("int8"), atol=1e-3)
    np.testing.assert_allclose(load_encoder("runs/done").encode(TEXTS), recorded("done"), atol=1e-3)


def test_a_stopped_run_goes_on_from_its_checkpoint_and_its_cache(old: Path) -> None:
    cache, curve = files(old / "cache"), (old / "runs/stopped/metrics.jsonl").read_text().splitlines()
    done = python("-m", "potstill.cli", "train", "stopped.yaml", "--resume")
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(load_encoder("runs/stopped/student").encode(TEXTS), recorded("stopped"), atol=1e-3)
    # Lines hold the seconds that a step took: a run made anew has others.
    upto = next(number for number, line in enumerate(curve) if json.loads(line)["step"] > 8)
    assert upto > 8 and (old / "runs/stopped/metrics.jsonl").read_text().splitlines()[:upto] == curve[:upto]
    # Another digest would make another folder, and a shard written once more another time.
    assert files(old / "cache") == cache


@pytest.mark.parametrize("name", ["done", "compact", "bilstm", "pooled", "static"])
def test_a_student_loads_and_its_recipe_is_still_that_of_the_run(old: Path, name: str, call: Callable[..., tuple[int, str, str]]) -> None:
    np.testing.assert_allclose(load_encoder(f"runs/{name}").encode(TEXTS), recorded(name), atol=1e-3)
    before = files(old / "runs" / name / "student")["model.safetensors"]
    status, _, error = call("train", f"{name}.yaml", "--resume")  # "another recipe" where the kept recipe is read otherwise
    assert status == 0, error
    assert files(old / "runs" / name / "student")["model.safetensors"] == before  # not taught anew


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("compact", "import potstill.models.compact"),  # tells transformers' AutoModel of the network
        ("bilstm", "import potstill.models.bilstm"),  # likewise; its tensors were named otherwise then
        ("pooled", ""),  # the path of potstill.models.layer_pooling is written in the folder
        ("static", "sys.modules['potstill'] = None"),  # needs nothing of this package
    ],
)
def test_a_student_loads_with_sentence_transformers(old: Path, name: str, module: str) -> None:
    code = [
        "import sys",
        module,
        "import numpy as np",
        "from sentence_transformers import SentenceTransformer",
        f"model = SentenceTransformer('runs/{name}/student', device='cpu', trust_remote_code={name == 'pooled'})",
        f"np.save('theirs.npy', model.encode({TEXTS}))",
    ]
    done = python("-c", "\n".join(code))
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load("theirs.npy"), recorded(name), atol=1e-3)


def test_an_exported_folder_encodes(old: Path) -> None:
    np.testing.assert_allclose(potstill.Encoder("exported").encode(TEXTS), recorded("exported"), atol=1e-3)
