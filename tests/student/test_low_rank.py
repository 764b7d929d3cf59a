"""Matrices as products of two: the best there is, the same network at full rank, smaller below."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from potstill.errors import PotstillError
from potstill.models.loading import load_encoder
from potstill.models.output import LOGITS
from potstill.student.low_rank import factor, low_rank

TEXTS = ["the river and the village", "a", "rivers 1 2 3"]
BATCH = torch.tensor([[2, 10, 11, 3], [2, 12, 3, 0]]), torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])


@pytest.mark.parametrize("shape", [(40, 12), (12, 40)])
@pytest.mark.parametrize("rank", [1, 5, 12])
def test_no_other_product_of_that_rank_is_nearer(shape, rank):
    matrix = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    left, right = low_rank(torch.from_numpy(matrix), rank)
    assert left.shape == (shape[0], rank) and right.shape == (rank, shape[1]) and left.dtype == torch.float32
    singular = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
    assert np.linalg.norm(matrix - (left @ right).numpy()) == pytest.approx(np.sqrt((singular[rank:] ** 2).sum()), abs=1e-5)
    short = right if shape[0] > shape[1] else left.T
    torch.testing.assert_close(short @ short.T, torch.eye(rank), atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["embed", "mlm", "classification"])
def test_full_rank_is_the_same_network(tiny_encoder_dir, kind):
    model = load_encoder(tiny_encoder_dir, head=kind, labels=["a", "b"] if kind == "classification" else [], seed=1)
    reads = [LOGITS] if kind != "embed" else None
    before = model(*BATCH, reads=reads)
    factor(model, embedding=32, ffn=32)
    after = model.eval()(*BATCH, reads=reads)
    field = next(iter(before.values))
    torch.testing.assert_close(after[field], before[field], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_lower_rank_is_the_network_with_the_products_in_place(tiny_encoder_dir):
    model = load_encoder(tiny_encoder_dir, head="mlm", seed=1)
    replaced = copy.deepcopy(model)
    tables = [replaced.network.bert.embeddings.word_embeddings]
    for weights in [*tables, *(part.dense for layer in replaced.layers for part in (layer.intermediate, layer.output))]:
        left, right = low_rank(weights.weight, 6 if weights in tables else 5)
        weights.weight.copy_(left @ right)
    factor(model, embedding=6, ffn=5)
    torch.testing.assert_close(model(*BATCH, reads=[LOGITS]).logits, replaced(*BATCH, reads=[LOGITS]).logits, atol=1e-4, rtol=1e-4)
    head = model.network.cls.predictions
    assert head.decoder.weight is model.network.bert.embeddings.word_embeddings.weight and head.decoder.bias is head.bias


def test_what_is_saved_is_counted(tiny_encoder_dir):
    model = load_encoder(tiny_encoder_dir)
    embedding, rest = model.parameter_counts()
    factor(model, embedding=6, ffn=5)
    pieces = model.network.config.vocab_size
    assert model.parameter_counts() == (embedding - pieces * 26, rest + 6 * 32 - 4 * 2 * (32 * 64 - 5 * (32 + 64)))


def test_what_cannot_be_is_refused(tiny_encoder_dir, tiny_head_dirs):
    model = load_encoder(tiny_encoder_dir)
    with pytest.raises(PotstillError, match="rank 33 is asked of a matrix of 64 × 32; ask for 32 at most"):
        factor(model, ffn=33)
    factor(model, embedding=6)
    with pytest.raises(PotstillError, match="the source's rank is 6 already"):
        factor(model, embedding=4)
    with pytest.raises(PotstillError, match="is for a BERT, and the source is a distilbert"):
        factor(load_encoder(tiny_head_dirs["regression"]), ffn=4)
