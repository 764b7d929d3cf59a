"""Loading: folders of other libraries, their length limits, and what cannot be loaded."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from potstill.errors import PotstillError, PotstillWarning
from potstill.models.loading import load_encoder, position_limit

TEXTS = ["the river", "a", "villages and rivers, singing of the things that were there before; " * 9, "", "the end"]


def test_a_dense_module_is_read_and_applied(tiny_encoder_dir, tmp_path):
    from sentence_transformers import SentenceTransformer

    folder = tmp_path / "dense"
    shutil.copytree(tiny_encoder_dir, folder)
    modules = json.loads((folder / "modules.json").read_text())
    modules.insert(2, {"idx": 9, "name": "9", "path": "2_Dense", "type": "sentence_transformers.models.Dense"})
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "2_Dense").mkdir()
    config = {"in_features": 32, "out_features": 8, "bias": True, "activation_function": "torch.nn.modules.activation.Tanh"}
    (folder / "2_Dense" / "config.json").write_text(json.dumps(config))
    torch.manual_seed(1)
    save_file({"linear.weight": torch.randn(8, 32), "linear.bias": torch.randn(8)}, folder / "2_Dense" / "model.safetensors")
    model = load_encoder(folder)
    assert model.dimension == 8
    np.testing.assert_allclose(model.encode(TEXTS), SentenceTransformer(str(folder)).encode(TEXTS), atol=1e-5)
    model.save(tmp_path / "saved")
    np.testing.assert_allclose(load_encoder(tmp_path / "saved").encode(TEXTS), model.encode(TEXTS), atol=1e-6)


def broken(source: Path, folder: Path) -> Path:
    shutil.copytree(source, folder)
    return folder


def test_folders_that_cannot_be_loaded_say_why(tiny_encoder_dir, tmp_path):
    without_tokenizer = broken(tiny_encoder_dir, tmp_path / "a")
    (without_tokenizer / "tokenizer.json").unlink()
    pickled = broken(tiny_encoder_dir, tmp_path / "b")
    torch.save(load_file(pickled / "model.safetensors"), pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    cut_off = broken(tiny_encoder_dir, tmp_path / "c")
    (cut_off / "model.safetensors").write_bytes((cut_off / "model.safetensors").read_bytes()[:1000])
    unknown = broken(tiny_encoder_dir, tmp_path / "d")
    (unknown / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.CNN", "path": ""}]))
    (tmp_path / "e").mkdir()
    for folder, words in [
        (without_tokenizer, "no tokenizer"),
        (pickled, "only pickled weights"),
        (cut_off, "model.safetensors: cannot be read"),
        (unknown, "'CNN' is not supported"),
        (tmp_path / "e", "no config.json"),
        (tmp_path / "nowhere", "no such folder"),
    ]:
        with pytest.raises(PotstillError, match=words) as caught:
            load_encoder(folder)
        assert len(str(caught.value).splitlines()) == 1


def test_a_hub_name_without_a_network_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(PotstillError, match="the hub cannot be reached"):
        load_encoder("nobody/such-a-model-exists")


def changed(source: Path, folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]], **config: Any) -> Path:
    """A copy of a model's folder with other weights, and other values in its configuration."""
    shutil.copytree(source, folder)
    weights = change(load_file(folder / "model.safetensors"))
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | config))
    return folder


def under(prefix: str) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    return lambda weights: {prefix + name: tensor for name, tensor in weights.items()}


@pytest.mark.parametrize("prefix", ["0.auto_model.", "auto_model.", "model.", "module.", "_orig_mod.", "encoder.", "module.bert.", "bert."])
def test_what_a_wrapper_put_before_the_names_is_read_over(prefix, tiny_encoder_dir, tmp_path):
    folder = changed(tiny_encoder_dir, tmp_path / "wrapped", under(prefix))
    expected = load_encoder(tiny_encoder_dir).encode(TEXTS)
    model = load_encoder(folder)
    np.testing.assert_array_equal(model.encode(TEXTS), expected)
    model.save(tmp_path / "saved")  # under names that all know
    assert set(load_file(tmp_path / "saved" / "model.safetensors")) == set(load_file(tiny_encoder_dir / "model.safetensors"))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_a_wrapped_head_is_read_too(prefix, tiny_teachers, tmp_path):
    for kind in ("classification", "tagging"):
        texts = [["the", "river"]] if kind == "tagging" else ["the river"]
        found = load_encoder(changed(tiny_teachers[kind], tmp_path / kind, under(prefix))).predict(texts)
        np.testing.assert_array_equal(np.concatenate(found), np.concatenate(load_encoder(tiny_teachers[kind]).predict(texts)))


def without(*words: str) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    return lambda weights: {name: tensor for name, tensor in weights.items() if not any(word in name for word in words)}


def deeper(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return weights | {name.replace("layer.3.", "layer.4."): tensor.clone() for name, tensor in weights.items() if "layer.3." in name}


def broken_number(value: float) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    def change(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        weights["encoder.layer.1.output.dense.weight"][0, 3] = value
        return weights

    return change


def same(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return weights


NOT_ITS_OWN = {
    # half of the layers
    "half": (without("layer.2.", "layer.3."), {}, "lacks 32 tensors of a BertModel: encoder.layer.2.attention"),
    # nothing of it
    "nothing": (lambda weights: {"x": next(iter(weights.values()))}, {}, "lacks 69 tensors of a BertModel: .* begins with x"),
    # a wrapper's name that stands for another family's encoder
    "another family": (under("roberta."), {}, "lacks 69 tensors of a BertModel"),
    # the same weights under another name of a model
    "another model": (
        same,
        {"model_type": "distilbert", "architectures": ["DistilBertModel"]},
        "lacks [0-9]+ tensors of a DistilBertModel",
    ),
    # one matrix
    "one": (without("layer.1.output.dense.weight"), {}, "lacks 1 tensor of a BertModel: encoder.layer.1.output.dense.weight"),
    # a layer that the configuration does not know
    "one layer more": (deeper, {}, "holds 16 tensors of which config.json's BertModel has none: encoder.layer.4.attention"),
    "one layer fewer in the configuration": (same, {"num_hidden_layers": 3}, "holds 16 tensors of which .*: encoder.layer.3.attention"),
    # a token table of another size, smaller and larger
    "fewer rows": (
        same,
        {"vocab_size": 100},
        r"embeddings.word_embeddings.weight is \[146, 32\] in the weights, and .* makes it \[100, 32\]",
    ),
    "more rows": (same, {"vocab_size": 200}, r"makes it \[200, 32\]"),
    # fewer positions
    "fewer positions": (same, {"max_position_embeddings": 64}, r"embeddings.position_embeddings.weight is \[128, 32\] in the weights"),
    # numbers that are none
    "NaN": (broken_number(float("nan")), {}, "encoder.layer.1.output.dense.weight has 1 of 2048 numbers that are NaN or infinite"),
    "infinity": (broken_number(float("inf")), {}, "encoder.layer.1.output.dense.weight has 1 of 2048 numbers"),
    # whole numbers, which only their scales would give a meaning
    "quantised": (
        lambda weights: weights | {"encoder.layer.0.output.dense.weight": torch.zeros(32, 64, dtype=torch.int8)},
        {},
        "holds encoder.layer.0.output.dense.weight as I8: it is quantised",
    ),
    # sizes for which no machine has memory: known before it is asked for
    "a table of 10^12 rows": (same, {"vocab_size": 10**12}, "config.json: asks for 32,"),
    "a million layers": (same, {"num_hidden_layers": 10**6}, "config.json: has 1000000 layers, and the weights are 71 tensors"),
}


@pytest.mark.parametrize("case", NOT_ITS_OWN)
def test_weights_that_are_not_the_network_s_are_refused(case, tiny_encoder_dir, tmp_path):
    change, config, words = NOT_ITS_OWN[case]
    with pytest.raises(PotstillError, match=words) as caught:
        load_encoder(changed(tiny_encoder_dir, tmp_path / "folder", change, **config))
    assert len(str(caught.value)) < 500


def test_a_pooler_and_buffers_alone_may_be_missing(tiny_encoder_dir, tmp_path):
    expected = load_encoder(tiny_encoder_dir).encode(TEXTS)
    bare = changed(tiny_encoder_dir, tmp_path / "bare", without("pooler"))
    np.testing.assert_array_equal(load_encoder(bare).encode(TEXTS), expected)
    # Where it is what makes the vectors, it may not.
    with pytest.raises(PotstillError, match="lacks 2 tensors of a BertModel: pooler.dense.bias, pooler.dense.weight"):
        load_encoder(bare, pooling="cls_pooler")
    older = changed(
        tiny_encoder_dir, tmp_path / "older", lambda weights: weights | {"embeddings.position_ids": torch.arange(128)[None].contiguous()}
    )
    np.testing.assert_array_equal(load_encoder(older).encode(TEXTS), expected)


def test_heads_that_nobody_asks_for_are_left_out_without_a_word(tiny_encoder_dir, tmp_path, recwarn):
    def headed(weights):
        return {f"bert.{name}": tensor for name, tensor in weights.items()} | {
            "cls.predictions.bias": torch.zeros(146),
            "cls.seq_relationship.weight": torch.zeros(2, 32),
            "qa_outputs.weight": torch.zeros(2, 32),
        }

    expected = load_encoder(tiny_encoder_dir).encode(TEXTS)
    np.testing.assert_array_equal(load_encoder(changed(tiny_encoder_dir, tmp_path / "a", headed)).encode(TEXTS), expected)
    assert not [one for one in recwarn if issubclass(one.category, PotstillWarning)]
    stranger = changed(tiny_encoder_dir, tmp_path / "b", lambda weights: weights | {"2.linear.weight": torch.zeros(2, 32)})
    with pytest.warns(PotstillWarning, match="holds 1 tensor that nothing reads: 2.linear.weight"):
        load_encoder(stranger)


@pytest.mark.parametrize("kind", ["classification", "tagging", "regression", "mlm"])
def test_a_head_that_the_folder_says_it_has_is_there(kind, tiny_teachers, tmp_path):
    head = "cls.predictions.transform" if kind == "mlm" else "classifier"
    bare = changed(tiny_teachers[kind], tmp_path / "bare", without(head))
    with pytest.raises(PotstillError, match=f"lacks [0-9] tensors of a BertFor[A-Za-z]+: {head}"):
        load_encoder(bare, head="mlm" if kind == "mlm" else None)
    table = changed(tiny_teachers[kind], tmp_path / "table", same, vocab_size=200)
    with pytest.raises(PotstillError, match=r"bert.embeddings.word_embeddings.weight is \[146, 32\] in the weights"):
        load_encoder(table, head="mlm" if kind == "mlm" else None)
    with pytest.raises(PotstillError, match=r"bert.embeddings.word_embeddings.weight is \[146, 32\] in the weights"):
        load_encoder(table, head="classification", labels=["a", "b", "c"])  # nor under a head that is made anew
    # To an encoder, and under another head, it is all the same.
    assert load_encoder(bare, head="embed").encode(TEXTS).shape == (5, 32)
    assert load_encoder(bare, head="classification", labels=["a", "b", "c", "d"]).predict(TEXTS).shape == (5, 4)


def test_two_families_in_one_configuration_are_told(tiny_encoder_dir, tmp_path, recwarn):
    """All of a BERT's weights fit a RoBERTa."""
    load_encoder(tiny_encoder_dir)
    assert not [one for one in recwarn if issubclass(one.category, PotstillWarning)]
    folder = changed(tiny_encoder_dir, tmp_path / "folder", same, model_type="roberta")
    with pytest.warns(PotstillWarning, match="config.json: architectures names a BertModel, and model_type roberta, as which it is read"):
        load_encoder(folder)


def test_weights_in_several_files(tiny_encoder_dir, tmp_path):
    whole = load_encoder(tiny_encoder_dir)
    folder = broken(tiny_encoder_dir, tmp_path / "folder")
    (folder / "model.safetensors").unlink()
    whole.network.save_pretrained(folder, max_shard_size="60KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    np.testing.assert_array_equal(load_encoder(folder).encode(TEXTS), whole.encode(TEXTS))
    sorted(folder.glob("*.safetensors"))[0].unlink()
    with pytest.raises(PotstillError, match="index.json: names 'model-00001-of-[0-9]+.safetensors', which is not in the folder"):
        load_encoder(folder)


def test_a_head_of_another_size_than_it_says_is_refused(tiny_teachers, tmp_path):
    three = changed(tiny_teachers["classification"], tmp_path / "three", same, id2label={"0": "a", "1": "b", "2": "c"})
    with pytest.raises(PotstillError, match=r"classifier.bias is \[2\] in the weights, and config.json makes it \[3\]"):
        load_encoder(three)
    assert load_encoder(three, head="classification", labels=["a", "b", "c", "d"]).predict(["the river"]).shape == (1, 4)


def test_a_tokenizer_of_more_pieces_than_the_table_has_rows(tiny_encoder_dir, tmp_path):
    import transformers

    for count, added in (("147", ["zzzproduct"]), ("148", ["zzzproduct", "zzzother"])):
        folder = broken(tiny_encoder_dir, tmp_path / count)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        tokenizer.add_tokens(added)
        tokenizer.save_pretrained(folder)
        with pytest.raises(PotstillError, match=f"the tokenizer has {count} pieces, and the token table 146 rows; call resize_token_embed"):
            load_encoder(folder)
    network = load_encoder(tiny_encoder_dir).network
    network.resize_token_embeddings(192)  # rows to spare, as a multiple of 64
    network.save_pretrained(folder)
    assert load_encoder(folder).encode(["zzzproduct"]).shape == (1, 32)


@pytest.mark.parametrize("own", ["<pad>", None])
def test_roberta_counts_positions_by_its_padding_also_where_the_configuration_is_silent(own, tmp_path):
    from helpers.families import save_family

    expected = load_encoder(save_family("roberta", tmp_path / "said")).encode(TEXTS)
    silent = changed(tmp_path / "said", tmp_path / "silent", same, pad_token_id=None)
    settings = json.loads((silent / "tokenizer_config.json").read_text())
    (silent / "tokenizer_config.json").write_text(json.dumps(settings | {"pad_token": own}))
    model = load_encoder(silent)
    assert model.pad_id == 1 and model.network.embeddings.padding_idx == 1
    np.testing.assert_allclose(model.encode(TEXTS), expected, atol=1e-6)


@pytest.mark.parametrize("padding", [-1, 146, 10**9])
def test_padding_that_is_no_piece_is_refused(padding, tiny_encoder_dir, tmp_path):
    with pytest.raises(PotstillError, match=f"config.json: pad_token_id is {padding}, and there are 146 pieces"):
        load_encoder(changed(tiny_encoder_dir, tmp_path / "folder", same, pad_token_id=padding))


@pytest.mark.parametrize(
    ("family", "changes", "words"),
    [
        ("t5", {}, "a t5 has a decoder beside its encoder; name an encoder alone"),
        ("nystromformer", {"segment_means_seq_len": 64}, "a NystromformerModel does not run on a text of 4 tokens .*; name another"),
        ("canine", {}, "has no tokenizer"),  # it reads characters
    ],
)
def test_networks_that_are_no_encoders_of_texts(family, changes, words, tmp_path):
    from helpers.families import save_family

    with pytest.raises(PotstillError, match=words):
        load_encoder(save_family(family, tmp_path / "model", **changes))


def test_a_tokenizer_that_fails_on_every_text_is_refused(tiny_encoder_dir, tmp_path):
    folder = broken(tiny_encoder_dir, tmp_path / "folder")
    content = json.loads((folder / "tokenizer.json").read_text())
    content["post_processor"]["special_tokens"].pop("[CLS]")  # which its template puts before a text: the library panics
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(PotstillError, match="tokenizer.json: cannot be read|tokenizer.json: fails on a text"):
        load_encoder(folder)
    content["post_processor"]["special_tokens"]["[CLS]"] = {"id": "[CLS]", "ids": [10**6], "tokens": ["[CLS]"]}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(PotstillError, match="tokenizer.json: puts the piece 1000000 around a text, and has 146"):
        load_encoder(folder)


VALUES: list[Any] = [None, "", "x", -1, 0, 1, 7, 10**12, 10**30, 1.5, float("inf"), True, False, [], ["a"], {}, {"0": "a"}, "\ud800"]


def within(content: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every value in a JSON file; of a long list or a vocabulary of some."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in list(items)[:20]:
        yield (*place, key)
        yield from within(value, (*place, key))


def mutate(folder: Path, draw: random.Random) -> str:
    """Break something in a model's folder, and say what."""
    file = folder / draw.choice(["config.json", "config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"])
    content = file.read_bytes()
    if file.suffix == ".safetensors" or draw.random() < 0.15:
        raw = bytearray(content)
        for _ in range(4):
            raw[draw.randrange(min(len(raw), 4000))] = draw.randrange(256)
        file.write_bytes(raw[: draw.choice([len(raw), draw.randrange(len(raw))])])
        return f"bytes of {file.name}"
    whole = json.loads(content)
    *above, last = draw.choice(list(within(whole)))
    part = whole
    for key in above:
        part = part[key]
    part[last] = value = draw.choice(VALUES)
    file.write_text(json.dumps(whole))
    return f"{file.name}: {above} {last} = {value!r}"


@pytest.mark.parametrize("kind", ["plain", "classification", "tagging", "roberta"])
def test_a_folder_with_anything_in_it_is_read_or_refused_in_one_line(kind, tiny_encoder_dir, tiny_teachers, tmp_path):
    from helpers.families import save_family

    source = save_family("roberta", tmp_path / "roberta") if kind == "roberta" else {"plain": tiny_encoder_dir, **tiny_teachers}[kind]
    refused = 0
    for number in range(75):
        folder = broken(source, tmp_path / str(number))
        what = mutate(folder, random.Random(number))
        try:
            model = load_encoder(folder)
            model.encode(["the river"]) if model.head == "embed" else model.predict([["the"]] if model.head == "tagging" else ["the"])
        except PotstillError as error:
            refused += 1
            assert len(str(error).splitlines()) == 1 and len(str(error)) < 600, what
        except Exception as error:
            raise AssertionError(f"{number}: {what}") from error
        shutil.rmtree(folder)
    assert 20 < refused < 75  # else nothing was broken, or nothing could be read


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("Bert", 40),  # every row of the table is a position
        ("Roberta", 38),  # positions count from padding's number + 1
        ("MPNet", 38),  # likewise
        ("Data2VecText", 38),  # and in all that are made like RoBERTa
        ("Longformer", 38),
    ],
)
def test_positions_that_padding_takes_are_no_positions(kind, expected):
    import transformers

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 20}
    config = getattr(transformers, f"{kind}Config")(**sizes, max_position_embeddings=40, pad_token_id=1)
    network = transformers.AutoModel.from_config(config).eval()
    assert position_limit(network) == expected
    with torch.no_grad():
        network(input_ids=torch.full((1, expected), 5))
    with pytest.raises((IndexError, RuntimeError)):
        network(input_ids=torch.full((1, expected + 1), 5))


def test_no_limit_where_positions_are_not_counted(tmp_path):
    from helpers.families import save_family

    folder = save_family("xlnet", tmp_path / "xlnet")
    model = load_encoder(folder, max_length=500)  # max_position_embeddings is -1
    assert model.max_length == 500 and np.isfinite(model.encode(["the river " * 200])).all()
