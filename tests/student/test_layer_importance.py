"""How much layers change what goes through them: against plain loops, at a layer that does nothing, and as a choice of layers."""

from __future__ import annotations

import math

import pytest
import torch

from potstill.models.loading import load_encoder
from potstill.runtime.tokens import tokenize
from potstill.student.layer_importance import layer_importance, most_important
from potstill.student.transformer import choose_layers

TEXTS = ["the river and the village", "a", "rivers 1 2 3", "the village, by day and by night"]


@pytest.fixture
def model(tiny_encoder_dir):
    model = load_encoder(tiny_encoder_dir)
    with torch.no_grad():  # else every layer does nearly nothing
        for number, layer in enumerate(model.layers):
            layer.output.dense.weight.mul_(20 + 4 * number)
    return model


@torch.no_grad()
def test_importance_is_that_of_plain_loops_over_tokens(model):
    sums, count = [0.0] * 4, 0
    for text in TEXTS:
        ids = torch.tensor([model.tokenizer.encode(text).ids])
        states = [state[0].tolist() for state in model.network(ids, output_hidden_states=True).hidden_states]
        count += ids.shape[1]
        for layer in range(4):
            for ours, theirs in zip(states[layer], states[layer + 1], strict=True):
                product = sum(a * b for a, b in zip(ours, theirs, strict=True))
                sums[layer] += 1 - product / math.hypot(*ours) / math.hypot(*theirs)
    found = layer_importance(model, tokenize(model.tokenizer, TEXTS, 64))
    assert found == pytest.approx([value / count for value in sums], abs=1e-6)
    assert min(found) > 1e-3


@torch.no_grad()
def test_a_layer_that_hands_on_what_it_gets_has_none_and_goes_first(model):
    for part in (model.layers[2].attention.output.dense, model.layers[2].output.dense):
        part.weight.zero_()
        part.bias.zero_()
    found = layer_importance(model, tokenize(model.tokenizer, TEXTS, 64))
    assert found[2] == pytest.approx(0, abs=1e-6)
    assert choose_layers(3, "importance", 4, importance=found) == [1, 2, 4]


def test_the_most_important_stay_in_order_and_of_equal_ones_the_lower():
    assert most_important([0.1, 0.3, 0.2, 0.3], 2) == [2, 4]
    assert most_important([0.5, 0.5, 0.5], 2) == [1, 2]
