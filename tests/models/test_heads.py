"""Heads: made anew, saved and loaded so that transformers gives the same logits, and fed token types where a pair needs them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from potstill.errors import PotstillError
from potstill.models.encoder import EncoderModel
from potstill.models.heads import HEADS, saved_head, saved_kind, without_decoder
from potstill.models.loading import load_encoder
from potstill.models.output import LOGITS
from potstill.student.transformer import build_student, cut_student

LABELS = {"classification": ["no", "yes", "maybe"], "multilabel": ["red", "green"], "regression": [], "tagging": ["O", "B-PER"], "mlm": []}
TEXTS = ["the river", "a village and the rivers", ""]
WORDS = [["the", "river"], ["a", "village", "and", "rivers"]]
LIKE = {"pooling": "mean", "normalize": True, "max_length": 64}


def made(folder, kind: str, seed: int = 1) -> EncoderModel:
    model = load_encoder(folder, head=kind, labels=LABELS[kind], seed=seed)
    with torch.no_grad():  # else the tiny network answers all texts nearly alike
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "word_embeddings" not in name:
                parameter.mul_(4)
    return model


def logits(model: EncoderModel, kind: str) -> list[np.ndarray]:
    if kind != "mlm":
        return list(model.predict(WORDS if kind == "tagging" else TEXTS))
    batch = {"input_ids": torch.tensor([[2, 9, 4, 11, 3]]), "attention_mask": torch.ones(1, 5, dtype=torch.long)}
    with torch.no_grad():
        return [model.eval()(**batch, reads=[LOGITS]).logits[0].numpy()]


@pytest.mark.parametrize("kind", HEADS)
def test_saved_and_loaded_everywhere(kind, tiny_encoder_dir, tmp_path):
    import transformers

    model = made(tiny_encoder_dir, kind)
    model.save(tmp_path / "saved")
    assert not (tmp_path / "saved" / "modules.json").exists()  # it gives no vectors
    again = load_encoder(tmp_path / "saved", head="mlm" if kind == "mlm" else None)
    assert (again.head, again.labels, again.max_length) == (kind, LABELS[kind], 64)
    assert saved_head(tmp_path / "saved") == (kind, LABELS[kind]) and saved_kind(tmp_path / "saved") == ("embed" if kind == "mlm" else kind)
    for ours, theirs in zip(logits(again, kind), logits(model, kind), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)

    network = getattr(transformers, HEADS[kind][0]).from_pretrained(tmp_path / "saved").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert network.config.problem_type == HEADS[kind][1]
    if LABELS[kind]:
        assert [network.config.id2label[number] for number in range(len(LABELS[kind]))] == LABELS[kind]
        assert network.config.label2id == {name: number for number, name in enumerate(LABELS[kind])}
    with torch.no_grad():
        if kind == "mlm":
            found = [network(input_ids=torch.tensor([[2, 9, 4, 11, 3]])).logits[0].numpy()]
        elif kind == "tagging":
            found = []
            for words in WORDS:
                batch = tokenizer([words], is_split_into_words=True, return_tensors="pt")
                numbers = batch.word_ids(0)
                first = [numbers.index(word) for word in range(len(words))]
                found.append(network(**batch).logits[0, first].numpy())
        else:
            found = list(network(**tokenizer(TEXTS, padding=True, return_tensors="pt")).logits.numpy())
    for ours, theirs in zip(logits(model, kind), found, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("kind", HEADS)
def test_a_head_made_anew_is_a_function_of_its_seed(kind, tiny_encoder_dir):
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    first, second, other = (load_encoder(tiny_encoder_dir, head=kind, labels=LABELS[kind], seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    states = [dict(model.named_parameters()) for model in (first, second, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    changed = {name for name in states[0] if not torch.equal(states[0][name], states[2][name])}
    assert changed and not any("encoder.layer" in name or "embeddings" in name for name in changed)


def test_a_language_model_writes_with_the_matrix_that_it_reads(tiny_encoder_dir, tmp_path):
    model = load_encoder(tiny_encoder_dir, head="mlm")
    table, decoder = model.network.get_input_embeddings().weight, model.network.get_output_embeddings().weight
    assert decoder is table
    model.save(tmp_path / "saved")
    again = load_encoder(tmp_path / "saved", head="mlm")
    assert again.network.get_output_embeddings().weight is again.network.get_input_embeddings().weight
    # A student cut or built from it is tied to its own table.
    cut = cut_student(again, [1, 3], **LIKE)
    built = build_student(again, layers=2, width=16, heads=4, ffn=24, seed=1, **LIKE)
    for student in (cut, built):
        assert student.head == "mlm"
        own = student.network.get_input_embeddings().weight
        assert student.network.get_output_embeddings().weight is own and own is not again.network.get_input_embeddings().weight
    # To everything but a language model its folder is an encoder without a head.
    assert load_encoder(tmp_path / "saved").head == "embed"
    np.testing.assert_allclose(load_encoder(tmp_path / "saved").encode(TEXTS), load_encoder(tiny_encoder_dir).encode(TEXTS), atol=1e-6)


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression", "tagging"])
def test_students_keep_the_kind_and_the_labels(kind, tiny_encoder_dir, tmp_path):
    model = made(tiny_encoder_dir, kind)
    for name, student in (
        ("cut", cut_student(model, [2, 4], **LIKE)),
        ("built", build_student(model, layers=1, width=16, heads=2, ffn=24, seed=1, **LIKE)),
    ):
        assert (student.head, student.labels) == (kind, LABELS[kind])
        student.save(tmp_path / name)
        again = load_encoder(tmp_path / name)
        assert (again.head, again.labels) == (kind, LABELS[kind])
        for ours, theirs in zip(logits(again, kind), logits(student, kind), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_other_labels_make_another_head_and_the_same_keep_it(tiny_encoder_dir, tmp_path):
    model = made(tiny_encoder_dir, "classification")
    model.save(tmp_path / "saved")
    kept = load_encoder(tmp_path / "saved", head="classification", labels=LABELS["classification"], seed=9)
    assert torch.equal(kept.network.classifier.weight, model.network.classifier.weight)
    fewer = load_encoder(tmp_path / "saved", head="classification", labels=["no", "yes"], seed=9)
    assert fewer.network.classifier.weight.shape == (2, 32) and fewer.labels == ["no", "yes"]
    embedding = load_encoder(tmp_path / "saved", head="embed")
    assert embedding.head == "embed" and embedding.encode(TEXTS).shape == (3, 32)


def test_a_head_for_the_same_number_of_other_labels_is_made_anew(tiny_encoder_dir, tmp_path):
    """Three classes of another task, or the same three in another order, must not answer under new names."""
    model = made(tiny_encoder_dir, "classification")
    model.save(tmp_path / "saved")
    for labels in (["contradiction", "entailment", "neutral"], LABELS["classification"][::-1]):
        other = load_encoder(tmp_path / "saved", head="classification", labels=labels, seed=9)
        assert other.labels == labels and not torch.equal(other.network.classifier.weight, model.network.classifier.weight)
        again = load_encoder(tmp_path / "saved", head="classification", labels=labels, seed=9)
        assert torch.equal(other.network.classifier.weight, again.network.classifier.weight)
        torch.testing.assert_close(other.backbone.pooler.dense.weight, model.backbone.pooler.dense.weight)


def test_pairs_are_told_apart_by_types(tiny_encoder_dir):
    from potstill.runtime.tokens import tokenize

    model = made(tiny_encoder_dir, "classification")
    model.hf_tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]  # else transformers gives none either
    pairs = [("the river", "a village"), ("and", "the rivers and villages")]
    tokens = tokenize(model.tokenizer, pairs, 64)
    batch = {key: torch.from_numpy(value) for key, value in tokens.pad([0, 1], model.pad_id).items()}
    assert batch["token_type_ids"][1].tolist() == model.hf_tokenizer(pairs, padding=True, return_token_type_ids=True)["token_type_ids"][1]
    with torch.no_grad():
        typed = model(**batch).logits
        untyped = model(batch["input_ids"], batch["attention_mask"]).logits
        zeros = model(**batch | {"token_type_ids": torch.zeros_like(batch["token_type_ids"])}).logits
        theirs = model.network(**batch).logits
    torch.testing.assert_close(typed, theirs)
    torch.testing.assert_close(untyped, zeros)
    assert (typed - untyped).abs().max() > 1e-3
    np.testing.assert_allclose(model.predict(pairs), typed.numpy(), atol=1e-5)


def test_logits_are_those_of_the_text_whatever_it_is_batched_with(tiny_encoder_dir):
    model = made(tiny_encoder_dir, "tagging")
    words = [["the"], ["a", "village", "and", "rivers", "x" * 30], ["9", "10"]]
    alone = [model.predict([one])[0] for one in words]
    together = model.predict(words, batch_tokens=10_000)
    assert [found.shape for found in together] == [(1, 2), (5, 2), (2, 2)]
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_what_a_model_cannot_say_is_refused(tiny_encoder_dir, tmp_path):
    with pytest.raises(PotstillError, match="no classification head"):
        load_encoder(tiny_encoder_dir).predict(TEXTS)
    with pytest.raises(PotstillError, match="no classification head"):
        load_encoder(tiny_encoder_dir, head="mlm").predict(TEXTS)
    with pytest.raises(PotstillError, match="gives no vectors"):
        load_encoder(tiny_encoder_dir, head="classification", labels=["a", "b"]).encode(TEXTS)


def test_problem_types_of_other_libraries_are_read(tiny_encoder_dir, tmp_path):
    """transformers leaves problem_type empty until it has trained: one logit is a score, several are classes."""
    for labels, kind in ((["score"], "regression"), (["a", "b"], "classification")):
        folder = tmp_path / kind
        load_encoder(tiny_encoder_dir, head="classification", labels=labels).save(folder)
        config = json.loads((folder / "config.json").read_text())
        config.pop("problem_type")
        (folder / "config.json").write_text(json.dumps(config))
        assert load_encoder(folder).head == kind == saved_head(folder)[0]
    broken = tmp_path / "broken"
    shutil.copytree(tiny_encoder_dir, broken)
    (broken / "config.json").write_text("{")
    with pytest.raises(PotstillError, match="config.json"):
        saved_kind(broken)


@pytest.mark.parametrize("family", ["bert", "distilbert", "mpnet"])
def test_a_language_model_answers_at_chosen_tokens_alone(family, tiny_encoder_dir):
    from transformers import AutoModelForMaskedLM, DistilBertConfig, MPNetConfig

    model = load_encoder(tiny_encoder_dir, head="mlm")
    if family != "bert":
        sizes = {"vocab_size": 300, "num_hidden_layers": 2, "num_attention_heads": 4, "pad_token_id": 0}
        config = (
            DistilBertConfig(dim=32, hidden_dim=64, **sizes)
            if family == "distilbert"
            else MPNetConfig(hidden_size=32, intermediate_size=64, **sizes)
        )
        model = EncoderModel(AutoModelForMaskedLM.from_config(config), model.hf_tokenizer, max_length=32)
    batch = {"input_ids": torch.tensor([[2, 9, 4, 11, 3], [2, 8, 3, 0, 0]]), "attention_mask": torch.tensor([[1] * 5, [1, 1, 1, 0, 0]])}
    chosen = torch.tensor([[False, True, True, False, False], [False, True, False, False, False]])
    with torch.no_grad():
        whole, some = (model.eval()(**batch, logit_mask=mask).logits for mask in (None, chosen))
        assert some.shape == (3, whole.shape[-1])
        torch.testing.assert_close(some, whole[chosen], rtol=0, atol=1e-5)
        with without_decoder(model.network) as decoder:
            read = model(**batch, logit_mask=chosen).logits
        torch.testing.assert_close(decoder(read), some)
        torch.testing.assert_close(model(**batch).logits, whole)  # the hooks are gone


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("architectures", "BertModel", "architectures is 'BertModel'; a list"),
        ("architectures", 3, "architectures is 3; a list"),
        ("id2label", ["no", "yes"], "id2label is .'no', 'yes'.; an object"),
        ("id2label", {"no": 0}, "id2label is {'no': 0}; an object"),
        ("problem_type", "guess", "problem_type is 'guess'; known: single_label_classification, "),
        ("problem_type", [1], r"problem_type is \[1\]"),
    ],
)
def test_values_that_a_configuration_cannot_have(key, value, words, tiny_head_dirs, tmp_path):
    shutil.copytree(tiny_head_dirs["classification"], tmp_path / "folder")
    file = tmp_path / "folder" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    with pytest.raises(PotstillError, match=f"config.json: {words}"):
        saved_head(tmp_path / "folder")
