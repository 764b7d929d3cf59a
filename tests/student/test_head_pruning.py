"""Heads that add least are really gone: against attention written out, against zeroed columns, and what is smaller for it."""

from __future__ import annotations

import copy

import pytest
import torch

from potstill.errors import PotstillError
from potstill.models.encoder import EncoderModel
from potstill.models.loading import load_encoder
from potstill.models.output import Field
from potstill.models.recording import prepare_inside
from potstill.runtime.tokens import tokenize
from potstill.student.head_pruning import head_importance, prune_heads

TEXTS = ["the river and the village", "a", "rivers 1 2 3", "the village, by day and by night"]


@pytest.fixture
def model(tiny_encoder_dir) -> EncoderModel:
    model = load_encoder(tiny_encoder_dir)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "embeddings" not in name:
                parameter.mul_(6)
    return model


def read(model):
    return tokenize(model.tokenizer, TEXTS, 64)


def test_threads_change_no_importance(model):
    before, tokens = torch.get_num_threads(), tokenize(model.tokenizer, TEXTS * 300, 64)
    try:
        torch.set_num_threads(1)
        alone = head_importance(model, tokens)
        torch.set_num_threads(4)
        torch.testing.assert_close(head_importance(model, tokens), alone)
    finally:
        torch.set_num_threads(before)


@torch.no_grad()
def test_importance_is_that_of_attention_written_out_text_by_text(model):
    fields = [Field(name, layer) for layer in (1, 2, 3, 4) for name in ("attention_scores", "values")]
    prepare_inside(model.network, fields)
    sums, count = torch.zeros(4, 4), 0
    for text in TEXTS:
        ids = torch.tensor([model.tokenizer.encode(text).ids])
        output = model(ids, torch.ones_like(ids), reads=fields)
        count += ids.shape[1]
        for layer in range(4):
            weights = output[Field("attention_scores", layer + 1)].softmax(-1)[0]  # (heads, l, l)
            values = output[Field("values", layer + 1)][0]  # (l, d)
            columns = model.layers[layer].attention.output.dense.weight
            for head in range(4):
                own = slice(8 * head, 8 * head + 8)
                sums[layer, head] += (weights[head] @ values[:, own] @ columns[:, own].T).norm(dim=-1).sum()
    torch.testing.assert_close(head_importance(model, read(model)).float(), sums / count, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("keep", [1, 3, 4])
def test_a_dropped_head_is_one_whose_output_columns_are_zero(model, keep):
    importance, zeroed = head_importance(model, read(model)), copy.deepcopy(model)
    for layer, own in zip(zeroed.layers, importance, strict=True):
        for head in own.argsort(descending=True)[keep:].tolist():
            layer.attention.output.dense.weight[:, 8 * head : 8 * head + 8] = 0
    prune_heads(model, keep, read(model))
    torch.testing.assert_close(torch.from_numpy(model.encode(TEXTS)), torch.from_numpy(zeroed.encode(TEXTS)), atol=1e-5, rtol=1e-5)
    assert model.heads == keep and model.layers[0].attention.self.query.weight.shape == (8 * keep, 32)
    assert sum(zeroed.parameter_counts()) - sum(model.parameter_counts()) == 4 * (4 - keep) * (4 * 8 * 32 + 3 * 8)


@torch.no_grad()
def test_the_head_that_adds_nothing_is_the_one_that_goes(model):
    model.layers[1].attention.self.value.weight[8:16] = 0
    model.layers[1].attention.self.value.bias[8:16] = 0
    before = model.layers[1].attention.self.query.weight.clone()
    prune_heads(model, 3, read(model))
    torch.testing.assert_close(model.layers[1].attention.self.query.weight, before[[*range(8), *range(16, 32)]])


@torch.no_grad()
def test_what_is_recorded_is_of_the_heads_that_are_left(model):
    fields = [Field(name, 2) for name in ("attention_scores", "queries", "keys", "values")]
    prune_heads(model, 3, read(model))
    expected = model.encode(TEXTS)
    prepare_inside(model.network, fields)
    output = model(torch.tensor([[2, 9, 10, 3]]), torch.ones(1, 4, dtype=torch.int64), reads=fields)
    assert [tuple(output[field].shape) for field in fields] == [(1, 3, 4, 4), *[(1, 4, 24)] * 3]
    torch.testing.assert_close(output[fields[0]], _products(output[fields[1]], output[fields[2]]))
    torch.testing.assert_close(torch.from_numpy(model.encode(TEXTS)), torch.from_numpy(expected), atol=1e-5, rtol=1e-5)


def test_more_heads_than_there_are_and_networks_of_another_kind_are_refused(model, tiny_head_dirs):
    with pytest.raises(PotstillError, match="5 heads asked of layers that have 4; ask for 4 at most"):
        prune_heads(model, 5, read(model))
    other = load_encoder(tiny_head_dirs["regression"])
    with pytest.raises(PotstillError, match="is for a BERT, and the source is a distilbert"):
        prune_heads(other, 1, read(other))


def _products(queries, keys):
    """(1, l, 24) each → (1, 3, l, l), scaled by heads of 8."""
    split = [states.unflatten(-1, (3, 8)).transpose(1, 2) for states in (queries, keys)]
    return split[0] @ split[1].transpose(-1, -2) / 8**0.5
