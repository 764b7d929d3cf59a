from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from potstill.errors import PotstillError
from potstill.evaluation.subject import open_subject

TEXTS = ["the river", "a village and the river, again and again", "9"]


def test_model_folder(tiny_encoder_dir: Path) -> None:
    from potstill.models.loading import load_encoder

    subject = open_subject(tiny_encoder_dir)
    assert (subject.name, subject.format, subject.role, subject.path) == ("tiny-encoder", "torch", "model", tiny_encoder_dir)
    assert subject.files == {"model.safetensors": (tiny_encoder_dir / "model.safetensors").stat().st_size}
    vectors = subject.encode(TEXTS)
    assert vectors.dtype == np.float32 and vectors.shape == (3, subject.dimension)
    model = load_encoder(tiny_encoder_dir)
    assert np.allclose(vectors, model.encode(TEXTS), atol=1e-6)
    assert (subject.embedding_parameters, subject.parameters) == (model.parameter_counts()[0], sum(model.parameter_counts()))


def test_onnx_folder(tiny_onnx_dir: Path, tiny_encoder_dir: Path) -> None:
    fp32, int8, shipped = (open_subject(tiny_onnx_dir, precision) for precision in ("fp32", "int8", "auto"))
    assert [subject.role for subject in (fp32, int8, shipped)] == ["onnx", "int8", "int8"]
    assert list(fp32.files) == ["model.onnx"] and list(int8.files) == ["model_quantized.onnx"]
    assert fp32.parameters == open_subject(tiny_encoder_dir).parameters
    assert np.allclose(fp32.encode(TEXTS), open_subject(tiny_encoder_dir).encode(TEXTS), atol=1e-4)


def test_run_folder_gives_the_file_that_ships(tiny_run_dir: Path, tmp_path: Path) -> None:
    subject = open_subject(tiny_run_dir)
    assert (subject.name, subject.role, subject.path) == (tiny_run_dir.name, "int8", tiny_run_dir / "onnx")
    assert open_subject(tiny_run_dir, "fp32").role == "onnx"
    assert open_subject(tiny_run_dir / "student").name == f"{tiny_run_dir.name}/student"

    shutil.copytree(tiny_run_dir / "student", tmp_path / "run" / "student")
    assert open_subject(tmp_path / "run").role == "student"


def test_hub_folder_with_a_foreign_onnx_is_a_torch_model(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_encoder_dir, tmp_path / "model")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(b"foreign")
    assert open_subject(folder).format == "torch"


def test_onnx_subject_never_imports_torch(tiny_onnx_dir: Path, tiny_retrieval: Path) -> None:
    code = f"""
import json, sys
from potstill.evaluation.evaluate import evaluate
record = evaluate({str(tiny_onnx_dir)!r}, ["retrieval/tiny", "cost"], {str(tiny_retrieval)!r}, threads=1)
print(json.dumps([sorted({{"torch", "transformers"}} & set(sys.modules)), record.role, list(record.scores), record.cost.threads]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [[], "int8", ["retrieval/tiny"], 1]


def test_what_is_no_model(tmp_path: Path, tiny_encoder_dir: Path) -> None:
    with pytest.raises(PotstillError, match="holds no model"):
        open_subject(tmp_path)
    with pytest.raises(PotstillError, match="no such folder"):
        open_subject(tmp_path / "absent")
    with pytest.raises(PotstillError, match="is a file; name the folder"):
        open_subject(tiny_encoder_dir / "config.json")
    with pytest.raises(PotstillError, match="has no int8 file.*potstill export"):
        open_subject(tiny_encoder_dir, "int8")
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(PotstillError, match="run folder without onnx/ and student/"):
        open_subject(tmp_path)


def test_subject_with_a_head(tiny_head_dirs: dict[str, Path], tiny_head_exports: dict[str, Path], tiny_encoder_dir: Path) -> None:
    assert open_subject(tiny_encoder_dir).predict is None
    pairs = [("the river", "a village"), ("9", "and 10")]
    torch, onnx = open_subject(tiny_head_dirs["classification"]), open_subject(tiny_head_exports["classification"])
    for subject in (torch, onnx):
        assert subject.predict is not None
        assert (subject.predict.head, subject.predict.labels) == ("classification", ["no", "yes", "maybe"])
        with pytest.raises(PotstillError, match="gives no vectors"):
            subject.encode(["the river"])
    assert torch.predict and onnx.predict and torch.parameters == onnx.parameters
    assert np.allclose(torch.predict.logits(pairs), onnx.predict.logits(pairs), atol=1e-4)
    words = [["the", "river"], ["9"]]
    torch, onnx = open_subject(tiny_head_dirs["tagging"]), open_subject(tiny_head_exports["tagging"])
    for ours, theirs in zip(torch.run(words), onnx.run(words)):
        assert ours.shape == theirs.shape and np.allclose(ours, theirs, atol=1e-4)


def test_another_pooling_than_the_folder_says(
    tiny_encoder_dir: Path, tiny_run_dir: Path, tiny_onnx_dir: Path, tiny_head_dirs: dict[str, Path]
) -> None:
    own, maximum = open_subject(tiny_encoder_dir), open_subject(tiny_encoder_dir, pooling="max")
    assert not np.allclose(own.encode(TEXTS), maximum.encode(TEXTS), atol=1e-3)
    of_run = open_subject(tiny_run_dir, pooling="max")  # its exported file has a pooling inside: the student is opened
    assert of_run.format == "torch" and np.allclose(of_run.encode(TEXTS), maximum.encode(TEXTS), atol=1e-6)
    with pytest.raises(PotstillError, match="exported with a pooling of its own, and max is asked"):
        open_subject(tiny_onnx_dir, pooling="max")
    with pytest.raises(PotstillError, match="has a head"):
        open_subject(tiny_head_dirs["classification"], pooling="max")


def test_another_length_than_the_folder_says(tiny_encoder_dir: Path, tiny_run_dir: Path, tiny_onnx_dir: Path) -> None:
    long = ["the river and the village and the river"]
    whole, short = open_subject(tiny_encoder_dir), open_subject(tiny_encoder_dir, max_length=4)
    assert not np.allclose(whole.encode(long), short.encode(long), atol=1e-3)
    np.testing.assert_allclose(open_subject(tiny_run_dir, max_length=4).encode(long), short.encode(long), atol=1e-6)
    with pytest.raises(PotstillError, match="exported with a max length of its own, and 4 is asked"):
        open_subject(tiny_onnx_dir, max_length=4)
