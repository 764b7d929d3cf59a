"""The BiLSTM network: against torch's packed bidirectional LSTM, padding, the two sides of a pair, its table, saving and loading."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModel, AutoModelForSequenceClassification

from potstill.errors import PotstillError
from potstill.models.bilstm import BiLSTMConfig, BiLSTMForSequenceClassification, BiLSTMModel
from potstill.models.loading import load_encoder
from potstill.models.output import LOGITS, POOLED, Field
from potstill.student.bilstm import build_bilstm

SIZES = {"vocab_size": 40, "hidden_size": 12, "embedding_size": 7, "dense_size": 5, "num_hidden_layers": 2, "num_labels": 3}
STUDENT = {"layers": 2, "width": 6, "embedding": 8, "table": "pca", "dense": 5, "activation": "relu"}
REST = {"pooling": "max", "normalize": True, "max_length": 32, "seed": 3}


def batch(lengths, columns, seed=0):
    """Ids with garbage at padding, and the mask."""
    random = torch.Generator().manual_seed(seed)
    ids, mask = torch.randint(3, 40, (len(lengths), columns), generator=random), torch.zeros(len(lengths), columns, dtype=torch.int64)
    for row, length in enumerate(lengths):
        mask[row, :length] = 1
    return ids, mask


def student(tiny_encoder_dir, kind="classification", pairs=False, **changes):
    labels = ["no", "yes"] if kind == "classification" else []
    return build_bilstm(load_encoder(tiny_encoder_dir), kind=kind, labels=labels, pairs=pairs, **(STUDENT | REST | changes)).eval()


@torch.no_grad()
def test_both_directions_are_those_of_torchs_packed_bidirectional_lstm():
    torch.manual_seed(0)
    network = BiLSTMModel(BiLSTMConfig(**SIZES)).eval()
    whole = nn.LSTM(7, 6, num_layers=2, bidirectional=True, batch_first=True)
    for number, layer in enumerate(network.layer):
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            nn.init.normal_(getattr(layer.forward_lstm, f"{name}_l0"))
            nn.init.normal_(getattr(layer.backward_lstm, f"{name}_l0"))
            getattr(whole, f"{name}_l{number}").copy_(getattr(layer.forward_lstm, f"{name}_l0"))
            getattr(whole, f"{name}_l{number}_reverse").copy_(getattr(layer.backward_lstm, f"{name}_l0"))
    lengths = [6, 2, 4, 1]
    ids, mask = batch(lengths, 6)
    packed = nn.utils.rnn.pack_padded_sequence(network.embeddings(ids), torch.tensor(lengths), batch_first=True, enforce_sorted=False)
    expected, _ = nn.utils.rnn.pad_packed_sequence(whole(packed)[0], batch_first=True)
    output = network(ids, mask, output_hidden_states=True)
    torch.testing.assert_close(output.last_hidden_state, expected)
    assert [tuple(states.shape) for states in output.hidden_states] == [(4, 6, 7), (4, 6, 12), (4, 6, 12)]


@torch.no_grad()
@pytest.mark.parametrize("siamese", [False, True])
def test_padding_changes_nothing(siamese):
    torch.manual_seed(0)
    network = BiLSTMForSequenceClassification(BiLSTMConfig(**SIZES, siamese=siamese)).eval()
    ids, mask = batch([6, 3, 5], 6)
    types = mask * (torch.arange(6) >= 2)
    found = network(ids, mask, types).logits
    for row, length in enumerate([6, 3, 5]):
        alone = network(ids[row : row + 1, :length], mask[row : row + 1, :length], types[row : row + 1, :length]).logits
        torch.testing.assert_close(found[row : row + 1], alone)
    garbage = torch.cat([ids, torch.full((3, 4), 9)], dim=1)
    more = network(garbage, nn.functional.pad(mask, (0, 4)), nn.functional.pad(types, (0, 4), value=1)).logits
    torch.testing.assert_close(found, more)


@torch.no_grad()
def test_a_pair_is_each_text_by_itself_and_their_difference_and_product(tiny_encoder_dir):
    model = student(tiny_encoder_dir, pairs=True)
    seen = []
    model.network.dense.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    alone = build_bilstm(load_encoder(tiny_encoder_dir), kind="embed", labels=[], pairs=False, **(STUDENT | REST | {"normalize": False}))
    alone.eval().network.load_state_dict(model.backbone.state_dict())
    texts = ["the river", "a village and an owl 9", "x"]
    vectors = torch.from_numpy(alone.encode(texts))
    for a, b in ((0, 1), (1, 0), (2, 1), (0, 0)):
        seen.clear()
        model.predict([(texts[a], texts[b])])
        u, v = vectors[a], vectors[b]
        # The second text has no [CLS] of its own in the row; it is read as if it had.
        torch.testing.assert_close(seen[0][0], torch.cat([u, v, (u - v).abs(), u * v]))


@torch.no_grad()
def test_tokens_of_a_pair_keep_their_places(tiny_encoder_dir):
    model = student(tiny_encoder_dir, pairs=True)
    encoded = model.tokenizer.encode("the river", "a village")
    ids, types = torch.tensor([encoded.ids]), torch.tensor([encoded.type_ids])
    mask = torch.ones_like(ids)
    states = model(ids, mask, types, reads=[Field("hidden_states", 2)])[Field("hidden_states", 2)][0]
    for text, wanted in (("the river", 0), ("a village", 1)):
        own = torch.tensor([model.tokenizer.encode(text).ids])
        expected = model(own, torch.ones_like(own), reads=[Field("hidden_states", 2)])[Field("hidden_states", 2)][0]
        torch.testing.assert_close(states[types[0] == wanted], expected[wanted:])  # all but its [CLS] of the second text


@torch.no_grad()
def test_a_single_text_and_an_empty_second_one_have_an_answer(tiny_encoder_dir):
    model = student(tiny_encoder_dir, pairs=True)
    ids = torch.tensor([model.tokenizer.encode("the river").ids])
    mask = torch.ones_like(ids)
    untold, told = (model(ids, mask, types).logits for types in (None, torch.zeros_like(ids)))
    assert untold.isfinite().all()
    torch.testing.assert_close(untold, told)


@torch.no_grad()
def test_pooled_is_what_the_output_layer_reads(tiny_encoder_dir, tiny_head_dirs):
    for model in (student(tiny_encoder_dir), load_encoder(tiny_head_dirs["classification"]), load_encoder(tiny_head_dirs["regression"])):
        ids = torch.tensor([model.tokenizer.encode("the river").ids])
        output = model(ids, torch.ones_like(ids), reads=[POOLED, LOGITS])
        layer = model.network.classifier
        torch.testing.assert_close(layer(output[POOLED]), output.logits)
        assert not layer._forward_pre_hooks
    bert = load_encoder(tiny_head_dirs["classification"])
    torch.testing.assert_close(bert(ids, ids * 0 + 1, reads=[POOLED])[POOLED], bert.backbone(ids, ids * 0 + 1).pooler_output)


def test_the_table_is_the_sources_along_its_main_axes(tiny_encoder_dir):
    model, source = student(tiny_encoder_dir), load_encoder(tiny_encoder_dir)
    table = model.backbone.get_input_embeddings().weight.detach()
    vectors = source.backbone.get_input_embeddings().weight.detach().double()
    left, lengths, _ = torch.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
    wanted = (left * lengths)[:, :8]  # the axes of greatest variance, each up to its sign
    wanted = (wanted * (wanted * table).sum(0).sign()).float()
    cosine = torch.nn.functional.cosine_similarity(table[1:].flatten(), wanted[1:].flatten(), dim=0)
    assert cosine.item() == pytest.approx(1, abs=1e-6) and not table[0].any() and table.std().item() == pytest.approx(0.2, rel=0.05)
    with pytest.raises(PotstillError, match=r"32 dimensions, and 33 are asked"):
        student(tiny_encoder_dir, embedding=33)
    assert student(tiny_encoder_dir, embedding=33, table="random").backbone.config.embedding_size == 33


@pytest.mark.parametrize(("kind", "pairs"), [("classification", True), ("classification", False), ("embed", False)])
def test_saved_and_loaded_it_says_the_same(kind, pairs, tiny_encoder_dir, tmp_path):
    model = student(tiny_encoder_dir, kind, pairs)
    model.save(tmp_path / "saved")
    again = load_encoder(tmp_path / "saved")
    assert (again.head, again.labels, again.max_length) == (kind, model.labels, 32)
    assert again.pooling == "max" or kind != "embed"
    texts = [("the river", "a"), ("x", "a village")] if pairs else ["the river", "x"]
    first, second = (one.encode(texts) if kind == "embed" else one.predict(texts) for one in (model, again))
    assert (first == second).all()
    assert not list((tmp_path / "saved").glob("*.py")) and (tmp_path / "saved" / "model.safetensors").is_file()
    assert again.reads_types == pairs
    sizes = 2 * (4 * 6 * (8 + 6) + 8 * 6) + 2 * (4 * 6 * (12 + 6) + 8 * 6)
    head = 0 if kind == "embed" else (4 if pairs else 1) * 12 * 5 + 5 + 2 * 5 + 2
    assert model.parameter_counts() == (model.network.config.vocab_size * 8, sizes + head)


def renamed(network: nn.Module, forwards: str, backwards: str) -> dict[str, torch.Tensor]:
    """A network's weights with both directions under other names."""
    names = (("forward_lstm", forwards), ("backward_lstm", backwards))
    state = network.state_dict()
    for ours, other in names:
        state = {name.replace(f".{ours}.", f".{other}."): values for name, values in state.items()}
    return state


@pytest.mark.parametrize("kind", [BiLSTMModel, BiLSTMForSequenceClassification])
def test_both_directions_have_the_names_of_the_first_folders_in_files(kind, tmp_path):
    torch.manual_seed(0)
    network = kind(BiLSTMConfig(**SIZES))
    expected = network.state_dict()
    network.save_pretrained(tmp_path / "saved")
    saved = load_file(tmp_path / "saved" / "model.safetensors")
    assert saved.keys() == renamed(network, "ahead", "back").keys() != expected.keys()
    again, report = kind.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not any(report.values())  # nothing is missing, left over or of another size
    assert all(torch.equal(values, expected[name]) for name, values in again.state_dict().items())
    again.save_pretrained(tmp_path / "again")
    assert load_file(tmp_path / "again" / "model.safetensors").keys() == saved.keys()


def test_a_backbone_and_a_classifier_load_each_others_folders(tmp_path):
    torch.manual_seed(0)
    whole = BiLSTMForSequenceClassification(BiLSTMConfig(**SIZES))
    whole.save_pretrained(tmp_path / "whole")
    whole.bilstm.save_pretrained(tmp_path / "inside")
    for found in (
        AutoModel.from_pretrained(tmp_path / "whole"),
        AutoModelForSequenceClassification.from_pretrained(tmp_path / "inside").bilstm,
    ):
        assert all(torch.equal(values, whole.bilstm.state_dict()[name]) for name, values in found.state_dict().items())


@pytest.mark.parametrize("names", [("ahead", "back"), ("forward_lstm", "backward_lstm")])
def test_a_checkpoint_loads_under_both_names_of_the_directions(names):
    torch.manual_seed(0)
    first, second = (BiLSTMForSequenceClassification(BiLSTMConfig(**SIZES)) for _ in range(2))
    state = renamed(first, *names)
    before = list(state)
    second.load_state_dict(state)
    assert all(torch.equal(values, first.state_dict()[name]) for name, values in second.state_dict().items())
    assert list(state) == before


def test_a_recipes_dropout_falls_once_behind_the_table(tiny_encoder_dir):
    model = student(tiny_encoder_dir, table="random")
    model.set_dropout(0.5)
    read = []
    for layer in model.layers:
        layer.forward_lstm.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))
    ids, mask = batch([20] * 64, 20)
    model.train()(ids, mask)
    for values in read:  # twice would leave a quarter
        assert 0.45 < (values != 0).float().mean() < 0.55


def test_the_same_seed_draws_the_same_student(tiny_encoder_dir):
    first, again, other = (student(tiny_encoder_dir, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["network.dense.weight"], other["network.dense.weight"])


def test_what_it_cannot_be(tiny_encoder_dir):
    with pytest.raises(PotstillError, match="no head for tagging"):
        student(tiny_encoder_dir, "tagging")
    source = load_encoder(tiny_encoder_dir)
    from tokenizers import processors

    source.tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    with pytest.raises(PotstillError, match="does not tell the texts of a pair apart"):
        build_bilstm(source, kind="classification", labels=["no", "yes"], pairs=True, **STUDENT, **REST)
