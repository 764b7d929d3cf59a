"""Every recipe that ships, for two tiny steps a stage: its own terms and settings, a tiny teacher and a few texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from potstill.models.encoder import EncoderModel
from potstill.models.loading import load_encoder
from potstill.recipe.file import parse_recipe, read_recipe, shipped
from potstill.results import read_metrics, read_run
from potstill.run.distil import distil

COMPARE_STATES = {"cos_nce", "cosine", "hidden_mse", "patient_mse"}  # these have angles to show, layer by layer
WORDS = "river village cat owl house tree stone boat night snow".split()
GLUE = {  # folder → (header, a row of number n)
    "RTE": ("index\tsentence1\tsentence2\tlabel", lambda n, text: f"{n}\t{text}\ta {text}\t{('entailment', 'not_entailment')[n % 2]}"),
    "SST-2": ("sentence\tlabel", lambda n, text: f"{text}\t{n % 2}"),
    "CoLA": (None, lambda n, text: f"gj\t{n % 2}\t\t{text}"),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts, a search task, and GLUE's files with a few rows each."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "retrieval").mkdir()
    rows = [{"query": f"query {n}", "document": f"document {n}"} for n in range(6)]
    (folder / "retrieval" / "tiny.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "texts.txt").write_text("".join(f"text number {n}\n" for n in range(48)))
    texts = [f"the {a} and the {b}" for a in WORDS for b in WORDS]
    for name, (header, row) in GLUE.items():
        place = folder / "glue" / name
        place.mkdir(parents=True)
        for split, part in (("train", texts[:44]), ("dev", texts[44:60])):
            lines = [row(n, text) for n, text in enumerate(part)]
            (place / f"{split}.tsv").write_text("\n".join([header, *lines] if header else lines) + "\n")
    mrpc = folder / "senteval" / "MRPC"
    mrpc.mkdir(parents=True)
    for split, part in (("train", texts[:44]), ("test", texts[44:60])):
        lines = [f"{n % 2}\t{n}\t{n}\t{text}\tsome {text}" for n, text in enumerate(part)]
        (mrpc / f"msr_paraphrase_{split}.txt").write_text("\n".join(["Quality\t#1 ID\t#2 ID\t#1 String\t#2 String", *lines]) + "\n")
    return folder


@pytest.fixture(scope="module")
def teachers(tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By task: the tiny encoder with a head for it, a language model's too."""
    names = {
        "glue/mrpc": ["not_equivalent", "equivalent"],
        "glue/rte": ["entailment", "not_entailment"],
        "glue/cola": ["unacceptable", "acceptable"],
        "glue/sst2": ["negative", "positive"],
    }
    found = {"embed": tiny_encoder_dir, "mlm": tmp_path_factory.mktemp("teachers") / "mlm"}
    load_encoder(tiny_encoder_dir, head="mlm").save(found["mlm"])
    found["distilbert"] = tmp_path_factory.mktemp("teachers") / "distilbert"
    _distilbert(load_encoder(tiny_encoder_dir)).save(found["distilbert"])
    for task, labels in names.items():
        found[task] = tmp_path_factory.mktemp("teachers") / task.replace("/", "-")
        load_encoder(tiny_encoder_dir, head="classification", labels=labels).save(found[task])
    return found


def _distilbert(like: EncoderModel) -> EncoderModel:
    """A random DistilBERT, which has neither token types nor a pooler."""
    import torch
    from transformers import DistilBertConfig, DistilBertModel

    torch.manual_seed(0)
    words = like.network.config.vocab_size
    config = DistilBertConfig(vocab_size=words, dim=32, n_layers=4, n_heads=4, hidden_dim=64, max_position_embeddings=128)
    return EncoderModel(DistilBertModel(config), like.hf_tokenizer, max_length=64)


def tiny(name: str, data: Path, teachers: dict[str, Path]) -> dict[str, Any]:
    """The recipe with small sizes and two steps a stage; nothing of its method is changed."""
    shipped = read_recipe(name)
    content = shipped.model_dump(mode="json")
    content["data"] |= {"dir": str(data), "texts": [] if shipped.labelled else ["texts.txt"], "held_out": 8, "pairs": []}
    if content["teacher"]:
        content["teacher"]["model"] = str(teachers[shipped.task])
    built = content["student"].get("heads") is not None
    dual = any(stage.dual for stage in shipped.stages)  # with as many layers as the teacher
    kept = [1, 2, 3, 4] if "four" in (shipped.student.pooling or "") else [1, 3]
    if content["student"]["kind"] == "bilstm":
        content["student"] |= {"width": 8, "embedding": 16, "dense": 32}  # as wide as the tiny teacher
    elif content["student"]["kind"] == "static":
        content["student"] |= {"width": 8}
    else:
        content["student"] |= {"width": 16, "heads": 4, "ffn": 32, "layers": 4 if dual else 2} if built else {"layers": kept}
    source = teachers["distilbert" if "distilbert" in (shipped.student.model or "") else "embed"]
    content["student"] |= {"model": None if content["teacher"] else str(source)}
    content["training"] |= {"epochs": 2 * len(shipped.stages) / 2, "batch_size": 20, "select": None if shipped.labelled else "last"}
    for stage in content["stages"]:
        stage |= {"steps": 2, "share": None, "epochs": None}
        for term in stage["terms"]:
            if term["loss"] == "relation":
                term["heads"] = 4  # the tiny widths are not divisible by 48
            if term["loss"] == "crd":
                term["count"] = 5
    return content | {"evaluate": [shipped.task] if shipped.labelled else ["retrieval/tiny"], "export": {"onnx": False}}


@pytest.mark.parametrize("name", shipped())
def test_two_steps(name: str, data: Path, teachers: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    content = tiny(name, data, teachers)
    if content["task"] == "mlm":
        content["evaluate"] = []
    run = distil(parse_recipe(content), out=tmp_path / "run")
    assert run.training["steps"] == 2 * len(content["stages"])
    logged = [line for line in read_metrics(tmp_path / "run") if "terms" in line]
    for stage in content["stages"]:
        last = [line for line in logged if line["stage"] == stage["name"]][-1]
        beside = {"shared_projection", "teacher_norm"} if stage.get("dual") else set()
        assert {key.partition("-")[0] for key in last["terms"]} == {term["loss"] for term in stage["terms"]} | beside
        assert all(value == value for value in last["terms"].values())
    assert [record.role for record in read_run(tmp_path / "run").records][-1] == "student"
    losses = {term["loss"] for stage in content["stages"] for term in stage["terms"]}
    assert bool(run.cases) == bool(losses & COMPARE_STATES)
    assert all(case["angles"] and all(0 <= row["degrees"] <= 180 for row in case["angles"]) for case in run.cases)
