"""A teacher that is made ready: cut to the highest layer that is read, which gives what it gave in the whole model."""

from __future__ import annotations

import torch

from potstill.models.encoder import EncoderModel
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


def test_a_normalisation_above_the_stack_does_not_reach_the_layer_that_is_read(tiny_encoder_dir):
    from transformers import AutoModel, ModernBertConfig

    special = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
    sizes = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 64}
    network = AutoModel.from_config(ModernBertConfig(vocab_size=300, **sizes, **special))
    model = EncoderModel(network, load_encoder(tiny_encoder_dir).hf_tokenizer, max_length=64).eval()
    tokens = {"input_ids": torch.tensor([[2, 9, 10, 3]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)}
    reads = [Field("hidden_states", 2)]
    with torch.no_grad():
        expected = model(**tokens, reads=reads)[reads[0]]
        found = prepare_teacher(model, reads)(**tokens, reads=reads)[reads[0]]
    assert len(model.layers) == 3
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
