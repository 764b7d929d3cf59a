"""Folders as sentence-transformers writes them: the same vectors as the library itself gives, here, in a student and in an export."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from potstill.deploy.card import write_card
from potstill.deploy.onnx import export_onnx
from potstill.errors import PotstillError
from potstill.models.encoder import EncoderModel
from potstill.models.sentence_read import read
from potstill.runtime.encoder import Encoder
from potstill.runtime.folder import read_config
from potstill.student.transformer import cut_student

TYPES = "sentence_transformers.models"
TEXTS = ["the river and the Village", "a", "Rivers, villages and the road between them; " * 6, "the end", ""]
PLAIN = {
    "transformer_task": "feature-extraction",
    "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    "module_output_name": "token_embeddings",
}
Row = tuple[str, dict[str, Any], dict[str, tuple[int, ...]]]  # kind, configuration, shapes of its tensors


def dense(width: int, out: int, activation: str = "Tanh", **more: Any) -> Row:
    path = f"torch.nn.modules.{'linear' if activation == 'Identity' else 'activation'}.{activation}"
    shapes: dict[str, tuple[int, ...]] = {"linear.weight": (out, width)} | ({"linear.bias": (out,)} if more.get("bias", True) else {})
    if more.get("use_residual") and width != out:
        shapes["residual.weight"] = (out, width)
    return "Dense", {"in_features": width, "out_features": out, "bias": True, "activation_function": path} | more, shapes


def on_tokens(row: Row) -> Row:
    return row[0], row[1] | {"module_input_name": "token_embeddings", "module_output_name": "token_embeddings"}, row[2]


def pool(*modes: str, width: int = 32, **more: Any) -> Row:
    return "Pooling", {"word_embedding_dimension": width} | {f"pooling_mode_{mode}": True for mode in modes} | more, {}


def weighted(start: int = 0) -> Row:
    settings = {"word_embedding_dimension": 32, "layer_start": start, "num_hidden_layers": 4}
    return "WeightedLayerPooling", settings, {"layer_weights": (5 - start,)}


NORMALIZE: Row = ("Normalize", {}, {})
LAYER_NORM: Row = ("LayerNorm", {"dimension": 32}, {"norm.weight": (32,), "norm.bias": (32,)})
ALL_MODES = ("lasttoken", "mean_sqrt_len_tokens", "weightedmean_tokens", "mean_tokens", "max_tokens", "cls_token")


@dataclass
class Said:
    """What a folder says: its modules behind the first, and its three configurations."""

    rows: Sequence[Row]
    transformer: Mapping[str, Any] = field(default_factory=lambda: {"max_seq_length": 48, "do_lower_case": False})
    settings: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    file: str = "sentence_bert_config.json"
    types: str = TYPES


STATES = {"output_hidden_states": True}
FOLDERS = {
    # The usual order.
    "mean": Said([pool("mean_tokens")]),
    "dense": Said([pool("mean_tokens"), dense(32, 16), NORMALIZE]),
    # Every mode of pooling alone; then several, whose order in the file says nothing; then in an order that is said.
    **{mode: Said([pool(mode), NORMALIZE]) for mode in ALL_MODES},
    "all modes": Said([pool(*ALL_MODES), dense(192, 24), NORMALIZE]),
    "modes in an order": Said([pool(pooling_mode=["mean", "cls"]), NORMALIZE]),
    "no mode is the mean": Said([pool(), NORMALIZE]),
    # Other orders behind the pooling.
    "normalize, dense": Said([pool("mean_tokens"), NORMALIZE, dense(32, 16)]),
    "normalize, dense, normalize": Said([pool("mean_tokens"), NORMALIZE, dense(32, 16), NORMALIZE]),
    "normalize twice": Said([pool("mean_tokens"), NORMALIZE, NORMALIZE]),
    "several dense": Said([pool("cls_token"), dense(32, 48, "GELU"), dense(48, 40, "Identity", bias=False), dense(40, 16, "Sigmoid")]),
    "layer norm": Said([pool("mean_tokens"), LAYER_NORM, dense(32, 16), NORMALIZE]),
    "layer norm last": Said([pool("mean_tokens"), LAYER_NORM]),
    "dropout": Said([pool("mean_tokens"), ("Dropout", {"dropout": 0.5}, {}), NORMALIZE]),
    "residual": Said([pool("mean_tokens"), dense(32, 32, use_residual=True), dense(32, 16, "ReLU", use_residual=True)]),
    # What is not said is the library's default: here Tanh.
    "dense without activation": Said([pool("mean_tokens"), ("Dense", {"in_features": 32, "out_features": 8}, dense(32, 8)[2])]),
    # Before the pooling.
    "dense on tokens": Said([on_tokens(dense(32, 16)), pool("mean_tokens", width=16), NORMALIZE]),
    "dense and normalize on tokens": Said([on_tokens(dense(32, 16)), on_tokens(NORMALIZE), pool("max_tokens", width=16)]),
    # Several layers.
    "weighted layers": Said([weighted(), pool("mean_tokens")], config=STATES),
    "weighted layers from the third": Said([weighted(2), pool("mean_tokens"), NORMALIZE], config=STATES),
    "weighted layers, greatest value": Said([weighted(), pool("max_tokens")], config=STATES),
    "weighted layers, several modes": Said([weighted(1), pool("cls_token", "mean_tokens")], config=STATES),
    "weighted layers, dense on tokens": Said([weighted(), on_tokens(dense(32, 16)), pool("mean_tokens", width=16)], config=STATES),
    # Texts.
    "lower case": Said([pool("mean_tokens")], {"max_seq_length": 48, "do_lower_case": True}),
    "a default prompt": Said([pool("mean_tokens")], settings={"prompts": {"query": "the road: "}, "default_prompt_name": "query"}),
    "an empty default prompt": Said([pool("mean_tokens")], settings={"default_prompt_name": "query"}),
    "prompts without a default": Said([pool("mean_tokens")], settings={"prompts": {"query": "the road: ", "text": None}}),
    "a prompt that is not pooled": Said([pool("mean_tokens", include_prompt=False)], settings={"prompts": {"query": "the road: "}}),
    # Vectors.
    "truncated": Said([pool("mean_tokens"), NORMALIZE], settings={"truncate_dim": 8}),
    "truncated beyond the width": Said([pool("mean_tokens"), NORMALIZE], settings={"truncate_dim": 99}),
    "another similarity": Said([pool("mean_tokens")], settings={"similarity_fn_name": "dot"}),
    # Other ways to say the same.
    "the newest form": Said([pool(pooling_mode="mean", embedding_dimension=32)], PLAIN, {"model_type": "SentenceTransformer"}),
    "an old name": Said([pool("mean_tokens")], {"max_seq_length": 16}, file="sentence_roberta_config.json"),
    "no length": Said([pool("mean_tokens")], {"max_seq_length": None}),
    "a length of the tokenizer's": Said([pool("mean_tokens")], {"max_seq_length": 99, "tokenizer_args": {"model_max_length": 16}}),
    "harmless arguments": Said([pool("mean_tokens")], {"model_args": {"attn_implementation": "eager"}, "config_args": {}}),
}  # fmt: skip


@pytest.fixture
def make(tiny_encoder_dir: Path, tmp_path: Path) -> Callable[[Said], Path]:
    """Write a folder of the tiny encoder, over a tokenizer that tells capitals apart, with what is said."""

    def write(said: Said) -> Path:
        folder = tmp_path / "made"
        folder.mkdir()
        for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
            shutil.copy(tiny_encoder_dir / name, folder)
        tokenizer = json.loads((folder / "tokenizer.json").read_text())
        tokenizer["normalizer"]["lowercase"] = False
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | dict(said.config)))
        modules = [{"idx": 0, "name": "0", "path": "", "type": f"{TYPES}.Transformer"}]
        draw = torch.Generator().manual_seed(3)
        for number, (kind, settings, shapes) in enumerate(said.rows, start=1):
            place = folder / f"{number}_{kind}"
            modules.append({"idx": number, "name": str(number), "path": place.name, "type": f"{said.types}.{kind}"})
            if settings:  # the hub leaves out the folder of a Normalize, in which nothing is
                place.mkdir()
                (place / "config.json").write_text(json.dumps(settings))
            if shapes:
                save_file({name: 0.3 * torch.randn(shape, generator=draw) for name, shape in shapes.items()}, place / "model.safetensors")
        (folder / "modules.json").write_text(json.dumps(modules))
        (folder / said.file).write_text(json.dumps(said.transformer))
        if said.settings:
            (folder / "config_sentence_transformers.json").write_text(json.dumps(said.settings))
        return folder

    return write


def opened(folder: Path) -> EncoderModel:
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    layout = read(folder)
    length = layout.max_length or min(tokenizer.model_max_length, 128)
    return EncoderModel(AutoModel.from_pretrained(folder), tokenizer, layout=layout, max_length=length).eval()


def theirs(folder: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu", local_files_only=True)


@pytest.mark.parametrize("name", FOLDERS)
def test_the_vectors_are_those_of_sentence_transformers(name: str, make: Callable[[Said], Path], tmp_path: Path) -> None:
    folder = make(FOLDERS[name])
    library, model = theirs(folder), opened(folder)
    expected, found = library.encode(TEXTS), model.encode(TEXTS)
    assert found.shape == expected.shape == (len(TEXTS), model.dimension)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    cosines = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosines.min() > 1 - 1e-5

    # A student that keeps every layer is the same model, and one of two layers says the same things of itself.
    same = cut_student(model, [1, 2, 3, 4], normalize=model.normalize, max_length=model.max_length).eval()
    np.testing.assert_array_equal(same.encode(TEXTS), found)
    student = cut_student(model, [1, 4], normalize=model.normalize, max_length=model.max_length).eval()
    student.save(tmp_path / "student")
    again, saved = theirs(tmp_path / "student"), opened(tmp_path / "student")
    ours = student.encode(TEXTS)
    assert ours.shape == expected.shape and not np.allclose(ours, expected, atol=1e-3)
    np.testing.assert_allclose(again.encode(TEXTS), ours, atol=1e-5)
    np.testing.assert_allclose(saved.encode(TEXTS), ours, atol=1e-6)
    non_empty = {key: text for key, text in library.prompts.items() if text}
    assert {key: text for key, text in again.prompts.items() if text} == non_empty
    assert again.similarity_fn_name == library.similarity_fn_name
    for prompt in non_empty:
        np.testing.assert_allclose(again.encode(TEXTS, prompt_name=prompt), theirs_again(saved, TEXTS, non_empty[prompt]), atol=1e-5)


def theirs_again(model: EncoderModel, texts: Sequence[str], prompt: str) -> np.ndarray:
    """The vectors of texts under a prompt that is put before them by hand, and is not pooled where the folder says so."""
    own = prompt if not model.prompt else ""
    assert model.prompt in ("", prompt)
    if model.layout.include_prompt:
        return model.encode([own + text for text in texts])
    tokens = model.tokenize([own + text for text in texts])
    rows = np.arange(len(texts))
    batch = {key: torch.from_numpy(value) for key, value in tokens.pad(rows, model.pad_id).items()}
    with torch.no_grad():
        states = model.backbone(**batch).last_hidden_state
    batch["attention_mask"][:, : len(model.tokenizer.encode(prompt).ids) - 1] = 0
    return model.embed([states], batch["attention_mask"]).detach().numpy()


def test_the_list_s_order_counts_and_not_the_numbers_in_it(make: Callable[[Said], Path]) -> None:
    folder = make(Said([pool("mean_tokens"), NORMALIZE, dense(32, 16)]))
    modules = json.loads((folder / "modules.json").read_text())
    for row, number in zip(modules, (3, 1, 2, 0)):
        row["idx"] = number
    (folder / "modules.json").write_text(json.dumps(modules))
    np.testing.assert_allclose(opened(folder).encode(TEXTS), theirs(folder).encode(TEXTS), atol=1e-5)


EVERYTHING = Said(
    [weighted(), on_tokens(dense(32, 16)), pool(*ALL_MODES, width=16), NORMALIZE, dense(96, 32, use_residual=True), LAYER_NORM],
    {"max_seq_length": 32, "do_lower_case": True},
    {
        "prompts": {"query": "The road: ", "document": "A text: "},
        "default_prompt_name": "query",
        "truncate_dim": 8,
        "similarity_fn_name": "euclidean",
    },
    STATES,
)


def test_an_export_says_all_of_it(make: Callable[[Said], Path], tmp_path: Path) -> None:
    folder = make(EVERYTHING)
    library, model = theirs(folder), opened(folder)
    np.testing.assert_allclose(model.encode(TEXTS), library.encode(TEXTS), atol=1e-5)
    encoder = Encoder(export_onnx(model, tmp_path / "onnx", TEXTS))
    np.testing.assert_allclose(encoder.encode(TEXTS), library.encode(TEXTS), atol=1e-4)
    np.testing.assert_allclose(
        encoder.similarity(TEXTS, TEXTS[:2]), library.similarity(*map(library.encode, (TEXTS, TEXTS[:2]))), atol=1e-3
    )
    assert encoder.feeds(["a"])["input_ids"].tolist() == [model.tokenizer.encode("the road: a").ids]
    written = read_config(tmp_path / "onnx")
    assert (encoder.prompt, encoder.dimension, written.normalize) == ("The road: ", 8, False)
    assert written.prompts == EVERYTHING.settings["prompts"]
    own = json.loads((tmp_path / "onnx" / "tokenizer.json").read_text())
    assert own["normalizer"]["normalizers"][0] == {"type": "Lowercase"}
    for place, who in (
        (tmp_path / "onnx", "Where a library does not put it there, the lines above do."),
        (folder, "sentence-transformers puts it there"),
    ):
        write_card(place, name="pocket", teacher="t")
        card = (place / "README.md").read_text()
        assert 'The prompt "The road: " belongs before every text.' in card and who in card


def test_check_tells_what_a_folder_says(make: Callable[[Said], Path], call: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    folder = make(Said([pool("mean_tokens")], settings=EVERYTHING.settings))
    (tmp_path / "texts.txt").write_text("".join(f"the river {number}\n" for number in range(40)))
    recipe = {
        "name": "pocket",
        "task": "embed",
        "data": {"dir": str(tmp_path), "texts": ["texts.txt"], "held_out": 4},
        "teacher": {"model": str(folder), "max_length": 32},
        "student": {"layers": 2, "max_length": 32},
        "stages": [{"name": "s", "terms": [{"loss": "embedding_cosine"}]}],
        "evaluate": [],
        "export": {"onnx": False},
    }
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    _, out, error = call("check", tmp_path / "recipe.yaml")
    said = " ".join(out.split())
    assert error == "" and "teacher's folder the prompt 'The road: ' before every text; prompt document is not used" in said
    assert said.count("prompt document is not used") == 1  # the student's source is the same folder
    shutil.rmtree(folder)
    make(FOLDERS["dense"])
    _, out, error = call("check", tmp_path / "recipe.yaml")
    assert error == "" and "teacher's folder" not in out  # it says nothing that its modules do not


def test_another_pooling_than_the_folder_s(make: Callable[[Said], Path]) -> None:
    folder = make(Said([weighted(), on_tokens(dense(32, 16)), pool("max_tokens", width=16), dense(16, 8)], config=STATES))
    model, layout = opened(folder), read(folder)
    other = EncoderModel(model.network, model.hf_tokenizer, layout=layout, pooling="cls")
    assert other.layer_weights is None and other.dimension == 8  # what the weights were for is no more
    with pytest.raises(PotstillError, match="mean_last_two reads several layers"):
        EncoderModel(model.network, model.hf_tokenizer, layout=layout, pooling="mean_last_two")
    with pytest.raises(PotstillError, match="a Dense layer reads vectors of 16 numbers and gets 32"):
        EncoderModel(model.network, model.hf_tokenizer, layout=layout, pooling="cls+mean")
    student = cut_student(model, [1, 2], pooling="mean", normalize=False)
    assert student.dimension == 32 and not student.normalize


@pytest.mark.parametrize(
    ("normalize", "said", "steps"),
    [
        # asked for where it is not there: at the end
        (True, [pool("mean_tokens"), NORMALIZE, dense(32, 16)], ["Normalize", "Linear", "Tanh", "Normalize"]),
        # there already
        (True, [pool("mean_tokens"), dense(32, 16), NORMALIZE], ["Linear", "Tanh", "Normalize"]),
        # not wanted: only what is at the end goes
        (False, [pool("mean_tokens"), NORMALIZE, dense(32, 16), NORMALIZE], ["Normalize", "Linear", "Tanh"]),
    ],
)
def test_a_student_s_normalisation_is_the_recipe_s(
    normalize: bool, said: list[Row], steps: list[str], make: Callable[[Said], Path]
) -> None:
    student = cut_student(opened(make(Said(said, settings={"truncate_dim": 8}))), [1], normalize=normalize)
    assert [type(step).__name__ for step in student.dense] == [*steps, "Truncate"]  # the library cuts last
