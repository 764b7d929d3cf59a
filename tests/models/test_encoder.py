"""Encoders: the vectors that other libraries get of the same folder, saving, pooling, counting."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from potstill.machine.precision import autocast
from potstill.models.loading import load_encoder
from potstill.models.output import EMBEDDING, Field
from potstill.models.recording import prepare_inside

TEXTS = ["the river", "a", "villages and rivers, singing of the things that were there before; " * 9, "", "the end"]


def test_transformers_and_sentence_transformers_give_the_same_vectors(tiny_encoder_dir, tmp_path):
    from sentence_transformers import SentenceTransformer
    from transformers import AutoModel, AutoTokenizer

    model = load_encoder(tiny_encoder_dir)
    ours = model.encode(TEXTS)
    assert ours.shape == (5, 32) and ours.dtype == np.float32
    np.testing.assert_allclose(SentenceTransformer(str(tiny_encoder_dir)).encode(TEXTS), ours, atol=1e-5)

    backbone, tokenizer = AutoModel.from_pretrained(tiny_encoder_dir).eval(), AutoTokenizer.from_pretrained(tiny_encoder_dir)
    batch = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    assert batch["input_ids"].shape[1] == model.max_length  # the length limit travels
    with torch.no_grad():
        tokens = backbone(**batch).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1)
    mean = (tokens * mask).sum(1) / mask.sum(1)
    np.testing.assert_allclose(torch.nn.functional.normalize(mean, dim=-1).numpy(), ours, atol=1e-5)


def test_real_weights_agree_with_sentence_transformers(minilm_dir):
    from sentence_transformers import SentenceTransformer

    texts = ["A man is playing a guitar.", "Word", "The quick brown fox. " * 40]
    theirs = SentenceTransformer(str(minilm_dir), local_files_only=True).encode(texts)
    np.testing.assert_allclose(load_encoder(minilm_dir).encode(texts), theirs, atol=1e-5)


def test_order_and_padding_change_nothing(tiny_encoder_dir):
    model = load_encoder(tiny_encoder_dir)
    alone = np.concatenate([model.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(model.encode(TEXTS, batch_tokens=100_000), alone, atol=1e-6)
    assert model.encode([]).shape == (0, 32)


@pytest.mark.parametrize("field", [EMBEDDING, Field("hidden_states", 4), Field("queries", 2)], ids=str)
def test_threads_of_their_own_change_no_number(tiny_encoder_dir, field):
    model = load_encoder(tiny_encoder_dir)
    prepare_inside(model.network, [field])
    tokens = model.tokenize([f"the river {'and the village ' * (number % 7)}" for number in range(60)])
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 4):
            torch.set_num_threads(threads)
            with autocast(torch.device("cpu"), torch.bfloat16):
                found.append([(rows, output[field]) for rows, output in model.run(tokens, [field], batch_tokens=64)])
    finally:
        torch.set_num_threads(before)
    assert len(found[0]) == len(found[1]) > 10
    for (rows, values), (own_rows, own) in zip(*found):
        assert rows.tolist() == own_rows.tolist() and not own.requires_grad
        torch.testing.assert_close(values, own, atol=0, rtol=0)


def test_parameters_leave_out_what_no_vector_reads(tiny_encoder_dir):
    model = load_encoder(tiny_encoder_dir)
    tables, rest = model.parameter_counts()
    by_hand = {name: p.numel() for name, p in model.named_parameters()}
    pooler = sum(n for name, n in by_hand.items() if "pooler" in name)
    assert pooler == 32 * 32 + 32 and tables + rest == sum(by_hand.values()) - pooler
    assert tables == sum(n for name, n in by_hand.items() if "embeddings.weight" in name)


def test_without_dropout_training_mode_changes_nothing(tiny_encoder_dir):
    model = load_encoder(tiny_encoder_dir).train()
    batch = {"input_ids": torch.tensor([[2, 10, 11, 3]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)}
    assert not torch.equal(model(**batch).embedding, model(**batch).embedding)
    model.set_dropout(0.0)
    assert torch.equal(model(**batch).embedding, model(**batch).embedding)
    assert model.backbone.config.hidden_dropout_prob == 0.1
