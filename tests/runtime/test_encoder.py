from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from potstill.errors import PotstillError
from potstill.machine.progress import progress
from potstill.runtime.batching import length_batches
from potstill.runtime.encoder import Encoder
from potstill.runtime.folder import CONFIG, MODEL, QUANTIZED, TOKENIZER
from potstill.runtime.session import open_graph

TEXTS = ["the river and the village", "a", "", "rivers " * 40, "village, 1 village", "the"]


def test_encoding_imports_nothing_of_torch_or_of_the_command(tiny_export_dir):
    script = f"""
import sys
absent = {{"torch", "transformers", "onnx", "scipy", "sklearn", "pydantic", "typer", "click", "rich", "yaml"}}
sys.modules.update(dict.fromkeys(absent))  # None: importing one of them fails
import potstill
from potstill.runtime.encoder import Encoder
assert potstill.Encoder is Encoder
encoder = potstill.Encoder({str(tiny_export_dir)!r})
assert encoder.encode(["the river"]).shape == (1, 32)
sys.stderr.isatty = lambda: True  # where a bar would be shown; without rich there is none
assert encoder.encode("the river", show_progress_bar=True).shape == (32,)
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_results_come_back_in_order(tiny_export_dir):
    encoder = Encoder(tiny_export_dir, threads=1)
    vectors = encoder.encode(TEXTS, batch_tokens=20)
    assert (vectors.dtype, vectors.shape) == (np.float32, (len(TEXTS), encoder.dimension))
    for text, vector in zip(TEXTS, vectors, strict=True):
        np.testing.assert_allclose(encoder.encode([text])[0], vector, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_neighbours_and_padding_change_nothing(tiny_export_dir):
    encoder = Encoder(tiny_export_dir, threads=1)
    np.testing.assert_allclose(encoder.encode(TEXTS, batch_tokens=1 << 20), encoder.encode(TEXTS, batch_tokens=1), atol=1e-5)


def test_no_texts(tiny_export_dir):
    encoder = Encoder(tiny_export_dir)
    assert encoder.encode([]).shape == (0, encoder.dimension)
    assert encoder.similarity([], ["a"]).shape == (0, 1)


def test_long_texts_are_cut(tiny_export_dir):
    encoder = Encoder(tiny_export_dir)
    letters = "river " * (encoder.max_length - 2)
    np.testing.assert_array_equal(encoder.encode([letters]), encoder.encode([letters + "village " * 50]))
    assert encoder.feeds([letters * 9])["input_ids"].shape == (1, encoder.max_length)


def test_similarity_is_the_cosine(tiny_export_dir):
    encoder = Encoder(tiny_export_dir)
    found = encoder.similarity(TEXTS[:3], 7 * encoder.encode(TEXTS[:3]))
    assert (found.dtype, found.shape) == (np.float32, (3, 3))
    np.testing.assert_allclose(np.diag(found), 1, atol=1e-5)
    np.testing.assert_allclose(found, found.T, atol=1e-5)


def tell(folder, **more):
    content = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(content | more))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # the cosine, whatever the lengths
        ("cosine", [[1, 0], [0.6, 0.8]]),
        # with them
        ("dot", [[4, 0], [6, 4]]),
        # distances, negative
        ("euclidean", [[0, -(5**0.5)], [-(17**0.5), -(18**0.5)]]),
        ("manhattan", [[0, -3], [-5, -6]]),
    ],
)
def test_vectors_are_compared_as_the_folder_says(exported, name, expected):
    tell(exported, similarity=name)
    a, b = np.array([[2.0, 0.0], [3.0, 4.0]]), np.array([[2.0, 0.0], [0.0, 1.0]])
    encoder = Encoder(exported)
    found = encoder.similarity(a, b)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert encoder.similarity(a[:0], b).shape == (0, 2) and encoder.similarity(a, b[:0]).shape == (2, 0)


def test_a_default_prompt_stands_before_every_text(exported):
    plain = Encoder(exported)
    tell(exported, prompts={"query": "the road ", "other": "never "}, default_prompt_name="query")
    encoder = Encoder(exported)
    assert (plain.prompt, encoder.prompt) == ("", "the road ")
    by_hand = ["the road " + text for text in TEXTS]
    np.testing.assert_array_equal(encoder.encode(TEXTS), plain.encode(by_hand))
    np.testing.assert_array_equal(encoder.feeds(TEXTS)["input_ids"], plain.feeds(by_hand)["input_ids"])
    np.testing.assert_array_equal(encoder.similarity(TEXTS, TEXTS), plain.similarity(by_hand, by_hand))
    assert not np.allclose(encoder.encode(TEXTS), plain.encode(TEXTS), atol=1e-3)


def test_one_text_alone_gives_its_row(tiny_export_dir):
    encoder = Encoder(tiny_export_dir)
    for precision in ("float32", "int8", "ubinary"):
        np.testing.assert_array_equal(
            encoder.encode("the river", precision=precision), encoder.encode(["the river"], precision=precision)[0]
        )
    np.testing.assert_array_equal(encoder.encode(""), encoder.encode([""])[0])
    np.testing.assert_array_equal(encoder.similarity("the river", TEXTS), encoder.similarity(["the river"], TEXTS))
    np.testing.assert_array_equal(encoder.similarity(encoder.encode(TEXTS), "a"), encoder.similarity(TEXTS, ["a"]))
    with pytest.raises(TypeError, match="put it into a list"):
        encoder.run("the river")


def test_it_says_what_it_is(exported):
    encoder = Encoder(exported, dimensions=8, threads=1)
    assert repr(encoder) == f"Encoder({str(exported / MODEL)!r}, dimension=8, max_length={encoder.max_length}, threads=1)"


def test_a_batch_has_no_more_texts_than_batch_size(tiny_export_dir, monkeypatch):
    sizes = []

    def batches(*given):
        found = length_batches(*given)
        sizes.append([len(rows) for rows in found])
        return found

    monkeypatch.setattr("potstill.runtime.encoder.length_batches", batches)
    encoder = Encoder(tiny_export_dir, threads=1)
    whole = encoder.encode(TEXTS, batch_tokens=1 << 20)
    np.testing.assert_allclose(encoder.encode(TEXTS, batch_tokens=1 << 20, batch_size=4), whole, atol=1e-5)
    np.testing.assert_allclose(encoder.encode(TEXTS, batch_tokens=1, batch_size=4), whole, atol=1e-5)
    assert sizes == [[6], [4, 2], [1] * 6]
    with pytest.raises(PotstillError, match="batch_size: 0 is less than 1"):
        encoder.encode(TEXTS, batch_size=0)


def test_of_many_texts_each_thread_computes_batches_of_its_own(tiny_export_dir, monkeypatch):
    opened = []

    def opening(file, threads, engine):
        opened.append(threads)
        return open_graph(file, threads, engine)

    monkeypatch.setattr("potstill.runtime.encoder.open_graph", opening)
    texts = [f"the river {number} {'and the village ' * (number % 5)}" for number in range(200)]
    expected = Encoder(tiny_export_dir, threads=1).encode(texts, batch_tokens=32)
    encoder = Encoder(tiny_export_dir, threads=3)
    few = encoder.encode(texts)  # some batches: all threads on each
    assert opened == [1, 3]
    np.testing.assert_allclose(few, expected, atol=1e-5)
    np.testing.assert_array_equal(encoder.encode(texts, batch_tokens=32), expected)
    np.testing.assert_array_equal(encoder.encode(texts, batch_tokens=32), expected)
    assert opened == [1, 3, 1]  # one more graph, which stays open


def test_vectors_are_scaled_where_the_model_does_not(exported):
    tell(exported, normalize=False)
    encoder = Encoder(exported, dimensions=8)
    plain, unit = encoder.encode(TEXTS), encoder.encode(TEXTS, normalize_embeddings=True)
    assert np.linalg.norm(plain, axis=1).max() < 0.99
    np.testing.assert_allclose(unit, plain / np.linalg.norm(plain, axis=1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        # as the call has always been
        ({}, ""),
        ({"title": "mine"}, "mine"),
        # sentence-transformers' way to ask for a bar, which has no title
        ({"show_progress_bar": True}, "encode"),
        ({"show_progress_bar": True, "title": "mine"}, "mine"),
        # none, whatever else is said
        ({"show_progress_bar": False, "title": "mine"}, ""),
        ({"show_progress_bar": None}, ""),
    ],
)
def test_a_bar_is_shown_where_it_is_asked_for(tiny_export_dir, monkeypatch, given, expected):
    titles = []
    monkeypatch.setattr("potstill.runtime.encoder.progress", lambda title, total: titles.append(title) or progress(title, total))
    Encoder(tiny_export_dir).encode(TEXTS, **given)
    assert titles == [expected]


def test_normalize_is_another_name_and_never_the_other_way_round(exported):
    np.testing.assert_array_equal(Encoder(exported).encode(TEXTS, normalize=True), Encoder(exported).encode(TEXTS))
    with pytest.raises(PotstillError, match="^encode: normalize is False, and the model's vectors have unit length; leave it out$"):
        Encoder(exported).encode(TEXTS, normalize=False)
    with pytest.raises(PotstillError, match="normalize is 'l2', which it cannot do; give True or False"):
        Encoder(exported).encode(TEXTS, normalize="l2")
    tell(exported, normalize=False)
    encoder = Encoder(exported, dimensions=8)
    np.testing.assert_array_equal(encoder.encode(TEXTS, normalize=True), encoder.encode(TEXTS, normalize_embeddings=True))
    np.testing.assert_array_equal(encoder.encode(TEXTS, normalize=False), encoder.encode(TEXTS))
    with pytest.raises(PotstillError, match="normalize is False, and normalize_embeddings asks for unit length"):
        encoder.encode(TEXTS, normalize=False, normalize_embeddings=True)


def test_arguments_of_sentence_transformers_that_say_what_is_done_anyway_are_taken(tiny_export_dir):
    encoder = Encoder(tiny_export_dir)
    neutral = {"convert_to_numpy": True, "convert_to_tensor": False, "output_value": "sentence_embedding", "device": "cpu"}
    nothing = {"prompt": None, "prompt_name": None, "truncate_dim": None, "normalize_embeddings": False, "pool": None, "chunk_size": None}
    np.testing.assert_array_equal(encoder.encode(TEXTS, **neutral, **nothing), encoder.encode(TEXTS))
    np.testing.assert_array_equal(encoder.encode(TEXTS, device=None), encoder.encode(TEXTS))


@pytest.mark.parametrize(
    ("name", "value", "instead"),
    [
        # another container
        ("convert_to_tensor", True, "torch.from_numpy"),
        ("convert_to_numpy", False, "one by one"),
        # 1 is not True there: types are compared too
        ("convert_to_tensor", 1, "torch.from_numpy"),
        # vectors of tokens
        ("output_value", "token_embeddings", "sentence-transformers"),
        ("output_value", None, "sentence-transformers"),
        # another machine
        ("device", "cuda", "the model runs on the CPU"),
        ("device", ["cpu", "cpu"], "the model runs on the CPU"),
        # another text before each
        ("prompt", "query: ", "put it before each text"),
        ("prompt_name", "query", "put that prompt before each text"),
        # other processes
        ("pool", {"processes": []}, "says how many cores"),
        ("chunk_size", 8, "of a pool"),
        # what the constructor does
        ("truncate_dim", 8, "dimensions=..."),
    ],
)
def test_what_sentence_transformers_does_and_this_cannot_is_refused_by_name(tiny_export_dir, name, value, instead):
    with pytest.raises(PotstillError, match=f"encode: {name} is .*, which it cannot do; .*{re.escape(instead)}"):
        Encoder(tiny_export_dir).encode(TEXTS, **{name: value})


def test_an_unknown_argument_is_a_type_error(tiny_export_dir):
    with pytest.raises(TypeError, match="unexpected keyword argument 'batch_sise'"):
        Encoder(tiny_export_dir).encode(TEXTS, batch_sise=3)


def test_threads_are_checked(tiny_export_dir):
    with pytest.raises(PotstillError, match="threads: 0 is not from 1 to"):
        Encoder(tiny_export_dir, threads=0)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        (TOKENIZER, None, "no such file"),  # gone
        (TOKENIZER, b"{}", "is not a tokenizer"),  # JSON of something else
        (CONFIG, None, "no such file"),  # gone
        (CONFIG, b"nonsense", "is not JSON"),  # no JSON
        (MODEL, None, "has no model"),  # gone
        (MODEL, b"", "cannot be loaded by onnxruntime"),  # empty
        (MODEL, b"not a graph", "cannot be loaded by onnxruntime"),  # of something else
        (QUANTIZED, b"\x08\x07" * 99, "cannot be loaded by onnxruntime"),  # the file that is preferred
    ],
)
def test_a_broken_folder_is_one_line(exported, capfd, file, content, said):
    (exported / file).unlink(missing_ok=True)
    if content is not None:
        (exported / file).write_bytes(content)
    with pytest.raises(PotstillError, match=said) as caught:
        Encoder(exported)
    assert "\n" not in str(caught.value) and str(exported) in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_configuration_of_another_model_is_seen(exported):
    content = json.loads((exported / CONFIG).read_text())
    (exported / CONFIG).write_text(json.dumps(content | {"dimension": 33}))
    with pytest.raises(PotstillError, match="vectors of 32 numbers and the folder's description says 33"):
        Encoder(exported)


def test_another_graph_is_seen(exported):
    import onnx

    model = onnx.load(str(exported / MODEL))
    model.graph.output[0].name = "logits"
    model.graph.node[-1].output[0] = "logits"
    onnx.save(model, str(exported / MODEL))
    with pytest.raises(PotstillError, match="output sentence_embedding \\(it has logits, last_hidden_state\\)"):
        Encoder(exported)


def test_token_types_are_fed_to_a_graph_that_wants_them(exported):
    import onnx

    model = onnx.load(str(exported / MODEL))
    expected = Encoder(exported).encode(TEXTS)
    model.graph.input.append(onnx.helper.make_tensor_value_info("token_type_ids", onnx.TensorProto.INT64, ["batch", "length"]))
    onnx.save(model, str(exported / MODEL))
    np.testing.assert_array_equal(Encoder(exported).encode(TEXTS), expected)
