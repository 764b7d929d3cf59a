"""Students in their teacher's space: the Dense layer starts harmless, is trained, saved, shipped, and the same to sentence-transformers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn

import potstill
import potstill.deploy.int8 as int8
from potstill.check.check import check_recipe
from potstill.check.plan import first_student
from potstill.deploy.gate import Limits
from potstill.deploy.onnx import export_onnx
from potstill.deploy.quantize import quantize_int8
from potstill.models.encoder import EncoderModel
from potstill.models.layout import Layout, Normalize, Truncate
from potstill.models.loading import load_encoder
from potstill.recipe.file import parse_recipe, read_recipe
from potstill.recipe.recipe import Int8
from potstill.results import read_run
from potstill.runtime.folder import QUANTIZED
from potstill.student.aligned import align

Call = Callable[..., tuple[int, str, str]]
TEXTS = [f"{first} {second} and the {third}" for first in "abcd" for second in ("river", "village") for third in "efghij"]
AWKWARD = ["the river", "word", " ".join(["village"] * 200), "rivers and OWLS!"]
STUDENTS: dict[str, dict[str, Any]] = {
    # layers of the narrow source; the whole of it is 16 wide, and the teacher 32
    "layers": {"model": "narrow", "layers": [1], "max_length": 32},
    # one vector a piece: a StaticEmbedding with the Dense layer behind it
    "static": {"kind": "static", "model": "narrow", "width": 8, "max_length": 32},
    # both directions of a BiLSTM
    "bilstm": {"kind": "bilstm", "width": 4, "embedding": 8, "max_length": 32},
}


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_encoder_dir: Path) -> Path:
    """A folder with texts, a teacher that is 32 wide, an encoder that is 16 wide, and a recipe of the one for the other."""
    from transformers import BertConfig, BertModel

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    Path("texts.txt").write_text("\n".join(TEXTS) + "\n")
    Path("teacher").symlink_to(tiny_encoder_dir)
    teacher = load_encoder(tiny_encoder_dir)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 64}
    torch.manual_seed(5)
    network = BertModel(BertConfig(vocab_size=teacher.network.config.vocab_size, pad_token_id=0, **sizes))
    EncoderModel(network, teacher.hf_tokenizer, max_length=32).save("narrow")
    Path("r.yaml").write_text(yaml.safe_dump(recipe(STUDENTS["layers"])))
    return tmp_path


def recipe(student: dict[str, Any], **parts: Any) -> dict[str, Any]:
    content: dict[str, Any] = {
        "name": "aligned",
        "data": {"texts": ["texts.txt"]},
        "teacher": {"model": "teacher", "max_length": 32},
        "student": student | {"align": "teacher"},
        "training": {"batch_size": 16, "learning_rate": 1e-2, "evaluations": 1, "precision": "fp32", "epochs": 3, "select": "last"},
        "stages": [{"name": "embed", "terms": [{"loss": "embedding_cosine"}]}],
        "evaluate": [],
        "export": {"onnx": True, "int8": {"max_drop": 100, "min_speedup": 0, "min_cosine_mean": 0.9, "min_cosine": 0.5}},
    }
    return content | parts


def cosines(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    return (some * others).sum(1) / np.linalg.norm(some, axis=1) / np.linalg.norm(others, axis=1)


def same_everywhere(student: Path, exported: Path) -> None:
    """Check that the saved folder, the graph and the int8 file hold the layer and give the student's vectors, here and elsewhere."""
    import onnx
    from sentence_transformers import SentenceTransformer

    model = load_encoder(student)
    ours = model.encode(AWKWARD)
    assert ours.shape == (len(AWKWARD), 32)
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)
    said = json.loads((student / ("2_Dense" if model.depth else "1_Dense") / "config.json").read_text())
    assert (said["out_features"], said["bias"]) == (32, True) and said["activation_function"].endswith(".Identity")
    theirs = SentenceTransformer(str(student), device="cpu")
    assert [type(module).__name__ for module in theirs][-2:] == ["Dense", "Normalize"]
    np.testing.assert_allclose(cosines(theirs.encode(AWKWARD), ours), 1, atol=1e-5)

    fp32 = potstill.Encoder(exported, precision="fp32")
    assert fp32.dimension == 32
    np.testing.assert_allclose(cosines(fp32.encode(AWKWARD), ours), 1, atol=1e-5)
    assert cosines(potstill.Encoder(exported, precision="int8").encode(AWKWARD), ours).min() > 0.95
    stored = [entry for entry in onnx.load(str(exported / QUANTIZED)).graph.initializer if tuple(entry.dims) == (32, said["in_features"])]
    kinds = [entry.data_type for entry in stored if entry.name.startswith("model.dense")]
    assert kinds == [onnx.TensorProto.INT8], "the layer's matrix is there, in int8 alone"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Matrices of any size become int8."""
    monkeypatch.setattr(int8, "TABLE", 1)


def test_the_layer_is_trained_saved_and_shipped(work: Path, call: Call, small: None) -> None:
    status, _, error = call("train", "r.yaml")
    assert status == 0, error
    run = Path("runs/aligned")
    assert [record.role for record in read_run(run).records] == ["teacher", "undistilled", "student", "onnx", "int8"]
    same_everywhere(run / "student", run / "onnx")
    assert all("lie in the space of teacher" in (run / part / "README.md").read_text() for part in ("student", "onnx"))
    found = cosines(load_encoder(run / "student").encode(TEXTS), load_encoder("teacher").encode(TEXTS))
    assert found.mean() > 0.8, "a random direction has a cosine of 0"


@pytest.mark.parametrize("kind", [kind for kind in STUDENTS if kind != "layers"])
def test_students_of_another_kind_have_the_layer_too(kind: str, work: Path, small: None) -> None:
    content = parse_recipe(recipe(STUDENTS[kind]))
    student = first_student(content, check_recipe(content))
    student.save("student")
    export_onnx(student, "onnx", TEXTS)
    limits = Limits(**Int8(min_cosine_mean=0.9, min_cosine=0.5, min_speedup=0).limits)
    quantize_int8(Path("onnx"), texts=TEXTS, threads=1, limits=limits)
    same_everywhere(Path("student"), Path("onnx"))


LINEAR, NARROW = nn.Linear(16, 32), nn.Linear(16, 8)
STEPS: dict[str, tuple[Sequence[nn.Module], int, list[str], bool]] = {
    # What the source has behind its pooling, the teacher's width, the student's steps, and whether angles stay as they are.
    "nothing": ([Normalize()], 24, ["Linear", "Normalize"], True),
    "not scaled at the end": ([], 24, ["Linear"], True),
    "as wide as the teacher": ([Normalize()], 16, ["Linear", "Normalize"], True),
    "wider than the teacher": ([Normalize()], 4, ["Linear", "Normalize"], False),
    # The library cuts what the last module gives, which would leave the teacher's space.
    "cut": ([Normalize(), Truncate(4)], 24, ["Linear", "Normalize"], False),
    "a layer of its own": ([NARROW, nn.Identity(), Normalize()], 24, ["Linear", "Linear", "Normalize"], True),
    # Aligned before: trained on, and no second one behind it.
    "aligned already": ([LINEAR, nn.Identity(), Normalize()], 32, ["Linear", "Normalize"], True),
    # Behind an activation not every vector can be had.
    "a layer with an activation": ([LINEAR, nn.ReLU(), Normalize()], 32, ["Linear", "ReLU", "Linear", "Normalize"], True),
}


@pytest.mark.parametrize("case", STEPS)
def test_the_steps_behind_the_pooling(case: str, work: Path) -> None:
    steps, width, expected, same = STEPS[case]
    narrow = load_encoder("narrow")
    student = EncoderModel(narrow.network, narrow.hf_tokenizer, layout=Layout(pooling="mean", dense=steps), max_length=32)
    before, state = student.encode(AWKWARD), torch.random.get_rng_state()
    align(student, width, seed=13)
    assert torch.equal(torch.random.get_rng_state(), state)
    after = student.encode(AWKWARD)
    assert [type(step).__name__ for step in student.dense] == expected and after.shape[1] == student.dimension == width
    if same:
        for number in range(len(AWKWARD)):
            np.testing.assert_allclose(cosines(after, after[[number]]), cosines(before, before[[number]]), atol=1e-5)
    if case == "as wide as the teacher":
        np.testing.assert_allclose(after, before, atol=1e-6)


def sets(**values: Any) -> list[str]:
    return [part for key, value in values.items() for part in ("--set", f"{key.replace('__', '.')}={json.dumps(value)}")]


COSINE, PROJECTED = {"loss": "embedding_cosine"}, {"loss": "embedding_mse", "project": "linear"}
PULLS = "student.align: no term compares the student's vector with the teacher's own, so that nothing pulls it there; add"
BAD: dict[str, tuple[list[str], str]] = {
    "another word": (sets(student__align="yes"), "student.align: 'yes' is not among 'teacher'; choose one of these"),
    "a labelled task": (
        sets(task="classification/about", stages__0__terms=[{"loss": "soft_target"}]),
        "student.align: is for vectors, and the task classification/about gives none; drop it, or set task: embed",
    ),
    "a language model": (
        sets(task="mlm", export__onnx=False, stages__0__terms=[{"loss": "mlm"}]),
        "student.align: is for vectors, and the task mlm gives none; drop it, or set task: embed",
    ),
    "no teacher": (
        sets(teacher=None, stages__0__terms=[{"loss": "info_nce"}]),
        "student.align: needs a teacher, and the recipe has none; name one, or drop it",
    ),
    "several teachers": (
        sets(teacher={"models": ["teacher", "again"]}),
        "student.align: several teachers share no space that a document could lie in; name one as teacher.model, or drop it",
    ),
    "a projection beside it": (
        sets(stages__0__terms=[COSINE, PROJECTED]),
        "terms.1: project: linear is thrown away, and student.align puts the student's own vectors into the teacher's space; drop project",
    ),
    "a head towards the teacher": (
        sets(stages__0__terms=[COSINE, COSINE | {"project": "mlp"}], student__normalize=False),
        "terms.1: project: mlp is thrown away, and student.align puts",
    ),
    "similarities alone": (sets(stages__0__terms=[{"loss": "similarity_mse"}]), PULLS),
    "a term of weight 0": (sets(stages__0__terms=[{"loss": "similarity_mse"}, COSINE | {"weight": 0}]), PULLS),
}


@pytest.mark.parametrize("case", BAD)
def test_what_makes_no_sense_is_refused_in_one_line(case: str, work: Path, call: Call, labelled_dir: Path, tiny_encoder_dir: Path) -> None:
    (work / "classification").symlink_to(labelled_dir / "classification")
    (work / "again").symlink_to(tiny_encoder_dir)
    overrides, problem = BAD[case]
    status, out, error = call("check", "r.yaml", *overrides)
    assert (status, out) == (2, "")
    lines = [line for line in error.splitlines() if "align" in line]
    assert len(lines) == 1 and problem in lines[0], error


GOOD: dict[str, tuple[list[str], str]] = {
    # what `check` says of the vectors
    "layers": ([], "32 wide, the teacher's space: a dense layer of 16 × 32 is trained with the student and stays in it"),
    "static": (sets(student=STUDENTS["static"] | {"align": "teacher"}), "a dense layer of 8 × 32 is trained with the student"),
    "built small": (
        sets(student={"layers": 1, "width": 12, "heads": 2, "ffn": 8, "align": "teacher", "max_length": 32}),
        "a dense layer of 12 × 32 is trained with the student",
    ),
    "two layers one after the other": (sets(student__pooling="concat_last_two", student__layers=[1, 2]), "a dense layer of 32 × 32"),
    # a head that no term holds against the teacher does not leave its space
    "contrast with a head": (
        sets(stages__0__terms=[COSINE, {"loss": "info_nce", "project": "mlp"}], student__normalize=False),
        "a dense layer of 16 × 32",
    ),
    "no such key": (sets(student__align=None, stages__0__terms=[PROJECTED]), ""),
}


@pytest.mark.parametrize("case", GOOD)
def test_check_tells_where_the_vectors_lie(case: str, work: Path, call: Call) -> None:
    overrides, said = GOOD[case]
    status, out, error = call("check", "r.yaml", *overrides)
    assert (status, error) == (0, "")
    told = " ".join(out.split())
    assert said in told and ("teacher's space" in told) == bool(said)


def test_a_student_that_goes_on_keeps_its_layer(work: Path, call: Call) -> None:
    narrow = load_encoder("narrow")
    align(narrow, 32, seed=1)
    narrow.save("before")
    status, out, _ = call("check", "r.yaml", *sets(student__model="before"))
    assert status == 0 and "32 wide, the teacher's space: the source's own dense layer stays in the student" in " ".join(out.split())


def test_a_teacher_whose_vectors_are_cut(work: Path, call: Call) -> None:
    shutil.copytree(Path("teacher").resolve(), "cut")
    Path("cut/config_sentence_transformers.json").write_text(json.dumps({"truncate_dim": 12}))
    content = sets(teacher__model="cut")
    status, out, _ = call("check", "r.yaml", *content)
    assert status == 0 and "12 wide, the teacher's space: a dense layer of 16 × 12" in " ".join(out.split())
    found = read_recipe("r.yaml", content[1::2])
    assert first_student(found, check_recipe(found)).dimension == load_encoder("cut").dimension == 12
