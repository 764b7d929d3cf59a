"""Vocabularies trimmed and trained: what is kept, what rows become, what is refused, and a run with one."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import BertConfig, BertForMaskedLM

from potstill.check.vocabulary import saved_by
from potstill.errors import PotstillError
from potstill.models.encoder import EncoderModel
from potstill.models.loading import load_encoder
from potstill.student.vocabulary import trained, trimmed, with_pieces, with_second_table, with_tokenizer

TEXTS = ["the river and the village", "singing rivers", "The villages sing"]


@pytest.fixture
def tokenizer(tiny_encoder_dir: Path) -> dict[str, Any]:
    return json.loads((tiny_encoder_dir / "tokenizer.json").read_text(encoding="utf-8"))


def pieces_of(tokenizer: dict[str, Any], texts: list[str]) -> list[list[str]]:
    return [encoding.tokens for encoding in Tokenizer.from_str(json.dumps(tokenizer)).encode_batch(texts)]


def test_trimmed_to_what_texts_use(tokenizer: dict[str, Any]) -> None:
    before = tokenizer["model"]["vocab"]
    pieces = trimmed(tokenizer, TEXTS[1:2])
    assert pieces == sorted(pieces, key=before.get) and len(pieces) < len(before)
    assert {"[PAD]", "[MASK]", "river", "##ing", "##s", "a", "~"} <= set(pieces) and not {"the", "village"} & set(pieces)
    smaller = with_pieces(tokenizer, pieces)
    assert pieces_of(smaller, TEXTS[1:2]) == pieces_of(tokenizer, TEXTS[1:2])
    assert pieces_of(smaller, ["the"]) == [["[CLS]", "t", "##h", "##e", "[SEP]"]]  # cut finer, never unknown


def test_the_most_frequent_stay_when_a_size_is_given(tokenizer: dict[str, Any]) -> None:
    everything = trimmed(tokenizer, TEXTS)
    words = [piece for piece in everything if len(piece.removeprefix("##")) > 1 and not piece.startswith("[")]
    assert set(words) == {"the", "and", "river", "village", "##ing"}
    smaller = trimmed(tokenizer, TEXTS, len(everything) - 2)
    assert set(everything) - set(smaller) == {"and", "village"}  # once; and twice as river, which has the lower number
    # Where fewer are used, the source's first words make it up.
    used = trimmed(tokenizer, TEXTS[1:2])
    more = trimmed(tokenizer, TEXTS[1:2], len(used) + 1)
    (added,) = set(more) - set(used)
    others = [piece for piece in tokenizer["model"]["vocab"] if piece not in used and len(piece.removeprefix("##")) > 1]
    assert added == min(others, key=tokenizer["model"]["vocab"].get)
    assert trimmed(tokenizer, TEXTS, 10**6) == trimmed(tokenizer, TEXTS, len(tokenizer["model"]["vocab"]))
    with pytest.raises(PotstillError, match="student.vocabulary.size: 20 is less than the special tokens .* at least"):
        trimmed(tokenizer, TEXTS, 20)


def test_trained_on_texts(tokenizer: dict[str, Any]) -> None:
    pieces = trained(tokenizer, TEXTS * 20, 60)
    assert pieces[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] and pieces[5:] == sorted(pieces[5:]) and len(pieces) <= 60
    cut = pieces_of(with_pieces(tokenizer, pieces), TEXTS)
    assert not any("[UNK]" in tokens for tokens in cut) and cut[0][0] == "[CLS]" and "village" in pieces
    with pytest.raises(PotstillError, match="10 is less than the special tokens and the characters of the texts; take at least"):
        trained(tokenizer, TEXTS, 10)


def test_only_wordpiece(tokenizer: dict[str, Any]) -> None:
    with pytest.raises(PotstillError, match="of type BPE; only WordPiece"):
        trimmed({**tokenizer, "model": {"type": "BPE"}}, TEXTS)


def test_rows_are_kept_and_new_ones_are_means(tiny_encoder_dir: Path, tokenizer: dict[str, Any]) -> None:
    source = load_encoder(tiny_encoder_dir)
    table = source.backbone.get_input_embeddings().weight.detach().clone()
    old = tokenizer["model"]["vocab"]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "river", "##ing", "villages", "é"]
    student = with_tokenizer(source, with_pieces(tokenizer, pieces))
    rows = student.backbone.get_input_embeddings().weight
    assert rows.shape == (9, 32) and student.network.config.vocab_size == 9
    assert rows[5].tolist() == table[old["river"]].tolist()
    np.testing.assert_allclose(rows[7].tolist(), ((table[old["village"]] + table[old["##s"]]) / 2).tolist(), rtol=1e-6)
    assert rows[8].tolist() == table[old["[UNK]"]].tolist()


@pytest.mark.parametrize("named", [True, False])
def test_padding_stays_the_piece_that_it_was(tiny_encoder_dir: Path, tokenizer: dict[str, Any], named: bool) -> None:
    source = load_encoder(tiny_encoder_dir)
    source.network.config.pad_token_id = 0
    if not named:  # by the tokenizer; the network names it in any case
        source.hf_tokenizer.pad_token = None
    student = with_tokenizer(source, with_pieces(tokenizer, ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]", "river"]))
    assert (student.network.config.pad_token_id, student.pad_id) == (3, 3)


def test_a_language_models_head_goes_along(tiny_encoder_dir: Path, tokenizer: dict[str, Any]) -> None:
    source = load_encoder(tiny_encoder_dir, head="mlm")
    source.network.get_output_embeddings().bias.data = source.network.get_output_embeddings().bias.data + 0.5
    student = with_tokenizer(source, with_pieces(tokenizer, trimmed(tokenizer, TEXTS)))
    head: Any = student.network.get_output_embeddings()
    assert head.weight is student.backbone.get_input_embeddings().weight and head.bias.tolist() == [0.5] * len(head.weight)


def test_a_head_of_its_own_keeps_its_rows(tiny_encoder_dir: Path, tokenizer: dict[str, Any]) -> None:
    source = load_encoder(tiny_encoder_dir, head="mlm")
    torch.manual_seed(1)
    untied = EncoderModel(BertForMaskedLM(BertConfig.from_pretrained(tiny_encoder_dir, tie_word_embeddings=False)), source.hf_tokenizer)
    table, output = (part.weight.detach().clone() for part in _ends(untied))
    old, pieces = tokenizer["model"]["vocab"], ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "river", "villages"]
    made = _ends(with_tokenizer(untied, with_pieces(tokenizer, pieces)))
    for now, then in zip(made, (table, output), strict=True):
        assert torch.equal(now.weight[5], then[old["river"]])
        torch.testing.assert_close(now.weight[6], (then[old["village"]] + then[old["##s"]]) / 2)


def _ends(model: EncoderModel) -> tuple[Any, Any]:
    return model.network.get_input_embeddings(), model.network.get_output_embeddings()


def test_of_the_trimming_texts_every_vector_stays_as_it_was(minilm_dir: Path, tmp_path: Path) -> None:
    source = load_encoder(minilm_dir)
    tokenizer = json.loads((minilm_dir / "tokenizer.json").read_text(encoding="utf-8"))
    before, parameters = source.encode(TEXTS), source.parameter_counts()
    pieces = trimmed(tokenizer, TEXTS)
    student = with_tokenizer(source, with_pieces(tokenizer, pieces))
    student.save(tmp_path / "student")
    again = load_encoder(tmp_path / "student")
    np.testing.assert_allclose(again.encode(TEXTS), before, atol=1e-6)
    assert parameters[0] - again.parameter_counts()[0] == (30522 - len(pieces)) * 384
    assert parameters[1] == again.parameter_counts()[1]


RECIPE = """
name: own
task: embed
data: {{dir: {dir}, texts: [texts.txt], held_out: 8}}
teacher: {{model: {teacher}, max_length: 32}}
student: {{layers: 2, max_length: 32, vocabulary: {vocabulary}}}
training: {{batch_size: 8, epochs: 1, evaluations: 1}}
stages:
  - name: both
    terms:
      - {{loss: {loss}, layers: last}}
      - {{loss: embedding_cosine}}
evaluate: []
export: {{onnx: true, int8: false}}
"""


@pytest.fixture
def write(tmp_path: Path, tiny_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    words = ["river", "valley", "and", "the", "singing", "rivers", "boats", "sand"]
    lines = [" ".join(words[(row * 3 + place * place) % 8] for place in range(3 + row % 5)) + f" {row}" for row in range(96)]
    (tmp_path / "texts.txt").write_text("\n".join(lines), encoding="utf-8")

    def write(vocabulary: str, loss: str = "hidden_mse") -> Path:
        file = tmp_path / "own.yaml"
        file.write_text(RECIPE.format(dir=tmp_path, teacher=tiny_encoder_dir, vocabulary=vocabulary, loss=loss), encoding="utf-8")
        return file

    return write


@pytest.mark.parametrize("vocabulary", ["{method: trim}", "{method: train, size: 80}"])
def test_a_student_with_its_own_vocabulary_learns_token_by_token(
    vocabulary: str, write: Callable[..., Path], call: Callable[..., Any], tmp_path: Path, tiny_encoder_dir: Path
) -> None:
    status, out, err = call("check", write(vocabulary))
    assert status == 0 and "vocabulary" in out and "fewer" in out, err
    (kept,) = (tmp_path / "cache").rglob("vocabulary.json")
    status, out, err = call("train", write(vocabulary), "--out", tmp_path / "run")
    assert status == 0, err
    student = load_encoder(tmp_path / "run" / "student")
    assert student.network.config.vocab_size == len(student.hf_tokenizer) < load_encoder(tiny_encoder_dir).network.config.vocab_size
    numbers = json.loads((tmp_path / "run" / "student" / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    assert json.loads(kept.read_text(encoding="utf-8")) == sorted(numbers, key=numbers.get)  # what check found is what was trained
    first = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert first["terms"]["hidden_mse"] > 0
    from potstill import Encoder

    np.testing.assert_allclose(Encoder(tmp_path / "run").encode(TEXTS), student.encode(TEXTS), atol=1e-4)


def test_what_cannot_be_aligned_is_refused(write: Callable[..., Path], call: Callable[..., Any]) -> None:
    status, _, err = call("check", write("{method: trim}", "attention_mse"))
    assert status == 2 and "compares pairs of tokens, and the student has a vocabulary of its own" in err
    status, _, err = call("check", write("{method: train}"))
    assert status == 2 and "a vocabulary to be trained needs a `size`" in err
    status, _, err = call("check", write("{method: train, size: 12}"))
    assert status == 2 and "12 is less than the special tokens and the characters" in err


def test_what_is_saved_is_told_to_the_parameter() -> None:
    saved = "embedding 640 parameters, 63,360 (0.3 MB in fp32) fewer; the encoder stays as it is"
    assert saved_by(["piece"] * 10, 1000, 64) == f"10 pieces instead of 1,000: {saved}"


def test_texts_of_another_script_are_told(
    write: Callable[..., Path], call: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warnings, "formatwarning", lambda *rest: "")
    file = write("null")
    (tmp_path / "texts.txt").write_text("\n".join(f"река и деревня {row}" for row in range(96)), encoding="utf-8")
    with pytest.warns(UserWarning, match=r"tokens are \[UNK\], as in 'река и деревня") as told:
        status, _, _ = call("check", file)
    line = warnings.formatwarning(told[0].message, told[0].category, "place.py", 1)  # type: ignore[arg-type]
    assert status == 0 and line == f"warning: {told[0].message}\n"
    with pytest.warns(UserWarning, match=r"teacher: .* tokens are \[UNK\]"):  # the student has pieces of its own for them
        status, _, _ = call("check", write("{method: train, size: 80}"))
    assert status == 0


def test_a_second_table_stands_behind_the_first(tiny_encoder_dir: Path) -> None:
    source = load_encoder(tiny_encoder_dir, head="mlm")
    table = source.backbone.get_input_embeddings().weight.detach().clone()
    assert with_second_table(source, ["[PAD]", "river", "villages"]) == len(table)
    rows = source.backbone.get_input_embeddings().weight
    assert len(rows) == len(table) + 3 and torch.equal(rows[: len(table)], table)
    assert torch.equal(rows[len(table) + 1], table[source.hf_tokenizer.convert_tokens_to_ids("river")])
    assert source(torch.tensor([[2, len(table) + 1, 3]]), torch.ones(1, 3, dtype=torch.int64)).logits.shape == (1, 3, len(rows))
