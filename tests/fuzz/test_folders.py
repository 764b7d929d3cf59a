"""Models' folders that are broken in every way: each gives finite numbers, or is refused in one line that names it. Never anything else.

FUZZ_EXAMPLES says how many of each kind are tried (make fuzz); by default as many as the suite has time for.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from torch import nn

from fuzz.strategies import (
    Content,
    as_json,
    mutated_graph,
    mutated_json,
    mutated_tokenizer,
    mutated_weights,
    require_refusal,
    value_at,
)
from potstill.errors import PotstillError
from potstill.models.encoder import EncoderModel
from potstill.models.layout import Layout, Normalize
from potstill.models.loading import load_encoder
from potstill.runtime.decode import require_finite
from potstill.runtime.encoder import Encoder
from potstill.runtime.folder import EMBED, MODEL, OUTPUT, QUANTIZED, TAGGING
from potstill.student.bilstm import build_bilstm
from potstill.student.static import build_static

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "150"))
fuzz = settings(settings.get_profile("fuzz"), max_examples=EXAMPLES)
fuzz_command = settings(fuzz, max_examples=max(1, EXAMPLES // 10), suppress_health_check=[HealthCheck.function_scoped_fixture])
TEXTS = ["the river", "a village and 1 owl", "ü ᚠ"]
KINDS = ["whole", "steps", "classification", "tagging", "static", "bilstm"]
EXPORTS = ["vectors", "int8", "head"]
Change = st.SearchStrategy[bytes]
# Files of a folder, and what breaks one of them.
BREAKING: dict[str, Callable[[bytes], Change]] = {"model.safetensors": mutated_weights, "tokenizer.json": mutated_tokenizer}


@pytest.fixture(scope="module")
def folders(tiny_encoder_dir: Path, tiny_head_dirs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders by KINDS that load; each example breaks one and mends it again."""
    place = tmp_path_factory.mktemp("folders")
    source = load_encoder(tiny_encoder_dir)
    steps: list[nn.Module] = [nn.Linear(32, 8), nn.Tanh(), nn.LayerNorm(8), Normalize()]
    weights = torch.tensor([0.0, 1, 2, 3, 4])
    layout = Layout(weights, [], "mean", steps, 32, prompts={"query": "the "}, default_prompt_name="query", similarity="dot")
    EncoderModel(source.network, source.hf_tokenizer, max_length=32, layout=layout).save(place / "steps")
    pieces = np.random.default_rng(0).normal(size=(source.tokenizer.get_vocab_size(), 16))
    sizes = {"width": 8, "sif_coefficient": 1e-3, "normalize": True, "max_length": 32}
    build_static(source, pieces, np.ones(len(pieces)), **sizes).save(place / "static")
    shape = {"layers": 1, "width": 8, "embedding": 8, "table": "random", "dense": 8, "activation": "relu", "pooling": "mean"}
    bilstm = build_bilstm(source, kind="classification", labels=["no", "yes"], pairs=False, normalize=False, max_length=32, seed=0, **shape)
    bilstm.save(place / "bilstm")
    for kind, folder in {
        "whole": tiny_encoder_dir,
        "classification": tiny_head_dirs["classification"],
        "tagging": tiny_head_dirs["tagging"],
    }.items():
        shutil.copytree(folder, place / kind)
    return {kind: place / kind for kind in KINDS}


@pytest.fixture(scope="module")
def exports(
    tiny_export_dir: Path, tiny_encoder_dir: Path, tiny_head_dirs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Exported folders by EXPORTS that load; each example breaks one and mends it again."""
    from potstill.deploy.onnx import export_onnx

    place = tmp_path_factory.mktemp("exports")
    shutil.copytree(tiny_export_dir, place / "vectors")
    shutil.copytree(tiny_export_dir, place / "int8")
    # Rounding it here would take longer than all examples: to this runtime it is one more graph.
    (place / "int8" / MODEL).rename(place / "int8" / QUANTIZED)
    export_onnx(load_encoder(tiny_head_dirs["tagging"], max_length=32), place / "head", [["the", "river"], ["9"]])
    return {kind: place / kind for kind in EXPORTS}


def numbers_of(model: EncoderModel | Encoder) -> list[np.ndarray]:
    """What a model gives for TEXTS: vectors, or logits."""
    if model.head == EMBED:
        return list(model.encode(TEXTS))
    return list(model.predict([text.split() for text in TEXTS] if model.head == TAGGING else TEXTS))


def loaded(folder: Path) -> list[np.ndarray]:
    found = numbers_of(load_encoder(folder))
    require_finite(found, folder, "numbers")  # finite weights may overflow on a text: whoever writes its numbers asks
    return found


def run(folder: Path) -> list[np.ndarray]:
    return numbers_of(Encoder(folder, threads=1))


def breaking(file: Path, data: st.DataObject) -> bytes:
    """Other content of a file."""
    content = Content(file.read_bytes())
    return data.draw(mutated_graph(content) if file.suffix == ".onnx" else BREAKING.get(file.name, mutated_json)(content), file.name)


def files_of(folder: Path) -> list[Path]:
    """What is broken: every file but the model card."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".md")


def tried(use: Callable[[Path], list[np.ndarray]], folder: Path, data: st.DataObject) -> None:
    """Break one file or two of a folder, use it, and mend it."""
    broken = data.draw(st.lists(st.sampled_from(files_of(folder)), min_size=1, max_size=2, unique=True), "broken files")
    changes = {file: breaking(file, data) if data.draw(st.integers(0, 15), "0: it is missing") else None for file in broken}
    kept = {file: file.read_bytes() for file in broken}
    for file, content in changes.items():
        file.unlink() if content is None else file.write_bytes(content)
    started = time.monotonic()
    try:
        found = use(folder)
    except PotstillError as error:
        require_refusal(error)
        # Whoever tokenizes or decodes knows no folder.
        assert str(folder) in str(error) or error.place == "tokenizer.json", error
    else:
        assert all(np.isfinite(row).all() for row in found)
    finally:
        for file, content in kept.items():
            file.write_bytes(content)
        assert time.monotonic() - started < 20


@pytest.mark.parametrize("kind", KINDS)
def test_the_good_folders_load(folders: dict[str, Path], kind: str) -> None:
    """Else nothing that is refused below says anything."""
    assert len(loaded(folders[kind])) == len(TEXTS)


@pytest.mark.parametrize("kind", EXPORTS)
def test_the_good_exports_run(exports: dict[str, Path], kind: str) -> None:
    assert len(run(exports[kind])) == len(TEXTS)


@fuzz
@given(kind=st.sampled_from(KINDS), data=st.data())
def test_broken_models(folders: dict[str, Path], kind: str, data: st.DataObject) -> None:
    tried(loaded, folders[kind], data)


@fuzz
@given(kind=st.sampled_from(EXPORTS), data=st.data())
def test_broken_exports(exports: dict[str, Path], kind: str, data: st.DataObject) -> None:
    tried(run, exports[kind], data)


def without(*keys: str) -> Callable[[bytes], bytes]:
    """Take what lies at some keys out of a JSON file."""
    return lambda content: as_json(_put(json.loads(content), keys, None, take_out=True))


def says(value: Any, *keys: str) -> Callable[[bytes], bytes]:
    """Put a value at some keys of a JSON file."""
    return lambda content: as_json(_put(json.loads(content), keys, value))


def _put(content: Any, keys: tuple[str, ...], value: Any, take_out: bool = False) -> Any:
    inside = value_at(content, keys[:-1])
    if take_out:
        del inside[keys[-1]]
    else:
        inside[keys[-1]] = value
    return content


def graph(change: Callable[[onnx.ModelProto], None]) -> Callable[[bytes], bytes]:
    """Change an ONNX file."""

    def changed(content: bytes) -> bytes:
        model = onnx.load_from_string(content)
        change(model)
        return model.SerializeToString()

    return changed


def _not_a_number(model: onnx.ModelProto) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if "LayerNorm.weight" in tensor.name)
    tensor.CopyFrom(numpy_helper.from_array(np.full(tensor.dims, np.nan, np.float32), tensor.name))


def _another_number_of_rows(model: onnx.ModelProto) -> None:
    last = next(node for node in model.graph.node if OUTPUT in node.output)
    last.output[:] = ["before"]
    model.graph.initializer.append(numpy_helper.from_array(np.array([-1, 1, 32]), "as"))
    model.graph.node.append(onnx.helper.make_node("Reshape", ["before", "as"], [OUTPUT]))
    for entry in model.graph.output:
        entry.type.tensor_type.ClearField("shape")


def _a_short_table(model: onnx.ModelProto) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if "word_embeddings" in tensor.name)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[:5].copy(), tensor.name))


DEEP = b"[" * 100_000
# What was found, as files of a folder: what does it, and a part of the refusal behind the file's place.
CASES: dict[str, tuple[str, str, Callable[[bytes], bytes], str]] = {
    "config.json is too deep": ("whole", "config.json", lambda content: DEEP, "config.json: cannot be read"),
    "a label's number of 5,000 digits": ("tagging", "config.json", says({"9" * 4400: "O"}, "id2label"), "config.json: id2label is"),
    "a size that is no number": ("static", "config.json", says([4], "num_attention_heads"), "num_attention_heads is [4]"),
    "a limit that is no number": ("static", "config.json", says("x", "max_position_embeddings"), "max_position_embeddings is 'x'"),
    "a piece with a number beyond all": (
        "vectors", "tokenizer.json", says(2**31, "model", "vocab", "the"), "tokenizer.json: the tokenizer gives a piece or a type a number",
    ),
    "no length for a text": ("whole", "sentence_bert_config.json", says(2, "max_seq_length"), "whole: max_length: 2 leaves no room"),
    "no length for a text, exported": ("vectors", "potstill.json", says(2, "max_length"), "potstill.json: max_length: 2 leaves no room"),
    "a length that no number holds": ("vectors", "potstill.json", says(10**30, "max_length"), f"max_length is {10**30} and"),
    "padding that no number holds": ("vectors", "potstill.json", says(2**64, "pad_id"), f"pad_id is {2**64} and must be"),
    "padding without a row": ("vectors", "potstill.json", says(10**6, "pad_id"), "model.onnx: onnxruntime does not run the exported graph"),
    "pieces without a row": ("vectors", MODEL, graph(_a_short_table), "model.onnx: onnxruntime does not run the exported graph"),
    "vectors that are no numbers": ("vectors", MODEL, graph(_not_a_number), "model.onnx: the vectors of 3 of 3 texts hold NaN"),
    "vectors of another shape": ("vectors", MODEL, graph(_another_number_of_rows), "model.onnx: gives float32 (3, 1, 32) in place"),
    "tokens around a text that are none": (
        "vectors", "tokenizer.json", says({}, "post_processor", "special_tokens"), "tokenizer.json: is not a tokenizer",
    ),
    "no piece for unknown letters": ("vectors", "tokenizer.json", without("model", "vocab", "[UNK]"), "tokenizer.json"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_was_found(folders: dict[str, Path], exports: dict[str, Path], tmp_path: Path, case: str) -> None:
    kind, name, change, words = CASES[case]
    use, source = (loaded, folders[kind]) if kind in folders else (run, exports[kind])
    folder = Path(shutil.copytree(source, tmp_path / kind))
    (folder / name).write_bytes(change((folder / name).read_bytes()))
    with pytest.raises(PotstillError, match=re.escape(words)) as caught:
        use(folder)
    require_refusal(caught.value)


@fuzz_command
@given(kind=st.sampled_from(KINDS), data=st.data())
def test_the_command_with_broken_models(call: Any, folders: dict[str, Path], kind: str, tmp_path: Path, data: st.DataObject) -> None:
    texts, out = tmp_path / "texts.txt", tmp_path / "out"
    texts.write_text("the river is 1 owl\nvillage\n")

    def use(folder: Path) -> list[np.ndarray]:
        out.unlink(missing_ok=True)
        status, _, errors = call("encode" if kind in ("whole", "steps", "static") else "predict", folder, texts, "--out", out)
        if status == 0:
            return [np.load(out)] if kind in ("whole", "steps", "static") else []
        assert status == 2 and not out.exists()
        assert all(line.startswith(("error: ", "warning: ")) for line in errors.splitlines()), errors
        told = [line for line in errors.splitlines() if line.startswith("error: ")]
        assert len(told) == 1, errors
        place, _, problem = told[0].removeprefix("error: ").partition(": ")
        raise PotstillError(place, problem, "as it said")

    tried(use, folders[kind], data)
