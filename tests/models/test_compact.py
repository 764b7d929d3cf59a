"""BERTs with fewer heads and lower ranks: saved, loaded, counted, given another vocabulary, trained on from where they were."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from potstill.models.compact import compact_config, counted
from potstill.models.encoder import keep_layers
from potstill.models.loading import load_encoder
from potstill.models.output import LOGITS
from potstill.runtime.tokens import tokenize
from potstill.student.head_pruning import prune_heads
from potstill.student.low_rank import factor
from potstill.student.vocabulary import trimmed, with_pieces, with_tokenizer

TEXTS = ["the river and the village", "a", "rivers 1 2 3", "the village, by day and by night"]
BATCH = torch.tensor([[2, 10, 11, 3], [2, 12, 3, 0]]), torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
LABELS = {"classification": ["no", "yes"], "tagging": ["O", "B"]}


def compact(folder, kind="embed"):
    """3 of 4 heads: a number that does not divide the width."""
    model = load_encoder(folder, head=kind, labels=LABELS.get(kind, []), seed=1)
    prune_heads(model, 3, tokenize(model.tokenizer, TEXTS, 64))
    factor(model, embedding=8, ffn=6)
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize("kind", ["embed", "classification", "regression", "tagging", "mlm"])
def test_saved_and_loaded_it_gives_the_same_numbers(tiny_encoder_dir, tmp_path, kind):
    model = compact(tiny_encoder_dir, kind)
    model.save(tmp_path / "saved")
    loaded = load_encoder(tmp_path / "saved", head="mlm" if kind == "mlm" else None)
    assert (loaded.head, loaded.labels, loaded.heads) == (kind, model.labels, 3)
    assert loaded.parameter_counts() == model.parameter_counts()
    reads = [LOGITS] if kind != "embed" else None
    before, after = model(*BATCH, reads=reads), loaded(*BATCH, reads=reads)
    torch.testing.assert_close(after[next(iter(after.values))], before[next(iter(before.values))], atol=1e-7, rtol=1e-6)


def test_the_sizes_told_beforehand_are_those_it_has(tiny_encoder_dir):
    source = json.loads((tiny_encoder_dir / "config.json").read_text())
    model = compact(tiny_encoder_dir)
    assert counted(compact_config(source, num_attention_heads=3, embedding_size=8, ffn_rank=6)) == model.parameter_counts()
    assert counted(compact_config(source)) == load_encoder(tiny_encoder_dir).parameter_counts()


def test_it_is_cut_again_and_takes_another_vocabulary(tiny_encoder_dir, tmp_path):
    model = compact(tiny_encoder_dir)
    keep_layers(model, [1, 4])
    prune_heads(model, 2, tokenize(model.tokenizer, TEXTS, 64))
    tokenizer = json.loads(model.hf_tokenizer.backend_tokenizer.to_str())
    smaller = with_tokenizer(model, with_pieces(tokenizer, trimmed(tokenizer, TEXTS)))
    assert smaller.network.config.vocab_size < len(tokenizer["model"]["vocab"])
    np.testing.assert_allclose(smaller.encode(TEXTS), model.encode(TEXTS), atol=1e-6)
    smaller.save(tmp_path / "saved")
    np.testing.assert_allclose(load_encoder(tmp_path / "saved").encode(TEXTS), smaller.encode(TEXTS), atol=1e-6)
    assert smaller.parameter_counts()[0] == (smaller.network.config.vocab_size * 8) + (128 + 2) * 32


def test_sentence_transformers_loads_it_once_this_package_is_imported(tiny_encoder_dir, tmp_path):
    from sentence_transformers import SentenceTransformer

    model = compact(tiny_encoder_dir)
    model.save(tmp_path / "saved")
    theirs = SentenceTransformer(str(tmp_path / "saved"), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(theirs, model.encode(TEXTS), atol=1e-6)
