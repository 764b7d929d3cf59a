"""What is seen inside attention is what the network computes there, of the right layer, with its gradient."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import AutoModel, DistilBertConfig

from helpers.families import save_family
from potstill.errors import PotstillError
from potstill.models.encoder import EncoderModel
from potstill.models.loading import load_encoder
from potstill.models.output import EMBEDDING, Field
from potstill.models.recording import IMPLEMENTATION, attention, prepare_inside, require_recordable, shows_attention
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


def test_a_network_that_nobody_can_see_into_is_refused(tiny_encoder_dir, tmp_path):
    small = DistilBertConfig(vocab_size=300, dim=32, n_layers=2, n_heads=4, hidden_dim=64)
    seen = EncoderModel(AutoModel.from_config(small).eval(), load_encoder(tiny_encoder_dir).hf_tokenizer)
    prepare_inside(seen.network, [Field("keys", 2)])
    assert seen(**BATCH, reads=[Field("keys", 2)])[Field("keys", 2)].shape == (2, 5, 32)
    hidden = load_encoder(save_family("rembert", tmp_path))
    assert not shows_attention(type(hidden.network))
    with pytest.raises(PotstillError, match="a rembert computes attention by itself: .* use terms that read hidden_states or logits"):
        require_recordable(hidden.network, "terms")
    with pytest.raises(PotstillError, match="computes attention by itself"):
        prepare_inside(hidden.network, [Field("attention_scores", 1)])
    prepare_inside(hidden.network, [Field("hidden_states", 1)])  # nothing inside is read: nothing is asked


def test_attention_of_another_formula_is_refused():
    states = torch.zeros(1, 2, 3, 4)
    with pytest.raises(PotstillError, match="a Identity computes attention with softcap, which is not recorded"):
        attention(torch.nn.Identity(), states, states, states, None, softcap=50.0)


# Networks that are no BERT, against values worked out from their weights alone.

HEADS, WIDTH, LENGTH = 2, 8, 9  # heads, width of one, tokens: long enough for positions far apart
Parts = dict[str, torch.Tensor]


def linear(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    return states @ weight.T if bias is None else states @ weight.T + bias


def split(states: torch.Tensor) -> torch.Tensor:
    """(b, l, heads · d) → (b, heads, l, d)."""
    return torch.stack(states.split(WIDTH, dim=-1), dim=1)


def products(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """(b, heads, l, l) of (b, heads, l, d) each, number by number."""
    scores = torch.zeros(len(query), HEADS, LENGTH, LENGTH)
    for i in range(LENGTH):
        for j in range(LENGTH):
            scores[:, :, i, j] = (query[:, :, i] * key[:, :, j]).sum(-1)
    return scores


def mpnet(network, states: torch.Tensor, layer: int) -> Parts:
    """T5's buckets of relative positions (Raffel et al. 2020), of 32: half for each direction, of these 8 one by one."""
    own = network.encoder.layer[layer - 1].attention.attn
    parts = {name: linear(states, part.weight, part.bias) for name, part in (("queries", own.q), ("keys", own.k), ("values", own.v))}
    scores = products(split(parts["queries"]), split(parts["keys"])) / math.sqrt(WIDTH)
    table = network.encoder.relative_attention_bias.weight
    for i in range(LENGTH):
        for j in range(LENGTH):
            far = abs(i - j)
            bucket = far if far < 8 else min(15, 8 + int(math.log(far / 8) / math.log(128 / 8) * 8))
            scores[:, :, i, j] += table[bucket + (16 if j > i else 0)]
    return parts | {"attention_scores": scores}


def disentangled(own, scores: torch.Tensor, parts: Parts, keys: torch.Tensor, queries: torch.Tensor, place) -> torch.Tensor:
    """He et al. 2021, "DeBERTa", equation 4: with δ = place(i − j), (Q_i K_j + Q_i Kr_δ + K_j Qr_δ) / √(3d).

    `keys`, `queries`: (2k, heads · d) of relative positions.
    """
    q, k = split(parts["queries"]), split(parts["keys"])
    kr, qr = split(keys[None])[0], split(queries[None])[0]  # (heads, 2k, d)
    for i in range(LENGTH):
        for j in range(LENGTH):
            delta = place(i - j)
            if "c2p" in own.pos_att_type:
                scores[:, :, i, j] += (q[:, :, i] * kr[:, delta]).sum(-1)
            if "p2c" in own.pos_att_type:
                scores[:, :, i, j] += (k[:, :, j] * qr[:, delta]).sum(-1)
    return scores / math.sqrt(WIDTH * (1 + len(own.pos_att_type)))


def deberta(network, states: torch.Tensor, layer: int) -> Parts:
    own = network.encoder.layer[layer - 1].attention.self
    fused = linear(states, own.in_proj.weight)  # each head's queries, keys and values side by side
    shares = fused.split(WIDTH, dim=-1)
    query, key, value = (torch.cat(shares[number::3], dim=-1) for number in range(3))
    parts = {"queries": query + own.q_bias, "keys": key, "values": value + own.v_bias}
    scores = products(split(parts["queries"]), split(key))
    if own.relative_attention:
        table = network.encoder.rel_embeddings.weight
        middle = len(table) // 2
        near = table[middle - LENGTH : middle + LENGTH]
        keys = linear(near, own.pos_proj.weight) if "c2p" in own.pos_att_type else near
        queries = linear(near, own.pos_q_proj.weight, own.pos_q_proj.bias) if "p2c" in own.pos_att_type else near
        scores = disentangled(own, scores, parts, keys, queries, lambda far: min(max(far + LENGTH, 0), 2 * LENGTH - 1))
    else:
        scores = scores / math.sqrt(WIDTH)
    if own.talking_head:
        scores = torch.einsum("gh,bhij->bgij", own.head_logits_proj.weight, scores)
    return parts | {"attention_scores": scores}


def deberta_v2(network, states: torch.Tensor, layer: int) -> Parts:
    """Positions in buckets: up to half of them one by one, the others by logarithm."""
    own = network.encoder.layer[layer - 1].attention.self
    projections = {"queries": own.query_proj, "keys": own.key_proj, "values": own.value_proj}
    parts = {name: linear(states, part.weight, part.bias) for name, part in projections.items()}
    scores = products(split(parts["queries"]), split(parts["keys"]))
    if not own.relative_attention:
        return parts | {"attention_scores": scores / math.sqrt(WIDTH * (1 + len(own.pos_att_type)))}
    table = network.encoder.rel_embeddings.weight
    norm = getattr(network.encoder, "LayerNorm", None)
    if norm is not None:
        centred = table - table.mean(-1, keepdim=True)
        table = centred / (centred.square().mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight + norm.bias
    buckets, longest = own.position_buckets, own.max_relative_positions
    span = buckets if buckets > 0 else longest

    def place(far: int) -> int:
        middle = buckets // 2
        if buckets > 0 and abs(far) > middle:
            steps = math.ceil(math.log(abs(far) / middle) / math.log((longest - 1) / middle) * (middle - 1))
            far = (middle + steps) * (1 if far > 0 else -1)
        return min(max(far + span, 0), 2 * span - 1)

    keys, queries = (own.key_proj, own.query_proj) if own.share_att_key else (own.pos_key_proj, own.pos_query_proj)
    moved = [linear(table, part.weight, part.bias) for part in (keys, queries)]
    return parts | {"attention_scores": disentangled(own, scores, parts, *moved, place)}


def modernbert(network, states: torch.Tensor, layer: int) -> Parts:
    """Su et al. 2021, "RoFormer": the pair of numbers (n, n + d/2) is turned by position · base^(−2n/d)."""
    own = network.layers[layer - 1]
    queries, keys, values = linear(own.attn_norm(states), own.attn.Wqkv.weight).chunk(3, dim=-1)
    base = network.config.rope_parameters[network.config.layer_types[layer - 1]]["rope_theta"]

    def turned(side: torch.Tensor) -> torch.Tensor:
        heads, half = split(side).clone(), WIDTH // 2
        for place in range(LENGTH):
            for n in range(half):
                angle = place * base ** (-2 * n / WIDTH)
                a, b = heads[:, :, place, n].clone(), heads[:, :, place, n + half].clone()
                heads[:, :, place, n] = a * math.cos(angle) - b * math.sin(angle)
                heads[:, :, place, n + half] = b * math.cos(angle) + a * math.sin(angle)
        return heads

    q, k = turned(queries), turned(keys)
    joined = {name: torch.cat(list(side.unbind(1)), dim=-1) for name, side in (("queries", q), ("keys", k))}
    return joined | {"values": values, "attention_scores": products(q, k) / math.sqrt(WIDTH)}


BY_HAND = [
    ("mpnet", mpnet, {}),
    ("deberta", deberta, {}),
    ("deberta", deberta, {"pos_att_type": ["c2p"]}),  # one of the two products with positions
    (
        "deberta",
        deberta,
        {"relative_attention": False, "pos_att_type": [], "position_biased_input": True},
    ),  # positions in the embeddings alone
    ("deberta", deberta, {"talking_head": True}),  # scores mixed between heads, before the softmax
    ("deberta-v2", deberta_v2, {}),  # as version 3: keys shared, positions in buckets, normalised
    ("deberta-v2", deberta_v2, {"share_att_key": False, "position_buckets": -1, "norm_rel_ebd": "none"}),
    ("deberta-v2", deberta_v2, {"relative_attention": False, "pos_att_type": [], "position_biased_input": True}),
    ("modernbert", modernbert, {}),  # the first layer global, the second local
]


@pytest.fixture(params=BY_HAND, ids=lambda row: "-".join([row[0], *row[2]]))
def by_hand(request, tmp_path):
    """A network, what is inside its layers by hand, a padded batch, and that batch's hidden states."""
    name, compute, changes = request.param
    model = load_encoder(save_family(name, tmp_path, **changes))
    model.network.set_attn_implementation("eager")
    pad = model.pad_id
    ids = torch.tensor([[5, 9, 10, 11, 12, 13, 14, 15, 6], [7, 9, 20, 21, 8, pad, pad, pad, pad]])
    batch = {"input_ids": ids, "attention_mask": (ids != pad).long()}
    with torch.no_grad():
        plain = model.backbone(**batch, output_hidden_states=True)
    return model, compute, batch, plain


def wanted(layers: int) -> list[Field]:
    return [Field(name, layer) for name in INSIDE for layer in range(1, layers + 1)]


@torch.no_grad()
def test_what_is_seen_is_what_the_weights_make(by_hand):
    model, compute, batch, plain = by_hand
    prepare_inside(model.network, wanted(2))
    output = model(**batch, reads=[EMBEDDING, Field("hidden_states", 2), *wanted(2)])
    for layer in (1, 2):
        for name, expected in compute(model.backbone, plain.hidden_states[layer - 1], layer).items():
            torch.testing.assert_close(output[Field(name, layer)], expected, atol=1e-5, rtol=1e-5)
            assert expected.std() > 0.1
    # Recording changes nothing.
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(output[Field("hidden_states", 2)][real], plain.last_hidden_state[real], atol=1e-6, rtol=0)


@torch.no_grad()
def test_a_student_cut_of_it_shows_the_layer_that_it_kept(by_hand):
    model, compute, batch, _ = by_hand
    student = cut_student(model, [2]).eval()
    prepare_inside(student.network, wanted(1))
    output = student(**batch, reads=[Field("hidden_states", 0), *wanted(1)])
    for name, expected in compute(student.backbone, output[Field("hidden_states", 0)], 1).items():
        torch.testing.assert_close(output[Field(name, 1)], expected, atol=1e-5, rtol=1e-5)


def test_its_gradient_reaches_the_layer_below_and_none_above(by_hand):
    model, _, batch, _ = by_hand
    prepare_inside(model.network, wanted(2))
    for name in INSIDE:
        model.train().zero_grad()
        model(**batch, reads=[Field(name, 2)])[Field(name, 2)].square().sum().backward()
        below, above = model.layers[0].parameters(), list(model.layers[1].named_parameters())[-1]
        assert any(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in below), name
        assert above[1].grad is None or not above[1].grad.any(), above[0]


def test_scores_in_training_are_those_of_the_pass_itself(tmp_path):
    """DeBERTa drops out relative positions: a second drawing would show other scores than the softmax read."""
    model = load_encoder(save_family("deberta-v2", tmp_path, hidden_dropout_prob=0.5, attention_probs_dropout_prob=0.0)).train()
    module = model.layers[0].attention.self
    field, seen = Field("attention_scores", 1), []
    prepare_inside(model.network, [field])
    module.dropout.register_forward_hook(lambda part, inputs, output: seen.append(inputs[0]))
    ids = torch.tensor([[5, 9, 10, 11, 12, 6]])
    output = model(input_ids=ids, attention_mask=torch.ones_like(ids), reads=[field])
    torch.testing.assert_close(output[field].softmax(-1), seen[0], atol=1e-5, rtol=0)


def test_nothing_is_left_behind(tmp_path):
    """Hooks and what stands before a method are gone after a pass, also after one that fails."""
    model = load_encoder(save_family("deberta-v2", tmp_path))
    before = [(dict(module._forward_hooks), set(vars(module))) for module in model.modules()]
    prepare_inside(model.network, [Field("keys", 1)])
    ids = torch.tensor([[5, 9, 6]])
    model(input_ids=ids, attention_mask=torch.ones_like(ids), reads=[Field("keys", 1)])
    with pytest.raises(IndexError):
        model(input_ids=ids + 10**6, attention_mask=torch.ones_like(ids), reads=[Field("keys", 1)])
    assert [(dict(module._forward_hooks), set(vars(module))) for module in model.modules()] == before


@torch.no_grad()
def test_heads_that_share_keys_and_values_each_show_them(tmp_path):
    model = load_encoder(save_family("eurobert", tmp_path))
    prepare_inside(model.network, wanted(1))
    ids = torch.tensor([[5, 9, 10, 6]])
    output = model(input_ids=ids, attention_mask=torch.ones_like(ids), reads=wanted(1))
    for name in ("keys", "values"):
        first, second = output[Field(name, 1)].chunk(2, dim=-1)
        assert torch.equal(first, second) and first.shape == (1, 4, WIDTH)
