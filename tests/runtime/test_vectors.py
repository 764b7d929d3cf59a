from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from potstill.errors import PotstillError
from potstill.runtime.encoder import Encoder
from potstill.runtime.vectors import as_floats, cut, quantize

TEXTS = ["the river and the village", "a", "rivers and rivers", "village, 1 village", "the"]


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    found = np.random.default_rng(0).standard_normal((200, 64)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.mark.parametrize("precision", ["binary", "ubinary"])
def test_signs_are_those_of_sentence_transformers(precision, vectors: np.ndarray) -> None:
    from sentence_transformers.util.quantization import quantize_embeddings

    found = quantize(vectors, precision)
    np.testing.assert_array_equal(found, quantize_embeddings(vectors, precision))
    assert found.dtype == (np.int8 if precision == "binary" else np.uint8) and found.shape == (200, 8)
    np.testing.assert_array_equal(as_floats(found, 64), np.where(vectors > 0, 1.0, -1.0))


def test_int8_keeps_every_cosine_and_knows_no_company(vectors: np.ndarray) -> None:
    found = quantize(vectors, "int8")
    assert found.dtype == np.int8 and np.abs(found).max(axis=1).tolist() == [127] * 200
    np.testing.assert_array_equal(quantize(vectors[7:8], "int8")[0], found[7])
    back = as_floats(found, 64)
    back /= np.linalg.norm(back, axis=1, keepdims=True)
    np.testing.assert_allclose(back @ back.T, vectors @ vectors.T, atol=5e-3)
    np.testing.assert_array_equal(quantize(np.zeros((1, 8), dtype=np.float32), "int8"), np.zeros((1, 8)))


def test_the_first_dimensions(vectors: np.ndarray) -> None:
    np.testing.assert_array_equal(cut(vectors, 16, unit=False), vectors[:, :16])
    np.testing.assert_allclose(cut(vectors, 16, unit=True), vectors[:, :16] / np.linalg.norm(vectors[:, :16], axis=1, keepdims=True), 1e-6)
    assert cut(vectors, 64, unit=True) is vectors


def test_an_encoder_that_gives_fewer(tiny_export_dir: Path) -> None:
    whole, encoder = Encoder(tiny_export_dir), Encoder(tiny_export_dir, dimensions=8)
    found = encoder.encode(TEXTS)
    assert found.shape == (len(TEXTS), encoder.dimension) == (len(TEXTS), 8)
    np.testing.assert_allclose(found, cut(whole.encode(TEXTS), 8, unit=True), atol=1e-6)
    # Vectors of any precision are compared with each other and with texts.
    signs = encoder.encode(TEXTS, precision="binary")
    assert signs.shape == (len(TEXTS), 1)
    np.testing.assert_allclose(np.diag(encoder.similarity(signs, signs)), 1, atol=1e-6)
    np.testing.assert_allclose(
        encoder.similarity(TEXTS, encoder.encode(TEXTS, precision="int8")), encoder.similarity(TEXTS, TEXTS), atol=0.02
    )


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        (lambda folder: Encoder(folder, dimensions=0), "dimensions is 0, and its vectors have 32; give 1 to 32"),
        (lambda folder: Encoder(folder, dimensions=33), "dimensions is 33, and its vectors have 32; give 1 to 32"),
        (lambda folder: Encoder(folder).encode(["a"], precision="int4"), "precision: unknown value 'int4'"),
        (lambda folder: Encoder(folder, dimensions=12).encode(["a"], precision="binary"), "a multiple of 8 dimensions, and there are 12"),
        # nothing that encode gives
        (lambda folder: Encoder(folder).similarity(["a"], np.zeros((1, 32), dtype=np.int64)), "int64"),
    ],
)
def test_what_cannot_be_asked(asked, problem, tiny_export_dir: Path) -> None:
    with pytest.raises(PotstillError, match=problem):
        asked(tiny_export_dir)
