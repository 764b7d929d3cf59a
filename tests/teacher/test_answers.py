"""A teacher that is made ready: cut to the highest layer that is read, which gives what it gave in the whole model."""

from __future__ import annotations

import pytest
import torch

from helpers.families import save_family
from potstill.models.loading import load_encoder
from potstill.models.output import EMBEDDING, Field
from potstill.teacher.answers import prepare_teacher


def test_the_teacher_is_cut_to_the_highest_layer_that_is_read(tiny_encoder_dir):
    tokens = {"input_ids": torch.tensor([[2, 9, 10, 3], [2, 11, 3, 0]]), "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])}
    whole = load_encoder(tiny_encoder_dir)
    for reads, layers in (
        ([Field("hidden_states", 0)], 1),
        ([Field("hidden_states", 2), Field("cls_states", 1)], 2),
        ([Field("keys", 3), Field("hidden_states", 1)], 3),
        ([Field("hidden_states", 2), EMBEDDING], 4),
    ):
        cut = prepare_teacher(load_encoder(tiny_encoder_dir), reads)
        assert len(cut.layers) == layers == cut.backbone.config.num_hidden_layers
        plain = [field for field in reads if field.name != "keys"]
        with torch.no_grad():
            expected, found = whole(**tokens, reads=plain), cut(**tokens, reads=reads)
        for field in plain:
            torch.testing.assert_close(found[field], expected[field], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("modernbert", 3),  # a normalisation above the stack, which would reach the layer that is read: one layer more
        ("megatron-bert", 3),  # likewise; it is called `ln`
        ("xlm-roberta-xl", 3),  # likewise, beside the stack and not above it
        ("albert", 4),  # one layer, four times: nothing to cut
        ("xlm", 4),  # four stacks of a layer's parts
        ("longformer", 2),  # a list of the configuration is cut too
    ],
)
def test_other_networks_give_what_they_gave_in_the_whole_model(name, layers, tmp_path):
    folder = save_family(name, tmp_path, **({"n_layers": 4} if name == "xlm" else {"num_hidden_layers": 4}))
    whole = load_encoder(folder)
    ids = torch.tensor([[2, 9, 10, 3]])
    reads = [Field("hidden_states", 2)]
    with torch.no_grad():
        expected = whole(ids, torch.ones_like(ids), reads=reads)[reads[0]]
        cut = prepare_teacher(load_encoder(folder), reads)
        found = cut(ids, torch.ones_like(ids), reads=reads)[reads[0]]
    assert cut.backbone.config.num_hidden_layers == layers
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
