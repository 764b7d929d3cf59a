"""What the tests of evaluation share: a retrieval task that any encoder solves, and the tiny encoder exported."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

RETRIEVED = ["the river", "a village", "nine 9s", "and again the river"]


@pytest.fixture(scope="session")
def tiny_retrieval(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose task retrieval/tiny asks for documents equal to their queries."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "retrieval").mkdir()
    (folder / "retrieval" / "tiny.jsonl").write_text("".join(json.dumps({"query": text, "document": text}) + "\n" for text in RETRIEVED))
    return folder


@pytest.fixture(scope="session")
def tiny_onnx_dir(tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny encoder exported, with an int8 file beside the fp32 one."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from potstill.deploy.onnx import export_onnx
    from potstill.models.loading import load_encoder
    from potstill.runtime.folder import MODEL, QUANTIZED

    folder = export_onnx(load_encoder(tiny_encoder_dir), tmp_path_factory.mktemp("exported") / "tiny-onnx", RETRIEVED)
    quantize_dynamic(folder / MODEL, folder / QUANTIZED, weight_type=QuantType.QInt8, per_channel=True)
    return folder


@pytest.fixture(scope="session")
def tiny_run_dir(tiny_encoder_dir: Path, tiny_onnx_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder as training leaves it: student/ and onnx/."""
    folder = tmp_path_factory.mktemp("runs") / "tiny-run"
    shutil.copytree(tiny_encoder_dir, folder / "student")
    shutil.copytree(tiny_onnx_dir, folder / "onnx")
    return folder
