"""Models with a head, read by the runtime as torch reads them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from potstill.errors import PotstillError
from potstill.models.loading import load_encoder
from potstill.runtime.encoder import Encoder
from potstill.runtime.folder import CONFIG

PAIRS = [("the river", "a village and the river"), ("", "x"), ("rivers " * 50, "village " * 50), ("42", "the")]
WORDS = [["the", "rivers", "and", "villages"], ["x"], [], ["river"] * 50]


def test_pairs_as_torch(tiny_head_dirs, tiny_head_exports):
    encoder, model = Encoder(tiny_head_exports["classification"], threads=1), load_encoder(tiny_head_dirs["classification"], max_length=32)
    assert (encoder.head, encoder.labels) == ("classification", ["no", "yes", "maybe"])
    found = encoder.predict(PAIRS)
    assert (found.dtype, found.shape) == (np.float32, (4, 3))
    np.testing.assert_allclose(found, model.predict(PAIRS), atol=1e-4)
    np.testing.assert_allclose(encoder.predict(PAIRS, batch_tokens=1), found, atol=1e-4)
    feeds = encoder.feeds(PAIRS[:1])
    assert feeds["token_type_ids"].max() == 1 and feeds["input_ids"].shape == feeds["token_type_ids"].shape
    # The order of a pair counts, so the types are read.
    assert np.abs(encoder.predict([(b, a) for a, b in PAIRS[:1]]) - found[:1]).max() > 1e-3


def test_texts_and_pairs_in_one_call(tiny_head_exports):
    encoder = Encoder(tiny_head_exports["classification"], threads=1)
    mixed = ["the river", PAIRS[0]]
    expected = [encoder.predict([text])[0] for text in mixed]
    np.testing.assert_allclose(encoder.predict(mixed), expected, atol=1e-4)


def test_a_pair_may_be_a_list(tiny_head_exports):
    encoder = Encoder(tiny_head_exports["classification"], threads=1)
    np.testing.assert_array_equal(encoder.predict([list(pair) for pair in PAIRS]), encoder.predict(PAIRS))


def test_a_number_without_types(tiny_head_dirs, tiny_head_exports):
    encoder, model = Encoder(tiny_head_exports["regression"], threads=1), load_encoder(tiny_head_dirs["regression"], max_length=32)
    assert (encoder.head, encoder.labels) == ("regression", [])
    np.testing.assert_allclose(encoder.predict(PAIRS), model.predict(PAIRS), atol=1e-4)
    assert set(encoder.feeds(PAIRS)) == {"input_ids", "attention_mask"}
    assert encoder.predict([]).shape == (0, 1)


def test_words_as_torch(tiny_head_dirs, tiny_head_exports):
    encoder, model = Encoder(tiny_head_exports["tagging"], threads=1), load_encoder(tiny_head_dirs["tagging"], max_length=32)
    found, expected = encoder.predict(WORDS), model.predict(WORDS)
    # 32 pieces hold 30 words of one piece each.
    assert [rows.shape for rows in found] == [(4, 3), (1, 3), (0, 3), (30, 3)]
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert encoder.predict([]) == []


def test_a_word_without_pieces_keeps_its_place(tiny_head_exports):
    encoder = Encoder(tiny_head_exports["tagging"], threads=1)
    (with_nothing,) = encoder.predict([["the", "\u200b", "river"]])
    (without,) = encoder.predict([["the", "river"]])
    np.testing.assert_allclose(with_nothing[[0, 2]], without, atol=1e-5)
    assert not with_nothing[1].any()


def test_answers_in_words(tiny_head_exports):
    (answer,) = Encoder(tiny_head_exports["classification"]).classify(PAIRS[:1])
    assert answer["label"] in ("no", "yes", "maybe") and 1 / 3 <= answer["score"] <= 1
    tags = [answer["tags"] for answer in Encoder(tiny_head_exports["tagging"]).classify(WORDS)]
    assert [len(row) for row in tags] == [4, 1, 0, 50] and tags[3][30:] == [None] * 20 and None not in tags[3][:30]


def test_what_a_model_cannot_do_is_one_line(tiny_head_exports, tiny_export_dir):
    with pytest.raises(PotstillError, match="is a classification model and gives no vectors; call predict"):
        Encoder(tiny_head_exports["classification"]).encode(["a"])
    with pytest.raises(PotstillError, match="gives vectors and has no head to predict with; call encode"):
        Encoder(tiny_export_dir).predict(["a"])
    with pytest.raises(TypeError, match="lists of words"):
        Encoder(tiny_head_exports["tagging"]).predict(["a text"])


def test_labels_that_do_not_fit_the_graph_are_seen(tiny_head_exports, tmp_path):
    folder = shutil.copytree(tiny_head_exports["classification"], tmp_path / "copy")
    content = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(content | {"labels": ["no", "yes"]}))
    with pytest.raises(PotstillError, match="gives 3 logits and the folder's description says 2"):
        Encoder(folder)
    (folder / CONFIG).write_text(json.dumps(content | {"task": "embed", "labels": [], "pooling": "mean", "normalize": True}))
    with pytest.raises(PotstillError, match=r"output sentence_embedding \(it has logits\)"):
        Encoder(folder)


def test_no_torch_to_predict(tiny_head_exports):
    script = f"""
import sys
from potstill import Encoder
Encoder({str(tiny_head_exports["classification"])!r}).classify([("a", "b"), "c"])
Encoder({str(tiny_head_exports["tagging"])!r}).classify([["a", "b"]])
heavy = {{"torch", "transformers", "onnx", "scipy", "sklearn", "pydantic"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
