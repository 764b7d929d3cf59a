from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from potstill.errors import PotstillError, PotstillErrors
from potstill.evaluation.evaluate import evaluate
from potstill.models.layout import Normalize
from potstill.models.loading import load_encoder
from potstill.results import Record


def test_record(tiny_encoder_dir: Path, tiny_retrieval: Path) -> None:
    record = evaluate(tiny_encoder_dir, ["retrieval/tiny", "cost", "retrieval/tiny"], tiny_retrieval, threads=1, role="student")
    assert (record.name, record.role, record.format, record.model) == ("tiny-encoder", "student", "torch", str(tiny_encoder_dir))
    assert list(record.scores) == ["retrieval/tiny"]
    assert record.scores["retrieval/tiny"]["recall@1"] == 100
    assert record.cost is not None and record.cost.threads == 1
    assert record.files == {"model.safetensors": record.cost.bytes}
    assert record.versions["torch"] and record.machine.cores >= 1
    assert type(record).model_validate_json(record.model_dump_json()) == record


def test_cost_only_when_asked(tiny_encoder_dir: Path, tiny_retrieval: Path) -> None:
    assert evaluate(tiny_encoder_dir, ["retrieval/tiny"], tiny_retrieval).cost is None


def test_everything_missing_is_told_at_once_and_before_the_model(tmp_path: Path) -> None:
    with pytest.raises(PotstillErrors) as caught:
        evaluate(tmp_path / "no-model", ["sts/12", "retrieval/tiny", "sts/77", "csot", "cost"], tmp_path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert "STS12-en-test" in lines[0] and "tiny.jsonl" in lines[1]
    assert "did you mean 'sts/" in lines[2] and "did you mean 'cost'" in lines[3]


def test_one_problem_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(PotstillError) as caught:
        evaluate(tmp_path / "no-model", ["sts/12"], tmp_path)
    assert not isinstance(caught.value, PotstillErrors)


def test_record_of_a_model_with_a_head(tiny_head_dirs: dict[str, Path], tiny_head_exports: dict[str, Path], tmp_path: Path) -> None:
    place = tmp_path / "classification" / "tiny"
    place.mkdir(parents=True)
    rows = [("the river", "no"), ("a village", "yes"), ("9", "maybe"), ("rivers", "no")]
    (place / "test.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    own_torch = evaluate(tiny_head_dirs["classification"], ["classification/tiny"], tmp_path, max_length=32)
    onnx = evaluate(tiny_head_exports["classification"], ["classification/tiny"], tmp_path)
    own, other = own_torch.scores["classification/tiny"], onnx.scores["classification/tiny"]
    error, same = (each.pop("calibration")["ece"] for each in (own, other))
    assert own == other and error == pytest.approx(same, abs=1e-3) and list(own_torch.scores) == ["classification/tiny"]


def test_a_task_for_a_head_and_a_model_without_one(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    place = tmp_path / "classification" / "tiny"
    place.mkdir(parents=True)
    (place / "test.csv").write_text("text,label\na,no\nb,yes\n")
    with pytest.raises(PotstillError, match="has no head"):
        evaluate(tiny_encoder_dir, ["classification/tiny"], tmp_path)


@pytest.fixture
def turned(tiny_encoder_dir: Path, tmp_path: Path) -> Path:
    """The tiny encoder with every vector turned round: as good alone, and in another space of the same width."""
    model = load_encoder(tiny_encoder_dir)
    layer = torch.nn.Linear(32, 32, bias=False)
    with torch.no_grad():
        layer.weight.copy_(-torch.eye(32))
    model.dense = torch.nn.Sequential(layer, Normalize())
    model.save(tmp_path / "turned")
    return tmp_path / "turned"


def test_queries_by_one_model_and_documents_by_another(
    tiny_encoder_dir: Path,
    tiny_run_dir: Path,
    turned: Path,
    tiny_retrieval: Path,
    call: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
) -> None:
    def found(queries: Path, documents: Path | None) -> float:
        return float(evaluate(queries, ["retrieval/tiny"], tiny_retrieval, documents=documents).scores["retrieval/tiny"]["recall@1"])

    assert found(turned, None) == found(turned, turned) == found(tiny_encoder_dir, tiny_encoder_dir) == 100
    assert found(turned, tiny_encoder_dir) < 100 and found(tiny_encoder_dir, turned) < 100, "the spaces differ"
    assert found(tiny_run_dir, tiny_encoder_dir) == 100, "the int8 file of the same model"

    arguments = ("evaluate", tiny_run_dir, "--documents", tiny_encoder_dir, "--data", tiny_retrieval, "--json", tmp_path / "record.json")
    status, out, error = call(*arguments, "--tasks", "retrieval/tiny")
    assert (status, error) == (0, "")
    told = "".join(out.split())
    assert f"queriesby{tiny_run_dir}documentsby{tiny_encoder_dir}retrieval/tiny" in told
    record = Record.model_validate_json((tmp_path / "record.json").read_text())
    assert (record.model, record.documents, record.role) == (str(tiny_run_dir), str(tiny_encoder_dir), "int8")
    assert evaluate(tiny_encoder_dir, ["retrieval/tiny"], tiny_retrieval).documents is None


def test_the_cost_is_that_of_the_queries_model(tiny_onnx_dir: Path, tiny_encoder_dir: Path, tiny_retrieval: Path) -> None:
    record = evaluate(tiny_onnx_dir, ["retrieval/tiny", "cost"], tiny_retrieval, threads=1, documents=tiny_encoder_dir)
    assert record.cost is not None and record.files == {"model_quantized.onnx": record.cost.bytes}


def test_documents_that_make_no_sense(
    tiny_encoder_dir: Path, tiny_head_dirs: dict[str, Path], tiny_retrieval: Path, tmp_path: Path
) -> None:
    model = load_encoder(tiny_encoder_dir)
    model.dense = torch.nn.Sequential(torch.nn.Linear(32, 8))
    narrow, head = tmp_path / "narrow", tiny_head_dirs["classification"]
    model.save(narrow)
    data = Path(shutil.copytree(tiny_retrieval, tmp_path / "data"))
    (data / "regression" / "tiny").mkdir(parents=True)
    (data / "regression" / "tiny" / "test.csv").write_text("text,label\na,1\nb,2\n")
    one, both = ["retrieval/tiny"], ["retrieval/tiny", "regression/tiny"]
    of_widths = "gives documents 32 numbers, and {} gives queries 8; name the teacher of a student with align: teacher"
    cases = {
        # what is asked of which two models → the one line
        (narrow, tiny_encoder_dir, *one): f"{tiny_encoder_dir}: {of_widths.format(narrow)}",
        (head, tiny_encoder_dir, *one): f"{head}: has a head and gives no vectors; name an encoder",
        (tiny_encoder_dir, head, *one): f"{head}: has a head and gives no vectors; name an encoder",
        (tiny_encoder_dir, tiny_encoder_dir, *both): "documents: only retrieval has queries and documents, and regression/tiny is asked",
        (tiny_encoder_dir, tiny_encoder_dir, "cost"): "documents: no retrieval task is asked; name tasks retrieval/<name>",
        (tiny_encoder_dir, tmp_path / "nowhere", *one): f"{tmp_path / 'nowhere'}: no such folder",
    }
    for (queries, documents, *tasks), line in cases.items():
        with pytest.raises(PotstillError) as caught:
            evaluate(queries, [str(task) for task in tasks], data, documents=documents)
        assert str(caught.value).startswith(line) and "\n" not in str(caught.value)
