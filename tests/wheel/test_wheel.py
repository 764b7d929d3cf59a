"""The wheel, installed without an extra in an environment of its own: it encodes without torch, and says what the rest needs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import potstill

ROOT = Path(__file__).parents[2]
PYTHONS = os.environ.get("POTSTILL_WHEEL", "").split()
ENCODE = """
import sys
import potstill
encoder = potstill.Encoder(sys.argv[1], precision="fp32")
assert encoder.encode(["the river", "a village"]).shape == (2, encoder.dimension)
heavy = {"torch", "transformers", "sentence_transformers"} & set(sys.modules)
assert not heavy, heavy
"""

pytestmark = pytest.mark.skipif(not PYTHONS, reason="needs an index of packages: make wheel")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT], check=True)
    (found,) = folder.glob("potstill-*.whl")
    return found


@pytest.mark.timeout(600)  # packages are fetched
@pytest.mark.parametrize("python", PYTHONS or [""])
def test_without_extras_it_encodes_and_says_what_the_rest_needs(python, wheel, tiny_export_dir, tmp_path):
    if not (program := shutil.which(python)) or subprocess.run([program, "--version"], capture_output=True).returncode:
        pytest.skip(f"no {python} here")
    subprocess.run([program, "-m", "venv", tmp_path / "own"], check=True)
    own = tmp_path / "own" / "bin"
    subprocess.run([own / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel], check=True)

    def run(*line: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(each) for each in line], cwd=tmp_path, capture_output=True, text=True)

    done = run(own / "python", "-c", ENCODE, tiny_export_dir)
    assert done.returncode == 0, done.stderr
    assert run(own / "potstill", "--version").stdout == f"potstill {potstill.__version__}\n"
    (tmp_path / "texts.txt").write_text("the river\na village\n")
    done = run(own / "potstill", "encode", tiny_export_dir, "texts.txt", "--out", "vectors.npy")
    assert (done.returncode, (tmp_path / "vectors.npy").is_file()) == (0, True), done.stderr
    done = run(own / "potstill", "train", "kd/mrpc")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "pip install 'potstill[train]'" in done.stderr, done.stderr
    assert list((tmp_path / "own").glob("lib/*/site-packages/potstill/py.typed"))
