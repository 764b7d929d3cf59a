from __future__ import annotations

from pathlib import Path

import pytest

from potstill.errors import PotstillError, PotstillErrors
from potstill.evaluation.evaluate import evaluate


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
    torch = evaluate(tiny_head_dirs["classification"], ["classification/tiny"], tmp_path, max_length=32)
    onnx = evaluate(tiny_head_exports["classification"], ["classification/tiny"], tmp_path)
    own, other = torch.scores["classification/tiny"], onnx.scores["classification/tiny"]
    error, same = (each.pop("calibration")["ece"] for each in (own, other))
    assert own == other and error == pytest.approx(same, abs=1e-3) and list(torch.scores) == ["classification/tiny"]


def test_a_task_for_a_head_and_a_model_without_one(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    place = tmp_path / "classification" / "tiny"
    place.mkdir(parents=True)
    (place / "test.csv").write_text("text,label\na,no\nb,yes\n")
    with pytest.raises(PotstillError, match="has no head"):
        evaluate(tiny_encoder_dir, ["classification/tiny"], tmp_path)
