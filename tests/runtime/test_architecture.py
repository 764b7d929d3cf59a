"""One number of a configuration under the names that each family gives it."""

from __future__ import annotations

from typing import Any

import pytest

from potstill.runtime.architecture import dense_of, heads_of, inside_of, layers_of, width_of


@pytest.mark.parametrize(
    ("config", "sizes"),
    [
        # BERT, MPNet, RoBERTa
        ({"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}, (768, 12, 12, 768)),
        # DistilBERT
        ({"dim": 768, "n_layers": 6, "n_heads": 12}, (768, 6, 12, 768)),
        # T5
        ({"d_model": 512, "num_layers": 8, "num_heads": 8}, (512, 8, 8, 512)),
        # pruned heads keep their width
        ({"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 3, "head_size": 8}, (32, 2, 3, 24)),
        # a static model: no layers, no heads
        ({"hidden_size": 256, "num_hidden_layers": 0}, (256, 0, 0, 0)),
        # nothing of the kind
        ({"hidden_size": "wide", "num_hidden_layers": None, "num_attention_heads": True}, (0, 0, 0, 0)),
    ],
)
def test_sizes_of_every_family(config: dict[str, Any], sizes: tuple[int, int, int, int]) -> None:
    assert (width_of(config), layers_of(config), heads_of(config), inside_of(config)) == sizes


def test_so_many_heads() -> None:
    assert inside_of({"hidden_size": 768, "num_attention_heads": 12}, heads=4) == 256


def test_a_dense_layer_is_a_bilstm_s() -> None:
    assert (dense_of({"hidden_size": 600, "dense_size": 400}), dense_of({"hidden_size": 600})) == (400, 0)
