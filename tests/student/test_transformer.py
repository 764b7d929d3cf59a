"""Students: some of a teacher's layers, or its architecture built small."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModel, DistilBertConfig, MPNetConfig

from helpers.families import save_family
from potstill.errors import PotstillError
from potstill.models.encoder import EncoderModel
from potstill.models.loading import load_encoder
from potstill.models.output import Field
from potstill.student.transformer import build_student, choose_layers, cut_student

LIKE = {"pooling": "mean", "normalize": True, "max_length": 64}


@pytest.mark.parametrize(
    ("layers", "rule", "total", "expected"),
    [
        (3, "uniform", 6, [2, 4, 6]),  # evenly apart, the last kept
        (6, "uniform", 12, [2, 4, 6, 8, 10, 12]),
        (3, "spread", 6, [1, 3, 6]),  # evenly apart, the first and the last kept
        (4, "spread", 12, [1, 5, 8, 12]),  # 4.67 up, 8.33 down
        (6, "spread", 12, [1, 3, 5, 8, 10, 12]),  # DistilBERT's
        (1, "spread", 6, [6]),  # one layer cannot be both first and last
        (5, "skip", 12, [2, 4, 6, 8, 10]),  # every second, the rest left over
        (2, "first", 6, [1, 2]),
        (2, "last", 6, [5, 6]),
        ([1, 5], "uniform", 6, [1, 5]),  # a list is taken as it is
        (None, "uniform", 3, [1, 2, 3]),  # all
    ],
)
def test_layers_by_rule_and_by_list(layers, rule, total, expected):
    assert choose_layers(layers, rule, total) == expected


@pytest.mark.parametrize(
    ("layers", "rule", "words"),
    [
        (7, "first", "7 layers asked of a model that has 6"),  # too many
        ([1, 7], "first", "no layer 7"),  # beyond the stack
        ([2, 1], "first", "rising order"),  # out of order
        ([1, 1], "first", "rising order"),  # twice
        (3, "unifrom", "did you mean 'uniform'"),  # misspelt
    ],
)
def test_layers_that_make_no_sense(layers, rule, words):
    with pytest.raises(PotstillError, match=words):
        choose_layers(layers, rule, 6)


def test_a_cut_student_computes_what_its_layers_compute(tiny_encoder_dir, tmp_path):
    teacher = load_encoder(tiny_encoder_dir)
    student = cut_student(teacher, [1, 3], **LIKE)
    batch = {"input_ids": torch.tensor([[2, 10, 11, 3]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)}
    with torch.no_grad():
        first, last = Field("hidden_states", 0), Field("hidden_states", 2)
        states = teacher(**batch, reads=[first])[first]
        by_hand = teacher.backbone.encoder.layer[2](teacher.backbone.encoder.layer[0](states))
        torch.testing.assert_close(student(**batch, reads=[last])[last], by_hand)
    # It is a copy: training it must not touch the teacher.
    student.backbone.encoder.layer[0].output.dense.weight.data.zero_()
    assert teacher.backbone.encoder.layer[0].output.dense.weight.abs().sum() > 0
    student.save(tmp_path / "student")
    again = load_encoder(tmp_path / "student")
    assert again.backbone.config.num_hidden_layers == 2
    np.testing.assert_array_equal(again.encode(["the river"]), student.encode(["the river"]))


@pytest.mark.parametrize(
    "config",
    [
        MPNetConfig(vocab_size=300, hidden_size=32, num_hidden_layers=4, num_attention_heads=4, intermediate_size=64),
        DistilBertConfig(vocab_size=300, dim=32, n_layers=4, n_heads=4, hidden_dim=64),
    ],
)
def test_other_architectures_are_cut_and_built(config, tiny_encoder_dir, tmp_path):
    source = EncoderModel(AutoModel.from_config(config).eval(), load_encoder(tiny_encoder_dir).hf_tokenizer, max_length=64)
    cut_student(source, [2, 4], **LIKE).save(tmp_path / "cut")
    assert load_encoder(tmp_path / "cut").backbone.config.num_hidden_layers == 2
    small = build_student(source, layers=1, width=16, heads=2, ffn=24, seed=1, **LIKE)
    assert small.dimension == 16
    small.save(tmp_path / "small")
    np.testing.assert_array_equal(load_encoder(tmp_path / "small").encode(["the river"]), small.encode(["the river"]))


@pytest.mark.parametrize(
    ("name", "changes", "layers", "expected"),
    [
        # which layers attend locally, and an older word for every how many do not
        ("modernbert", {"global_attn_every_n_layers": 2}, [1, 2, 4], {"layer_types": "fss", "global_attn_every_n_layers": 3}),
        ("modernbert", {"global_attn_every_n_layers": 2}, [1, 3], {"layer_types": "ff", "global_attn_every_n_layers": 1}),
        (
            "modernbert",
            {"global_attn_every_n_layers": 2},
            [2, 4],
            {"layer_types": "ss", "global_attn_every_n_layers": None},
        ),  # it has no word
        ("modernbert", {"global_attn_every_n_layers": 2}, [2, 3, 4], {"layer_types": "sfs", "global_attn_every_n_layers": None}),
        ("longformer", {"attention_window": [4, 8, 4, 16]}, [1, 4], {"attention_window": [4, 16]}),
        ("longformer", {"attention_window": 8}, [2, 4], {"attention_window": [8, 8]}),
        # as long as the stack by chance
        ("deberta-v2", {"num_hidden_layers": 2}, [2], {"pos_att_type": ["p2c", "c2p"]}),
        ("xmod", {"num_hidden_layers": 2}, [2], {"languages": ["en_XX", "de_DE"]}),
    ],
)
def test_lists_of_the_configuration_are_cut_with_the_layers(name, changes, layers, expected, tmp_path):
    source = load_encoder(save_family(name, tmp_path / "source", **{"num_hidden_layers": 4, **changes}))
    student = cut_student(source, layers)
    student.save(tmp_path / "student")
    again = load_encoder(tmp_path / "student")
    for config in (student.backbone.config, again.backbone.config):
        for key, value in expected.items():
            found = getattr(config, key, None)
            assert ("".join(word[0] for word in found) if key == "layer_types" else found) == value, key
    texts = ["the river sees a cat and an owl", "owl"]
    np.testing.assert_array_equal(again.encode(texts), student.encode(texts))


@torch.no_grad()
def test_each_layer_of_a_cut_longformer_keeps_its_own_window(tmp_path):
    source = load_encoder(save_family("longformer", tmp_path, num_hidden_layers=3, attention_window=[4, 8, 16]))
    student = cut_student(source, [1, 3])
    assert [layer.attention.self.one_sided_attn_window_size for layer in student.layers] == [2, 8]


def test_a_modernbert_without_its_first_layer_begins_as_the_first_layer_does(tmp_path):
    """Only a first layer has no normalisation before its attention: what another one multiplied by is in its matrix then."""
    source = load_encoder(save_family("modernbert", tmp_path / "source"))
    with torch.no_grad():
        source.layers[1].attn_norm.weight.copy_(torch.linspace(0.2, 3, 16))
        source.backbone.embeddings.norm.weight.fill_(1.0)
    student = cut_student(source, [2])
    assert isinstance(student.layers[0].attn_norm, torch.nn.Identity)
    batch = {"input_ids": torch.tensor([[2, 10, 11, 12, 3]]), "attention_mask": torch.ones(1, 5, dtype=torch.long)}
    first, last = Field("hidden_states", 0), Field("hidden_states", 1)
    with torch.no_grad():
        states = source(**batch, reads=[first])[first]
        around = source.backbone.rotary_emb(states, torch.arange(5)[None], "sliding_attention")
        mask = torch.zeros(1, 1, 5, 5).masked_fill((torch.arange(5)[:, None] - torch.arange(5)).abs() > 2, -1e9)
        by_hand = source.backbone.final_norm(source.layers[1](states, attention_mask=mask, position_embeddings=around))
        torch.testing.assert_close(student(**batch, reads=[last])[last], by_hand, atol=1e-3, rtol=0)  # normalised twice, or once
    student.save(tmp_path / "student")
    np.testing.assert_array_equal(load_encoder(tmp_path / "student").encode(["the river"]), student.encode(["the river"]))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("esm", "layers 2 of a esm could not be loaded again .contact_head"),  # a part as wide as the stack is high
        ("neomme", "layers 2 of a neomme could not be loaded again .*per_layer_config"),  # settings by the layers' numbers
    ],
)
def test_layers_that_could_not_be_loaded_again_are_refused(name, words, tmp_path):
    with pytest.raises(PotstillError, match=words):
        cut_student(load_encoder(save_family(name, tmp_path)), [2])


def test_a_student_built_small_has_as_much_of_the_lists_as_layers(tmp_path):
    source = load_encoder(save_family("longformer", tmp_path / "source", num_hidden_layers=4, attention_window=[4, 8, 8, 16]))
    sizes = {"width": 16, "heads": 2, "ffn": 24, "seed": 1, **(LIKE | {"max_length": 16})}
    small = build_student(source, layers=2, **sizes)
    assert small.backbone.config.attention_window == [4, 8]
    small.save(tmp_path / "small")
    np.testing.assert_array_equal(load_encoder(tmp_path / "small").encode(["the river"]), small.encode(["the river"]))
    with pytest.raises(PotstillError, match="5 layers after a longformer whose attention_window is told of 4; ask for 4 at most"):
        build_student(source, layers=5, **sizes)


def test_a_built_student_is_a_function_of_its_seed_and_leaves_the_generator_alone(tiny_encoder_dir):
    source = load_encoder(tiny_encoder_dir)
    sizes = {"layers": 2, "width": 16, "heads": 4, "ffn": 24, **LIKE}
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, second, other = (build_student(source, seed=seed, **sizes).encode(["the"]) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(first, other)
    with pytest.raises(PotstillError, match="not divisible"):
        build_student(source, seed=1, **(sizes | {"heads": 3}))


def test_parameter_counts_are_the_published_ones():
    """Published sizes: BERT-base, with 6 and with 3 layers, and the student of TinyBERT and LRC-BERT."""
    from transformers import BertConfig, BertModel

    def count(**changes):
        with torch.device("meta"):
            return sum(p.numel() for p in BertModel(BertConfig(**changes)).parameters())

    assert count() == 109_482_240
    assert count(num_hidden_layers=6) == 66_955_008
    assert count(num_hidden_layers=3) == 45_691_392
    assert count(num_hidden_layers=4, hidden_size=312, num_attention_heads=12, intermediate_size=1200) == 14_350_248
