"""Whole runs through the real command: finished, killed and taken up, interrupted, refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from potstill.results import read_metrics, read_run

BARE: dict[str, Any] = {"export": {"onnx": False}, "evaluate": []}
WORDS = "river village cat owl house tree stone boat night snow ship lamp door hill road song".split()


def write_recipe(folder: Path, teacher: Path, **changes: Any) -> Path:
    """A recipe over a corpus and a search task made of words; a run takes some seconds."""
    data = folder / "data"
    (data / "retrieval").mkdir(parents=True, exist_ok=True)
    sentences = [f"the {a} sees the {b} and {c}" for a in WORDS for b in WORDS for c in WORDS[:4]]
    (data / "texts.txt").write_text("\n".join(sentences) + "\n")
    rows = [{"query": f"the {a} and the {b}", "document": f"{b} was seen by {a}"} for a, b in zip(WORDS, WORDS[3:])]
    (data / "retrieval" / "words.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    content: dict[str, Any] = {
        "name": "tiny",
        "data": {"dir": str(data), "texts": ["texts.txt"], "held_out": 64},
        "teacher": {"model": str(teacher)},
        "student": {"layers": 2, "max_length": 64, "dimensions": [16, 8]},
        "training": {"epochs": 1, "batch_size": 16, "learning_rate": 1e-3, "evaluations": 4, "precision": "fp32"},
        "stages": [
            {"name": "first", "share": 0.5, "terms": [{"loss": "embedding_mse", "weight": 32}]},
            {"name": "second", "share": 0.5, "terms": [{"loss": "embedding_cosine", "project": "linear"}, {"loss": "similarity_mse"}]},
        ],
        "evaluate": ["retrieval/words"],
        # Random weights quantise badly and a model this small is no faster in int8: the limits are lax here.
        "export": {"int8": {"max_drop": 100, "min_cosine_mean": 0.5, "min_cosine": 0, "min_invariance": 0.5, "min_speedup": 0}},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(content | changes))
    return path


def command(folder: Path, *arguments: object) -> list[str]:
    return [sys.executable, "-m", "potstill.cli", *map(str, arguments)]


def environment(folder: Path) -> dict[str, str]:
    return os.environ | {"POTSTILL_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(folder, *arguments), cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=240)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def finished(tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which runs/tiny was made by the command, whole."""
    folder = tmp_path_factory.mktemp("finished")
    write_recipe(folder, tiny_encoder_dir)
    done = run(folder, "train", "recipe.yaml")
    assert done.returncode == 0, done.stderr
    assert "runs/tiny/report.html" in done.stdout
    return folder


def test_a_run_leaves_everything_that_it_promises(finished):
    folder = finished / "runs" / "tiny"
    assert sorted(path.name for path in folder.iterdir()) == [
        "bundle",
        "metrics.jsonl",
        "onnx",
        "recipe.yaml",
        "report.html",
        "results.json",
        "student",
    ]
    record = read_run(folder)
    assert [entry.role for entry in record.records] == ["teacher", "undistilled", "student", "onnx", "int8"]
    by_role = {entry.role: entry.scores["retrieval/words"] for entry in record.records}
    assert by_role["onnx"]["mrr@10"] == pytest.approx(by_role["student"]["mrr@10"], abs=0.01)
    shapes = [(row["dimensions"], row["precision"], row["bytes"]) for row in record.vectors]
    widths = [(32, (128, 32, 4)), (16, (64, 16, 2)), (8, (32, 8, 1))]  # bytes as float32, int8 and signs
    assert shapes == [(width, *pair) for width, sizes in widths for pair in zip(("float32", "int8", "binary"), sizes)]
    assert record.vectors[0]["scores"] == {"retrieval/words": by_role["int8"]["mrr@10"]}
    assert "Vectors that cost less" in (folder / "report.html").read_text(encoding="utf-8")
    assert record.gate[-1]["passed"] and record.seed == 13 and record.training["best"]["name"] == "agreement"
    assert record.training["device"]  # "cpu", or the name of a GPU
    assert record.training["precision"] in ("fp32", "bf16")
    stages = [line["stage"] for line in read_metrics(folder)]
    assert set(stages) == {"first", "second"} and stages == sorted(stages)
    names = {path.name for path in (folder / "onnx").iterdir()}
    assert {"model.onnx", "model_quantized.onnx", "tokenizer.json", "config.json", "potstill.json"} <= names
    for part, file in (("student", "model.safetensors"), ("onnx", "model.onnx"), ("onnx", "model_quantized.onnx")):  # no room of its own
        assert (folder / part / file).samefile(folder / "bundle" / ("onnx" if part == "onnx" else "") / file)
    card = (folder / "bundle" / "README.md").read_text()
    assert "library_name: sentence-transformers" in card and "| student, int8 |" in card
    assert not [path for path in finished.rglob("*.part*")]


def test_the_student_loads_elsewhere_and_the_shipped_file_agrees(finished):
    import numpy as np
    from sentence_transformers import SentenceTransformer

    import potstill

    folder = finished / "runs" / "tiny"
    texts = ["the river", "an owl and a boat"]
    theirs = SentenceTransformer(str(folder / "student")).encode(texts)
    np.testing.assert_allclose(potstill.Encoder(folder, precision="fp32").encode(texts), theirs, atol=1e-4)
    np.testing.assert_array_equal(potstill.Encoder(folder / "bundle").encode(texts), potstill.Encoder(folder).encode(texts))


def test_a_folder_that_holds_a_run_is_not_written_over(finished):
    before = digest(finished / "runs" / "tiny" / "results.json")
    again = run(finished, "train", "recipe.yaml")
    assert again.returncode == 2 and "add --resume" in again.stderr
    other = run(finished, "train", "recipe.yaml", "--resume", "--set", "training.seed=14")
    assert other.returncode == 2 and "another recipe" in other.stderr
    assert digest(finished / "runs" / "tiny" / "results.json") == before


def test_evaluate_compare_encode_and_export_of_a_run(finished, tmp_path):
    import numpy as np

    from potstill import Encoder

    scored = run(finished, "evaluate", "runs/tiny", "--tasks", "retrieval/words", "--data", "data", "--json", tmp_path / "e.json")
    assert scored.returncode == 0, scored.stderr
    record = json.loads((tmp_path / "e.json").read_text())
    int8 = read_run(finished / "runs" / "tiny").records[-1]
    assert record["role"] == "int8" and record["scores"]["retrieval/words"]["mrr@10"] == int8.scores["retrieval/words"]["mrr@10"]
    assert record["versions"]["onnxruntime"] and record["machine"]["cores"] and record["files"]

    page = run(finished, "compare", "runs/tiny", "runs/tiny", "--html", tmp_path / "c.html")
    assert page.returncode == 0 and (tmp_path / "c.html").stat().st_size > 1000, page.stderr

    vectors = run(finished, "encode", "runs/tiny", "data/texts.txt", "--out", tmp_path / "v.npy")
    assert vectors.returncode == 0 and np.load(tmp_path / "v.npy").shape == (1024, 32), vectors.stderr

    short = run(finished, "encode", "runs/tiny", "data/texts.txt", "--out", tmp_path / "v.npy", "--dimensions", 16, "--vectors", "int8")
    encoder = Encoder(finished / "runs" / "tiny", dimensions=16)
    found = np.load(tmp_path / "v.npy")
    assert short.returncode == 0 and (found.shape, found.dtype) == ((1024, 16), np.int8), short.stderr
    lines = (finished / "data" / "texts.txt").read_text().splitlines()
    assert np.abs(found.astype(int) - encoder.encode(lines, precision="int8")).max() <= 1
    refused = run(finished, "encode", "runs/tiny", "data/texts.txt", "--out", tmp_path / "w.npy", "--vectors", "int4")
    assert refused.returncode == 2 and "precision: unknown value 'int4'" in refused.stderr and not (tmp_path / "w.npy").exists()

    exported = run(finished, "export", "runs/tiny", "--out", tmp_path / "exported", "--only", "onnx")
    assert exported.returncode == 0, exported.stderr
    assert (tmp_path / "exported" / "model.onnx").is_file() and not (tmp_path / "exported" / "model.safetensors").exists()
    assert digest(tmp_path / "exported" / "tokenizer.json") == digest(finished / "runs" / "tiny" / "onnx" / "tokenizer.json")

    # A run's own limits are those of its gate, here too.
    shutil.copytree(finished / "runs" / "tiny" / "student", tmp_path / "strict" / "student")
    wanted = yaml.safe_load((finished / "runs" / "tiny" / "recipe.yaml").read_text())
    wanted["export"]["int8"]["min_speedup"] = 1000
    (tmp_path / "strict" / "recipe.yaml").write_text(yaml.safe_dump(wanted))
    refused = run(finished, "export", tmp_path / "strict", "--out", tmp_path / "int8", "--int8")
    assert refused.returncode == 2 and "below 1000" in refused.stderr and not (tmp_path / "int8").exists(), refused.stderr


def test_a_stopped_export_leaves_nothing(finished, tmp_path):
    process = subprocess.Popen(
        command(finished, "export", "runs/tiny", "--out", tmp_path / "x" / "out"), cwd=finished, env=environment(finished)
    )
    _wait_for(lambda: list(tmp_path.glob("x/.*.part/*")), process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) not in (0, -signal.SIGTERM) and not list(tmp_path.glob("x/*")) + list(tmp_path.glob("x/.*"))


def _wait_for(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None and time.monotonic() < end, "the run ended before it could be stopped"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def unbroken(tiny_encoder_dir, tmp_path_factory):
    """A run that nobody stopped, without export and scores."""
    folder = tmp_path_factory.mktemp("unbroken")
    write_recipe(folder, tiny_encoder_dir, **BARE)
    done = run(folder, "train", "recipe.yaml", "--out", "run")
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_goes_on_to_the_weights_of_an_unbroken_one(unbroken, tiny_encoder_dir, tmp_path, number):
    write_recipe(tmp_path, tiny_encoder_dir, **BARE)
    second = tmp_path / "broken" / "checkpoints" / "1-second"
    process = subprocess.Popen(
        command(tmp_path, "train", "recipe.yaml", "--out", "broken"),
        cwd=tmp_path,
        env=environment(tmp_path),
        stderr=subprocess.PIPE,
        text=True,
    )
    _wait_for(lambda: list(second.glob("checkpoint-*/trainer_state.json")), process)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == (130 if number == signal.SIGINT else -9)
    assert number == signal.SIGKILL or "--resume" in stderr
    assert not (tmp_path / "broken" / "student").exists() and not (tmp_path / "broken" / "results.json").exists()
    assert list(second.glob("checkpoint-*/quick_masks"))

    if number == signal.SIGINT:
        texts = tmp_path / "data" / "texts.txt"
        before = texts.read_text()
        texts.write_text(before + "".join(f"the {a} sings to the {b}\n" for a in WORDS for b in WORDS[:8]))
        other = run(tmp_path, "train", "recipe.yaml", "--out", "broken", "--resume")
        assert other.returncode == 2 and "of its data as it is now there are" in other.stderr.splitlines()[-1]
        texts.write_text(before)

    resumed = run(tmp_path, "train", "recipe.yaml", "--out", "broken", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert digest(tmp_path / "broken" / "student" / "model.safetensors") == digest(unbroken / "student" / "model.safetensors")
    steps = [(line["stage"], line["step"], "dev" in line) for line in read_metrics(tmp_path / "broken")]
    assert len(set(steps)) == len(steps)
    assert set(steps) == {(line["stage"], line["step"], "dev" in line) for line in read_metrics(unbroken)}


def test_a_refusal_of_the_gate_keeps_the_student_and_wider_limits_take_it_up(tiny_encoder_dir, tmp_path):
    write_recipe(tmp_path, tiny_encoder_dir, evaluate=[])
    strict = ("--set", "export.int8.min_cosine_mean=1.0", "--set", "export.int8.tune=false")
    refused = run(tmp_path, "train", "recipe.yaml", "--set", "training.epochs=0.2", *strict)
    folder = tmp_path / "runs" / "tiny"
    assert refused.returncode == 2 and "runs/tiny/onnx" in refused.stderr and "cosine_mean" in refused.stderr
    # Beside the error stand the lines that say how large the teacher's caches become.
    assert [line.partition(":")[0] for line in refused.stderr.splitlines()] == ["teacher cache", "teacher cache", "error"]
    assert (folder / "student").is_dir() and not (folder / "onnx").exists() and not (folder / "results.json").exists()
    before = digest(folder / "student" / "model.safetensors")
    widened = run(tmp_path, "train", "recipe.yaml", "--set", "training.epochs=0.2", "--resume")
    assert widened.returncode == 0, widened.stderr
    assert digest(folder / "student" / "model.safetensors") == before and (folder / "onnx" / "model_quantized.onnx").is_file()


def test_torch_int8_is_measured_afterwards_and_what_was_exported_stays(finished, tmp_path):
    shutil.copytree(finished / "runs" / "tiny", tmp_path / "tiny")
    before = (tmp_path / "tiny" / "onnx" / "model.onnx").stat().st_mtime_ns
    done = run(finished, "train", "recipe.yaml", "--out", tmp_path / "tiny", "--resume", "--set", "export.torch_int8=true")
    assert done.returncode == 0, done.stderr
    *_, student, _, _, last = read_run(tmp_path / "tiny").records
    assert (student.role, last.role, last.name) == ("student", "torch-int8", "student, torch int8")
    assert last.scores["retrieval/words"]["mrr@10"] and sum(last.files.values()) < sum(student.files.values())
    assert (tmp_path / "tiny" / "onnx" / "model.onnx").stat().st_mtime_ns == before


def test_resume_leaves_a_foreign_folder_alone(tiny_encoder_dir, tmp_path):
    write_recipe(tmp_path, tiny_encoder_dir, **BARE)
    (tmp_path / "project" / "checkpoints").mkdir(parents=True)
    (tmp_path / "project" / "checkpoints" / "mine").touch()
    refused = run(tmp_path, "train", "recipe.yaml", "--out", "project", "--resume")
    assert refused.returncode == 2 and "no run" in refused.stderr and (tmp_path / "project" / "checkpoints" / "mine").exists()


def test_cached_and_live_teachers_train_the_same_student(tiny_encoder_dir, tmp_path):
    from safetensors.numpy import load_file

    write_recipe(tmp_path, tiny_encoder_dir, **BARE)
    for cache in ("true", "false"):
        done = run(tmp_path, "train", "recipe.yaml", "--out", cache, "--set", f"teacher.cache={cache}", "--set", "training.epochs=0.25")
        assert done.returncode == 0, done.stderr
    cached, live = (load_file(tmp_path / cache / "student" / "model.safetensors") for cache in ("true", "false"))
    assert max(abs(cached[name] - live[name]).max() for name in cached) < 1e-5
