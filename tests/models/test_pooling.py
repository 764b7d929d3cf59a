"""Poolings against the worked examples and loops, and their way into sentence-transformers and ONNX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from onnxruntime import InferenceSession

from potstill.deploy.onnx import export_onnx
from potstill.errors import PotstillError
from potstill.models.encoder import EncoderModel
from potstill.models.loading import load_encoder
from potstill.models.pooling import CLS_POOLER, MODES, POOLINGS, check_pooling, describe, pooling_named
from potstill.runtime.encoder import Encoder
from potstill.student.transformer import cut_student

TEXTS = ["the river and the village", "a", "one line of a longer text about rivers, villages and the road between them"]
# Two real tokens and one of padding, three layers above the embedding output.
STATES = [
    torch.tensor([[*layer, [9.0, 9.0]]])
    for layer in (
        [[1.0, 0.0], [3.0, 2.0]],
        [[2.0, 2.0], [4.0, 0.0]],
        [[0.0, 1.0], [2.0, 5.0]],
        [[1.0, 1.0], [5.0, 3.0]],
    )
]
MASK = torch.tensor([[1, 1, 0]])


def _pool(name: str) -> list[float]:
    pooling = pooling_named(name)
    return pooling([STATES[number] for number in pooling.numbers(3)], MASK)[0].tolist()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # The layers' means over both real tokens are [2, 1], [3, 1], [1, 3] and [3, 2], the embedding output's first.
        ("mean", [3, 2]),  # layer 3
        ("max", [5, 3]),  # layer 3
        ("mean_second_to_last", [1, 3]),  # layer 2
        ("mean_first_last", [2.5, 1.5]),  # layers 0 and 3
        ("mean_layer1_last", [3, 1.5]),  # layers 1 and 3
        ("mean_last_two", [2, 2.5]),  # layers 2 and 3
        ("mean_all", [2.25, 1.75]),  # layers 0 to 3
        ("mean_all_layers", [7 / 3, 2]),  # layers 1 to 3
        ("max_last_two", [5, 5]),  # the first number from layer 3, the second from layer 2
        ("concat_last_two", [1, 3, 3, 2]),  # layer 2, then layer 3
        ("cls", [1, 1]),  # layer 3
        ("mean_sqrt_len_tokens", [6 / 2**0.5, 4 / 2**0.5]),  # layer 3
        ("weightedmean", [11 / 3, 7 / 3]),  # layer 3, the second token twice
        ("lasttoken", [5, 3]),  # layer 3
        ("lasttoken+cls+mean", [5, 3, 1, 1, 3, 2]),  # layer 3, one after the other
        ("weighted", [2.25, 1.75]),  # without weights all layers count the same
    ],
)
def test_worked_examples(name: str, expected: list[float]) -> None:
    assert _pool(name) == pytest.approx(expected)


def test_against_plain_loops() -> None:
    torch.manual_seed(0)
    tokens, mask = torch.randn(3, 4, 2) - 5, torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])
    found = {name: POOLINGS[name]([tokens], mask) for name in MODES}
    for row in range(3):
        real = [tokens[row, i] for i in range(4) if mask[row, i]]
        torch.testing.assert_close(found["mean"][row], torch.stack(real).sum(0) / len(real))
        torch.testing.assert_close(found["max"][row], torch.tensor([max(float(token[d]) for token in real) for d in range(2)]))
        torch.testing.assert_close(found["cls"][row], real[0])
        torch.testing.assert_close(found["lasttoken"][row], real[-1])
        torch.testing.assert_close(found["mean_sqrt_len_tokens"][row], torch.stack(real).sum(0) / len(real) ** 0.5)
        by_place = sum((place * token for place, token in enumerate(real, start=1)), torch.zeros(2))
        torch.testing.assert_close(found["weightedmean"][row], by_place / sum(range(1, len(real) + 1)))


def test_a_text_without_a_token_has_no_number_that_is_none() -> None:
    for name in MODES:
        found = POOLINGS[name]([torch.randn(1, 3, 2)], torch.zeros(1, 3, dtype=torch.int64))
        assert found.isfinite().all(), name


def test_weights_weigh() -> None:
    pooling = pooling_named("weighted")
    found = pooling(STATES, MASK, torch.tensor([0.0, 1.0, 0.0, 3.0]))[0]
    means = [torch.tensor([3.0, 1.0]), torch.tensor([3.0, 2.0])]  # of h_1 and h_3
    torch.testing.assert_close(found, (means[0] + 3 * means[1]) / 4)


@pytest.mark.parametrize("name", ["concat_last_four", "mean_last_four", "max_last_four"])
def test_more_layers_than_there_are(name: str) -> None:
    with pytest.raises(PotstillError, match="needs 4 layers, and the model has 3"):
        check_pooling(name, 3)
    check_pooling(name, 4)
    check_pooling(name, None)


def test_one_layer_has_none_before_it() -> None:
    for name in ("mean_second_to_last", "mean_last_two", "mean_layer1_last"):
        with pytest.raises(PotstillError, match="needs 2 layers"):
            check_pooling(name, 1)
    check_pooling("mean_first_last", 1)


def test_unknown_name() -> None:
    with pytest.raises(PotstillError, match="did you mean 'mean_last_two'"):
        check_pooling("mean_last2", 6)
    for name in ("mean+median", "mean+", "mean+mean_last_two"):  # only modes of one layer may stand beside each other
        with pytest.raises(PotstillError, match="unknown pooling"):
            check_pooling(name, 6)


def test_every_name_is_described() -> None:
    assert set(describe()) == {*POOLINGS, CLS_POOLER}


def _tiny(folder: Path, pooling: str, kind: str = "bert") -> EncoderModel:
    source = load_encoder(folder)
    if kind == "distilbert":
        from transformers import DistilBertConfig, DistilBertModel

        torch.manual_seed(1)
        config = DistilBertConfig(
            vocab_size=source.network.config.vocab_size, dim=32, n_layers=4, n_heads=4, hidden_dim=64, max_position_embeddings=64
        )
        model = EncoderModel(DistilBertModel(config), source.hf_tokenizer, pooling=pooling, max_length=32).eval()
    else:
        model = cut_student(source, [1, 2, 3, 4], pooling=pooling, normalize=True, max_length=32).eval()
    if pooling == "weighted":
        with torch.no_grad():
            model.layer_weights.copy_(torch.arange(1.0, 6.0))
    return model


@pytest.mark.parametrize(
    ("pooling", "kind"),
    [
        *((pooling, "bert") for pooling in ("mean", "cls", CLS_POOLER, "max_second_to_last", "mean_first_last", "mean_layer1_last")),
        *((pooling, "bert") for pooling in ("mean_all", "mean_last_four", "weighted", "max_all", "concat_last_four")),
        *((pooling, "distilbert") for pooling in ("mean_first_last", "max_last_two")),
    ],
)
def test_the_saved_folder_gives_the_same_vectors(pooling: str, kind: str, tiny_encoder_dir: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    model = _tiny(tiny_encoder_dir, pooling, kind)
    expected = model.encode(TEXTS)
    assert expected.shape == (3, model.dimension)
    model.save(tmp_path / "saved")
    again = load_encoder(tmp_path / "saved")
    assert (again.pooling, again.normalize, again.max_length) == (model.pooling, model.normalize, model.max_length)
    np.testing.assert_array_equal(again.encode(TEXTS), expected)
    # Where sentence-transformers has no module of its own, it wants a word before it takes the installed one of this package.
    ours_needed = pooling.startswith("concat") or (pooling.startswith("max_") and pooling != "max_second_to_last")
    theirs = SentenceTransformer(str(tmp_path / "saved"), device="cpu", trust_remote_code=ours_needed)
    vectors = theirs.encode(TEXTS)
    assert vectors.shape[1] == model.dimension
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    again.save(tmp_path / "twice")  # a saved layout can be saved again
    assert load_encoder(tmp_path / "twice").pooling == model.pooling


def test_a_distilbert_has_no_pooler(tiny_encoder_dir: Path) -> None:
    with pytest.raises(PotstillError, match="distilbert has no pooler"):
        _tiny(tiny_encoder_dir, CLS_POOLER, "distilbert")


@pytest.mark.parametrize("pooling", ["max_last_two", "concat_last_four"])
def test_the_pooling_is_in_the_exported_graph(pooling: str, tiny_encoder_dir: Path, tmp_path: Path) -> None:
    model = _tiny(tiny_encoder_dir, pooling)
    export_onnx(model, tmp_path / "onnx", TEXTS)
    encoder = Encoder(tmp_path / "onnx", precision="fp32")
    assert encoder.dimension == model.dimension
    np.testing.assert_allclose(encoder.encode(TEXTS), model.encode(TEXTS), atol=1e-5)
    # Whoever pools the last layer himself would have another vector.
    assert [output.name for output in InferenceSession(str(encoder.file)).get_outputs()] == ["sentence_embedding"]


def test_padding_does_not_reach_a_vector(tiny_encoder_dir: Path) -> None:
    for pooling in ("max_all", "concat_last_four", "mean_first_last"):
        model = _tiny(tiny_encoder_dir, pooling)
        alone = np.concatenate([model.encode([text]) for text in TEXTS])
        np.testing.assert_allclose(model.encode(TEXTS), alone, atol=1e-6)


def test_what_another_library_saved(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    """WeightedLayerPooling as sentence-transformers writes it: layers from `layer_start` on, weights of its own."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer, WeightedLayerPooling

    words = Transformer(str(tiny_encoder_dir), config_kwargs={"output_hidden_states": True})
    weighted = WeightedLayerPooling(32, num_hidden_layers=4, layer_start=2)
    with torch.no_grad():
        weighted.layer_weights.copy_(torch.tensor([1.0, 2.0, 3.0]))
    theirs = SentenceTransformer(modules=[words, weighted, Pooling(32)], device="cpu")
    theirs.save(str(tmp_path / "theirs"))
    ours = load_encoder(tmp_path / "theirs")
    assert ours.pooling == "weighted"
    np.testing.assert_allclose(ours.encode(TEXTS), theirs.encode(TEXTS), atol=1e-5)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_a_saved_pooling_is_read_again_at_every_depth(layers: int, tiny_encoder_dir: Path, tmp_path: Path) -> None:
    """The same hidden states have several names in a shallow model, and some names are not allowed there."""
    source = load_encoder(tiny_encoder_dir)
    for name, pooling in POOLINGS.items():
        try:
            pooling.numbers(layers)
        except PotstillError:
            with pytest.raises(PotstillError, match="layers, and the model has"):
                cut_student(source, list(range(1, layers + 1)), pooling=name)
            continue
        model = cut_student(source, list(range(1, layers + 1)), pooling=name).eval()
        model.save(tmp_path / name)
        np.testing.assert_allclose(load_encoder(tmp_path / name).encode(TEXTS), model.encode(TEXTS), atol=1e-6)


@pytest.mark.parametrize("pooling", [CLS_POOLER, "weighted"])
def test_a_whole_cut_gives_the_vectors_of_its_source(pooling: str, tiny_encoder_dir: Path) -> None:
    source = _tiny(tiny_encoder_dir, pooling)
    same = cut_student(source, [1, 2, 3, 4], max_length=32).eval()
    np.testing.assert_array_equal(same.encode(TEXTS), source.encode(TEXTS))
    assert cut_student(source, [1, 4]).encode(TEXTS).shape == (3, 32)  # other weights of other layers


def test_a_pooler_that_was_not_saved_is_none(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    load_encoder(tiny_encoder_dir, head="mlm").save(tmp_path / "mlm")  # a language model has no pooler
    with pytest.raises(PotstillError, match="pooler"):
        load_encoder(tmp_path / "mlm", pooling=CLS_POOLER)
