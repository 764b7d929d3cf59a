"""What is seen inside attention is what the network computes there, of the right layer, with its gradient."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import AutoModel, DistilBertConfig, MPNetConfig

from potstill.errors import PotstillError
from potstill.models.encoder import EncoderModel
from potstill.models.loading import load_encoder
from potstill.models.output import EMBEDDING, Field
from potstill.models.recording import IMPLEMENTATION, prepare_inside, require_recordable, shows_attention
from potstill.student.transformer import cut_student

BATCH = {
    "input_ids": torch.tensor([[2, 9, 10, 11, 3], [2, 12, 3, 0, 0]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
}
REAL = BATCH["attention_mask"].bool()
INSIDE = ("attention_scores", "queries", "keys", "values")


def encoder(folder, implementation: str | None = None) -> EncoderModel:
    model = load_encoder(folder)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "embeddings" not in name:
                parameter.mul_(6)
    if implementation:
        model.network.set_attn_implementation(implementation)
    return model


@torch.no_grad()
def test_scores_are_those_before_the_softmax(tiny_encoder_dir):
    reads = [Field("attention_scores", layer) for layer in (1, 2, 3, 4)]
    output = encoder(tiny_encoder_dir, IMPLEMENTATION)(**BATCH, reads=reads)
    theirs = encoder(tiny_encoder_dir, "eager").backbone(**BATCH, output_attentions=True).attentions
    for field, weights in zip(reads, theirs, strict=True):
        scores = output[field].masked_fill(~REAL[:, None, None, :], -math.inf)
        assert scores.shape == (2, 4, 5, 5) and torch.isfinite(output[field]).all()
        torch.testing.assert_close(torch.softmax(scores, dim=-1), weights, atol=1e-5, rtol=0)
        assert output[field].std() > 0.1


@torch.no_grad()
def test_queries_keys_and_values_are_the_projections(tiny_encoder_dir):
    model = encoder(tiny_encoder_dir, IMPLEMENTATION)
    seen = {}
    for number, layer in enumerate(model.layers, start=1):
        for name, part in (("queries", "query"), ("keys", "key"), ("values", "value")):
            field = Field(name, number)
            hook = lambda module, inputs, output, field=field: seen.__setitem__(field, output)  # noqa: E731
            getattr(layer.attention.self, part).register_forward_hook(hook)
    output = model(**BATCH, reads=list(Field(name, layer) for name in INSIDE[1:] for layer in (1, 2, 3, 4)))
    assert len(output.values) == 12 == len(seen)
    for field, expected in seen.items():
        torch.testing.assert_close(output[field], expected, atol=0, rtol=0)
    # And the scores are made of them: heads side by side, scaled by the root of a head's width.
    q, k = (seen[Field(name, 2)].view(2, 5, 4, 8).transpose(1, 2) for name in ("queries", "keys"))
    scores = model(**BATCH, reads=[Field("attention_scores", 2)])[Field("attention_scores", 2)]
    torch.testing.assert_close(scores, q @ k.transpose(-1, -2) / math.sqrt(8), atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("other", ["eager", "sdpa"])
def test_recording_changes_no_answer(tiny_encoder_dir, other):
    reads = [EMBEDDING, Field("hidden_states", 4)]
    recorded = encoder(tiny_encoder_dir, IMPLEMENTATION)(**BATCH, reads=[*reads, Field("keys", 1)])
    plain = encoder(tiny_encoder_dir, other)(**BATCH, reads=reads)
    torch.testing.assert_close(recorded.embedding, plain.embedding, atol=1e-5, rtol=0)
    torch.testing.assert_close(recorded[reads[1]][REAL], plain[reads[1]][REAL], atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_cut_student_shows_the_layers_that_it_kept(tiny_encoder_dir):
    source = encoder(tiny_encoder_dir, IMPLEMENTATION)
    student = cut_student(source, [1, 3], pooling="mean", normalize=True, max_length=64)
    student.network.set_attn_implementation(IMPLEMENTATION)
    fields = [Field(name, layer) for name in INSIDE for layer in (1, 2)]
    output = student.eval()(**BATCH, reads=fields)
    state = student(**BATCH, reads=[Field("hidden_states", 1)])[Field("hidden_states", 1)]
    for name, part in (("queries", "query"), ("keys", "key"), ("values", "value")):
        third = getattr(source.layers[2].attention.self, part)
        torch.testing.assert_close(output[Field(name, 2)], third(state), atol=1e-5, rtol=1e-5)
    first = source(**BATCH, reads=[Field("attention_scores", 1)])[Field("attention_scores", 1)]
    torch.testing.assert_close(output[Field("attention_scores", 1)], first)


@pytest.mark.parametrize("name", INSIDE)
def test_the_gradient_reaches_the_student(tiny_encoder_dir, name):
    model = encoder(tiny_encoder_dir, IMPLEMENTATION).train()
    field = Field(name, 3)
    model(**BATCH, reads=[field])[field].square().sum().backward()
    assert model.layers[1].output.dense.weight.grad.abs().sum() > 0
    above = model.layers[3].output.dense.weight.grad
    assert above is None or not above.any()


def test_two_models_do_not_see_each_other(tiny_encoder_dir):
    """A teacher that runs while the student records must not write into the student's record."""
    student, teacher = encoder(tiny_encoder_dir, IMPLEMENTATION), encoder(tiny_encoder_dir, IMPLEMENTATION)
    field = Field("values", 1)
    student.layers[0].register_forward_hook(lambda *_: teacher(**BATCH, reads=[Field("values", 2)]) and None)
    output = student(**BATCH, reads=[field, Field("values", 3)])
    assert set(output.values) == {field, Field("values", 3)}


def test_distilbert_is_seen_and_mpnet_is_refused(tiny_encoder_dir):
    tokenizer = load_encoder(tiny_encoder_dir).hf_tokenizer
    small = DistilBertConfig(vocab_size=300, dim=32, n_layers=2, n_heads=4, hidden_dim=64)
    seen = EncoderModel(AutoModel.from_config(small).eval(), tokenizer)
    prepare_inside(seen.network, [Field("keys", 2)])
    assert seen(**BATCH, reads=[Field("keys", 2)])[Field("keys", 2)].shape == (2, 5, 32)
    config = MPNetConfig(vocab_size=300, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)
    hidden = EncoderModel(AutoModel.from_config(config).eval(), tokenizer)
    assert not shows_attention(type(hidden.network))
    with pytest.raises(PotstillError, match="a mpnet computes attention by itself: .* use terms that read hidden_states or logits"):
        require_recordable(hidden.network, "terms")
    with pytest.raises(PotstillError, match="computes attention by itself"):
        prepare_inside(hidden.network, [Field("attention_scores", 1)])
    prepare_inside(hidden.network, [Field("hidden_states", 1)])  # nothing inside is read: nothing is asked
