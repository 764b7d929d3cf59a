"""One folder for every reader: what is in it, who opens it, and what it must not hold."""

from __future__ import annotations

import json
import os
import shutil
import sysconfig
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from onnxruntime import InferenceSession
from tokenizers import AddedToken, Tokenizer
from torch import nn

import potstill
from potstill.deploy.bundle import write_bundle
from potstill.deploy.calibration import calibrate
from potstill.deploy.card import write_card
from potstill.deploy.gate import Limits
from potstill.deploy.onnx import export_onnx
from potstill.deploy.quantize import quantize_int8
from potstill.deploy.snippets import SNIPPETS, describe, render, unfit
from potstill.errors import PotstillError
from potstill.evaluation.subject import open_subject
from potstill.models.encoder import EncoderModel, keep_layers
from potstill.models.layout import Layout, Normalize, ResidualDense, Truncate
from potstill.models.loading import load_encoder
from potstill.results import Record, Role, Run, machine
from potstill.run.export import export
from potstill.runtime.encoder import Encoder
from potstill.runtime.folder import MODEL, QUANTIZED, read_config
from potstill.student.static import build_static

SAMPLE = ["the river", "a village and 2 rivers", "the", "", "it's raining in the village, and the river is rising!"] * 4
LAX = Limits(max_drop=100, min_cosine_mean=0, min_cosine=0, min_invariance=0, min_agreement=0, max_error=9, min_speedup=0)
FILES = {
    "1_Pooling/config.json",
    "README.md",
    "config.json",
    "model.safetensors",
    "modules.json",
    "onnx/model.onnx",
    "onnx/model_quantized.onnx",
    "potstill.json",
    "sentence_bert_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
}


@pytest.fixture(scope="module")
def bundle(tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = export(tiny_encoder_dir, tmp_path_factory.mktemp("bundles") / "tiny", texts=SAMPLE)
    quantize_int8(folder, texts=SAMPLE, limits=LAX)
    return folder


@pytest.fixture(scope="module")
def head_bundle(tiny_head_dirs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(tiny_head_dirs["multilabel"], tmp_path_factory.mktemp("bundles") / "multilabel", texts=["the river", "a village"])


def halved(bundle: Path, place: Path) -> Path:
    """The exported half of a bundle, in `place`/exported as `export_onnx` writes it; hard links would tie the tests together."""
    exported = shutil.copytree(bundle / "onnx", place / "exported")
    for file in ("potstill.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(bundle / file, exported / file)
    return exported


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_folder_is_laid_out_as_the_hub_expects(bundle):
    assert names(bundle) == FILES and (bundle / "2_Normalize").is_dir()
    assert json.loads((bundle / "sentence_bert_config.json").read_text())["max_seq_length"] == 64
    pooling = json.loads((bundle / "1_Pooling" / "config.json").read_text())
    others = ("cls_token", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")
    assert pooling["pooling_mode_mean_tokens"] is True
    assert [pooling[f"pooling_mode_{name}"] for name in others] == [False] * 5


def test_every_reader_at_hand_gives_the_same_vectors(bundle, tiny_encoder_dir):
    from sentence_transformers import SentenceTransformer

    wanted = load_encoder(tiny_encoder_dir).encode(SAMPLE)
    encoder = Encoder(bundle, precision="fp32")
    assert encoder.file == bundle / "onnx" / MODEL and Encoder(bundle).file == bundle / "onnx" / QUANTIZED
    np.testing.assert_allclose(encoder.encode(SAMPLE), wanted, atol=1e-5)
    np.testing.assert_allclose(SentenceTransformer(str(bundle), device="cpu").encode(SAMPLE), wanted, atol=1e-5)
    np.testing.assert_allclose(load_encoder(bundle).encode(SAMPLE), wanted, atol=1e-6)


@pytest.mark.parametrize("file", [MODEL, QUANTIZED])
def test_the_vector_comes_first_and_every_token_s_behind_it(bundle, file):
    session = InferenceSession(str(bundle / "onnx" / file))
    assert [(entry.name, entry.shape) for entry in session.get_outputs()] == [
        ("sentence_embedding", ["batch", 32]),
        ("last_hidden_state", ["batch", "length", 32]),
    ]
    feeds = Encoder(bundle).feeds(SAMPLE)
    vectors, tokens = session.run(None, feeds)
    mask = feeds["attention_mask"][..., None]
    pooled = (tokens * mask).sum(1) / mask.sum(1)
    np.testing.assert_allclose(vectors, pooled / np.linalg.norm(pooled, axis=1, keepdims=True), atol=1e-5)
    if file == MODEL:
        from transformers import AutoModel

        with torch.no_grad():
            states = AutoModel.from_pretrained(bundle)(**{name: torch.from_numpy(ids) for name, ids in feeds.items()}).last_hidden_state
        np.testing.assert_allclose(tokens * mask, states.numpy() * mask, atol=1e-5)


@pytest.mark.parametrize("file", [MODEL, QUANTIZED])
def test_onnxruntime_of_years_ago_reads_the_files(bundle, file):
    assert onnx.load(str(bundle / "onnx" / file)).ir_version <= 9  # onnxruntime 1.17 refuses 10


def test_no_shipped_byte_tells_of_the_machine(bundle, head_bundle, tiny_encoder_dir):
    private = {str(Path.cwd()), str(Path.home()), sysconfig.get_path("purelib"), str(Path(potstill.__file__).parent), tempfile.gettempdir()}
    private |= {str(bundle.parent), "site-packages", 'File "', ".py", "local_files_only"}
    private = {text for text in private if len(text) > 2}  # a container's home may be the root, or a letter
    shipped = [path for folder in (bundle, head_bundle, tiny_encoder_dir) for path in folder.rglob("*") if path.is_file()]
    told = [(path.name, text) for path in shipped for text in private if text.encode() in path.read_bytes()]
    assert len(shipped) > 25 and not told


def test_a_tokenizer_is_saved_as_readers_of_years_ago_take_it(tiny_encoder_dir, tmp_path):
    source = shutil.copytree(tiny_encoder_dir, tmp_path / "source")
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.enable_padding(length=128)
    tokenizer.enable_truncation(128)
    tokenizer.add_special_tokens([AddedToken("[MASK]", lstrip=True)])  # as RoBERTa's
    tokenizer.save(str(source / "tokenizer.json"))
    settings = json.loads((source / "tokenizer_config.json").read_text()) | {"extra_special_tokens": ["the"], "max_length": 128}
    (source / "tokenizer_config.json").write_text(json.dumps(settings))

    load_encoder(source, max_length=48).save(tmp_path / "saved")
    tokenizer = Tokenizer.from_file(str(tmp_path / "saved" / "tokenizer.json"))
    assert tokenizer.padding is None and tokenizer.truncation["max_length"] == 48
    settings = json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text())
    assert (settings["tokenizer_class"], settings["model_max_length"]) == ("PreTrainedTokenizerFast", 48)
    assert settings["additional_special_tokens"] == ["the"]
    assert not {"extra_special_tokens", "max_length", "local_files_only", "is_local"} & set(settings)
    special = json.loads((tmp_path / "saved" / "special_tokens_map.json").read_text())
    assert special["pad_token"] == "[PAD]" and special["mask_token"]["lstrip"] is True and len(special) == 5
    again = load_encoder(tmp_path / "saved")
    assert again.hf_tokenizer.extra_special_tokens == ["the"] and again.max_length == 48


def test_a_class_that_transformers_4_knows_stays(tiny_encoder_dir, tmp_path):
    source = shutil.copytree(tiny_encoder_dir, tmp_path / "source")
    settings = json.loads((source / "tokenizer_config.json").read_text()) | {"tokenizer_class": "BertTokenizer"}
    (source / "tokenizer_config.json").write_text(json.dumps(settings))
    load_encoder(source).save(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text())["tokenizer_class"] == "BertTokenizer"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, '{ pooling: "mean", normalize: true }'),
        ({"pooling": "cls", "normalize": False}, '{ pooling: "cls", normalize: false }'),
        ({"pooling": "max"}, "cannot be told of this pooling"),
        ({"pooling": "mean_last_two"}, "pools the last layer, and the vector is made of several"),
        (
            {"layout": Layout(pooling="mean", dense=[nn.Linear(32, 8), nn.Tanh(), Normalize()])},
            "cannot be told of the layers around the pooling",
        ),
    ],
)
def test_the_card_says_who_comes_to_the_vector(tiny_encoder_dir, bundle, tmp_path, settings, said):
    plain = load_encoder(tiny_encoder_dir)
    EncoderModel(plain.network, plain.hf_tokenizer, **settings).save(tmp_path / "student")
    write_bundle(tmp_path / "bundle", tmp_path / "student", halved(bundle, tmp_path))
    told = {"pooling": settings.get("pooling", "mean"), "normalize": settings.get("normalize", True)}
    replace(read_config(tmp_path / "bundle"), **told).write(tmp_path / "bundle")
    write_card(tmp_path / "bundle", name="pocket", teacher="t")
    card = (tmp_path / "bundle" / "README.md").read_text()
    assert said in card and "SentenceTransformer(" in card and "Encoder(" in card and "subfolder" not in card and "{{" not in card
    assert "library_name: sentence-transformers" in card and "distilled from t with" in card


def test_layers_before_the_pooling_read_what_is_given_out(tiny_encoder_dir, tmp_path):
    plain = load_encoder(tiny_encoder_dir)
    keep_layers(plain, [1])
    torch.manual_seed(0)
    layout = Layout(token_steps=[nn.Linear(32, 16)], pooling="mean", dense=[Normalize()], max_length=64)
    model = EncoderModel(plain.network, plain.hf_tokenizer, layout=layout).eval()
    exported = export_onnx(model, tmp_path / "onnx", SAMPLE)
    calibration = calibrate(exported / MODEL, Encoder(exported), SAMPLE, 127)
    assert "last_hidden_state" in calibration.inputs
    quantize_int8(exported, texts=SAMPLE, limits=LAX)
    assert Encoder(exported, precision="int8").encode(SAMPLE).shape == (len(SAMPLE), 16)


@pytest.mark.parametrize(
    ("name", "file", "prompt"),
    [
        ("onnxruntime", MODEL, ""),
        ("onnxruntime", QUANTIZED, ""),
        ("onnxruntime", MODEL, "the river: "),  # which the lines put before a text
        ("sentence-transformers", MODEL, ""),
        ("transformers", MODEL, ""),
    ],
)
def test_the_lines_of_the_card_give_the_vectors(bundle, name, file, prompt):
    described = replace(describe(bundle, file, str(bundle)), prompt=prompt)
    found: dict[str, Any] = {}
    exec(render(SNIPPETS[name], described, SAMPLE), found)
    wanted = Encoder(bundle, precision="fp32" if file == MODEL else "int8").encode([prompt + text for text in SAMPLE])
    np.testing.assert_allclose(np.array(found["vectors"]), wanted, atol=1e-5 if file == MODEL else 2e-2)


def test_lines_in_javascript_put_the_prompt_before_a_text(bundle):
    described = replace(describe(bundle), prompt='say "a": ')
    lines = render(SNIPPETS["transformers.js-node"], described, ["the river"])
    assert '["the river"].map((text) => "say \\"a\\": " + text)' in lines and 'dtype: "q8"' in lines


def test_a_network_of_this_package_is_imported_before_it_is_loaded(bundle):
    described = replace(describe(bundle), network="compact", own_pooling=True)
    lines = render(SNIPPETS["sentence-transformers"], described)
    assert "import potstill.models.compact" in lines and "trust_remote_code=True" in lines
    refused = [name for name, snippet in SNIPPETS.items() if unfit(snippet, described)]
    assert refused == ["sentence-transformers-onnx", "txtai", "transformers", "llama-index-onnx"]


@pytest.mark.parametrize(
    ("settings", "release"),
    [
        ({}, "2.7"),
        ({"pooling": "mean_last_two"}, "3.0.1"),  # weights of layers in safetensors
        ({"layout": Layout(pooling="mean", dense=[nn.Linear(32, 8), Normalize()], max_length=64)}, "3.0.1"),
        ({"pooling": "max_last_two"}, "5.0"),  # a module of this package
        ({"layout": Layout(token_steps=[nn.Linear(32, 16)], pooling="mean", max_length=64)}, "5.4"),  # a layer on token vectors
        ({"layout": Layout(pooling="mean", dense=[Normalize(), Truncate(8)], max_length=64)}, "5.4"),
        ({"layout": Layout(pooling="mean", dense=[ResidualDense(32, 32, True, nn.Tanh())], max_length=64)}, "6.0"),
    ],
)
def test_the_card_says_the_first_release_that_reads_the_folder(tiny_encoder_dir, tmp_path, settings, release):
    plain = load_encoder(tiny_encoder_dir)
    EncoderModel(plain.network, plain.hf_tokenizer, **settings).save(tmp_path)
    write_card(tmp_path, name="pocket", teacher="t")
    assert f"import SentenceTransformer  # {release} or later\n" in (tmp_path / "README.md").read_text()


def test_the_card_of_a_static_model_names_who_reads_it(tiny_encoder_dir, tmp_path):
    source = load_encoder(tiny_encoder_dir)
    pieces = len(source.hf_tokenizer)
    vectors = np.random.default_rng(1).normal(size=(pieces, 12)).astype(np.float32)
    build_static(source, vectors, np.ones(pieces), width=8, sif_coefficient=1e-3, normalize=True, max_length=16).save(tmp_path / "static")
    export(tmp_path / "static", tmp_path / "bundle", texts=SAMPLE)
    card = (tmp_path / "bundle" / "README.md").read_text()
    assert "import SentenceTransformer  # 5.0 or later\n" in card and "potstill.models" not in card
    assert "- sentence-transformers, on onnxruntime never opens the ONNX file of a static model;\n" in card and 'backend="onnx"' not in card
    assert "- txtai does not know this kind of network.\n" in card and "from txtai" not in card
    described = describe(tmp_path / "bundle")
    refused = [name for name, snippet in SNIPPETS.items() if unfit(snippet, described)]
    assert refused == ["sentence-transformers-onnx", "txtai", "transformers", "llama-index-onnx"]


def test_the_onnx_way_of_sentence_transformers_is_younger(bundle):
    assert "# 3.2 or later" in render(SNIPPETS["sentence-transformers-onnx"], describe(bundle))
    assert "# 5.4 or later" in render(SNIPPETS["sentence-transformers-onnx"], replace(describe(bundle), release="5.4"))


def test_a_model_with_a_head_is_a_bundle_too(head_bundle):
    from transformers import pipeline

    folder = head_bundle
    assert (
        names(folder) >= {"model.safetensors", "onnx/model.onnx", "potstill.json", "README.md"} and not (folder / "modules.json").exists()
    )
    theirs = pipeline("text-classification", model=str(folder), top_k=None)("the river")[0]
    ours = 1 / (1 + np.exp(-Encoder(folder).predict(["the river"])[0]))
    assert [row["score"] for row in theirs] == pytest.approx(sorted(map(float, ours), reverse=True), abs=1e-5)
    card = (folder / "README.md").read_text()
    assert "exported from tiny-multilabel" in card and "classify(" in card and "pipeline(" in card and "subfolder" not in card


def test_another_part_is_refused_before_any_work(tiny_encoder_dir, tmp_path, call):
    status, _, err = call("export", tiny_encoder_dir, "--out", tmp_path / "out", "--only", "openvino")
    assert (status, err) == (2, "error: only: unknown value 'openvino'; give onnx, or leave it out for the whole bundle\n")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, "onnx"),  # the file that ships
        ({"precision": "fp32"}, "onnx"),
        ({"pooling": "cls"}, "torch"),  # which a graph cannot be told
        ({"precision": "torch-int8"}, "torch"),
    ],
)
def test_an_evaluation_opens_the_half_that_it_asks_for(bundle, settings, kind):
    subject = open_subject(bundle, **settings)
    assert subject.format == kind and sum(subject.files.values()) > 0


@pytest.mark.parametrize("file", [MODEL, QUANTIZED])
def test_a_bundle_without_its_configuration_is_read_as_no_other_model(bundle, tmp_path, call, file):
    folder = shutil.copytree(bundle, tmp_path / "bundle")
    (folder / "potstill.json").unlink()
    (folder / "onnx" / (MODEL if file == QUANTIZED else QUANTIZED)).unlink()
    (tmp_path / "texts.txt").write_text("the river\n")
    problem = f"no such file, and onnx/{file} is not read without it"
    said = f"error: {folder / 'potstill.json'}: {problem}; export the model again, or copy all of it\n"
    for command in (["encode", folder, tmp_path / "texts.txt", "--out", tmp_path / "a.npy"], ["evaluate", folder, "--tasks", "cost"]):
        assert call(*command)[::2] == (2, said)
    assert call("demo", folder, "--texts", tmp_path / "texts.txt")[::2] == (2, said)
    with pytest.raises(PotstillError, match="potstill.json: no such file"):
        Encoder(folder)
    assert open_subject(folder, pooling="cls").format == "torch"  # which was asked for


def test_a_folder_of_the_hub_with_graphs_of_its_own_is_a_torch_model(tiny_encoder_dir, bundle, tmp_path):
    folder = shutil.copytree(tiny_encoder_dir, tmp_path / "hub")
    (folder / "onnx").mkdir()
    graph = (bundle / "onnx" / MODEL).read_bytes().replace(b"model.network.", b"other.encoder.")  # as other exporters name it
    (folder / "onnx" / MODEL).write_bytes(graph)
    assert open_subject(folder).format == "torch"


def test_the_graphs_of_a_bundle_are_not_named_alone(bundle, monkeypatch):
    with pytest.raises(PotstillError, match=f"holds the graphs of a bundle alone; name the bundle, {bundle}$"):
        Encoder(bundle / "onnx")
    monkeypatch.chdir(bundle / "onnx")
    with pytest.raises(PotstillError, match=f"holds the graphs of a bundle alone; name the bundle, {bundle}$"):
        Encoder(".")


def test_the_card_of_an_exported_run_has_the_scores_of_files_that_were_measured(tiny_encoder_dir, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tiny_encoder_dir, run / "student")
    export_onnx(load_encoder(run / "student"), run / "onnx", SAMPLE)
    content = {
        "name": "pocket", "data": {"texts": ["texts.txt"]}, "teacher": {"model": str(tiny_encoder_dir)},
        "student": {"layers": 2}, "stages": [{"name": "embed", "terms": [{"loss": "embedding_mse"}]}],
    }  # fmt: skip
    (run / "recipe.yaml").write_text(yaml.safe_dump(content))
    measured: list[tuple[Role, Literal["torch", "onnx"], float]] = [("student", "torch", 81), ("onnx", "onnx", 82), ("int8", "onnx", 83)]
    records = [
        Record(name=f"the {role}", role=role, model="m", format=kind, scores={"sts/stsb": {"spearman": score}}, machine=machine())
        for role, kind, score in measured
    ]
    Run(name="pocket", seed=1, created="2026-11-21", recipe={}, records=records).write(run)

    def told(name: str) -> tuple[list[str], list[float]]:
        card = ModelCard.load(export(run, tmp_path / name, texts=SAMPLE) / "README.md")
        return [line for line in card.text.splitlines() if line.startswith("| the ")], [
            row.metric_value for row in card.data.eval_results or []
        ]

    (run / "onnx" / QUANTIZED).write_bytes(b"the one that was measured")  # which the export does not have
    assert told("same") == (["| the student | 81.00 |  |  |  |", "| the onnx | 82.00 |  |  |  |"], [82.0])
    graph = onnx.load(str(run / "onnx" / MODEL))
    graph.producer_version = "another"  # as a later release of torch makes it
    onnx.save(graph, str(run / "onnx" / MODEL))
    assert told("another") == (["| the student | 81.00 |  |  |  |"], [])


def test_the_halves_are_the_same_files(tiny_encoder_dir, bundle, tmp_path):
    student, exported = shutil.copytree(tiny_encoder_dir, tmp_path / "student"), halved(bundle, tmp_path)
    (student / "README.md").write_text("of the student")
    write_bundle(tmp_path / "bundle", student, exported)
    assert (tmp_path / "bundle" / "model.safetensors").samefile(student / "model.safetensors")
    assert (tmp_path / "bundle" / "onnx" / MODEL).samefile(exported / MODEL)
    assert not (tmp_path / "bundle" / "README.md").exists()


def test_without_hard_links_they_are_copies(tiny_encoder_dir, bundle, tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    write_bundle(tmp_path / "bundle", tiny_encoder_dir, halved(bundle, tmp_path))
    np.testing.assert_array_equal(Encoder(tmp_path / "bundle").encode(SAMPLE), Encoder(bundle).encode(SAMPLE))


@pytest.mark.parametrize("only", [None, "onnx"])
def test_the_gates_verdict_is_told_and_kept_beside_the_card(tiny_encoder_dir, tmp_path, call, monkeypatch, only):
    def lax(folder: Path, *, texts: Sequence[str], **_: object) -> list[dict[str, Any]]:
        return quantize_int8(folder, texts=texts, limits=LAX)

    monkeypatch.setattr("potstill.deploy.quantize.quantize_int8", lax)
    monkeypatch.setattr("potstill.run.export.SAMPLE", 20)
    folder = tmp_path / "out"
    status, out, err = call("export", tiny_encoder_dir, "--out", folder, "--int8", *(["--only", only] if only else []))
    assert status == 0, err
    (row,) = json.loads((folder / ("gate.json" if only else "onnx/gate.json")).read_text())
    assert row["passed"] and row["setting"] == "all int8"
    said = " ".join(out.split())
    assert f"int8 gate all int8 passed: mean (cosine) {row['cosine_mean']:.4f}" in said and f"speed-up (×) {row['speedup']:.2f}" in said
    assert (folder / "model.safetensors").is_file() == (only is None)
    card = (folder / "README.md").read_text()
    assert "tiny-encoder" in card and "Encoder(" in card
