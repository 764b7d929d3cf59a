"""The warning of unknown words, and the pieces of a student's own: of the tokenizer that the model reads with, whatever its files are."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import pytest
import torch

from potstill.check.vocabulary import check_coverage
from potstill.corpus.read import Corpus
from potstill.machine.cache import cache_place
from potstill.models.loading import load_encoder
from potstill.recipe.file import read_recipe
from potstill.recipe.recipe import Recipe
from potstill.student.make import make_student
from potstill.student.pieces import own_pieces

TEXTS = ["The RIVER", "Rivers and Villages", "the village"] * 4


def lowered_by_settings(folder: Path) -> None:
    """tokenizer.json tells capitals apart; tokenizer_config.json makes its class, a BERT's, take them away."""
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    content["normalizer"]["lowercase"] = False
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    changed = settings | {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(changed), encoding="utf-8")


def lowered_by_sentence_transformers(folder: Path) -> None:
    """tokenizer.json tells capitals apart; the file of the module Transformer takes them away."""
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    content["normalizer"]["lowercase"] = False
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 64, "do_lower_case": true}', encoding="utf-8")


def only_pieces(folder: Path) -> None:
    """vocab.txt alone, as BERT was published at first."""
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    numbers = content["model"]["vocab"]
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in sorted(numbers, key=numbers.get)), encoding="utf-8")
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}', encoding="utf-8")


@pytest.fixture(params=[lowered_by_settings, lowered_by_sentence_transformers, only_pieces], ids=lambda change: change.__name__)
def source(request: pytest.FixtureRequest, tiny_encoder_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    folder = Path(shutil.copytree(tiny_encoder_dir, tmp_path / "source"))
    request.param(folder)
    return folder


def test_words_are_known_as_the_model_reads_them(source: Path) -> None:
    corpus = Corpus(TEXTS, [])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_coverage(corpus, source, None, "place")
    with pytest.warns(UserWarning, match=r"place: .* of the texts' tokens are \[UNK\]"):
        check_coverage(Corpus(["река"], []), source, None, "place")


def written(place: Path, source: Path, vocabulary: str) -> Recipe:
    (place / "r.yaml").write_text(
        f"""
name: own
task: embed
data: {{dir: {place}, texts: [texts.txt]}}
teacher: {{model: {source}, max_length: 32}}
student: {{layers: 2, max_length: 32, vocabulary: {vocabulary}}}
stages: [{{name: s, terms: [{{loss: embedding_cosine}}]}}]
evaluate: []
""",
        encoding="utf-8",
    )
    return read_recipe(str(place / "r.yaml"))


@pytest.mark.parametrize("vocabulary", ["{method: trim}", "{method: train, size: 90}"])
def test_a_vocabulary_is_made_of_what_the_model_reads(source: Path, tmp_path: Path, vocabulary: str) -> None:
    recipe, corpus = written(tmp_path, source, vocabulary), Corpus(TEXTS, [])
    pieces = own_pieces(recipe, corpus, source)
    assert pieces is not None and "river" in pieces and not any(piece.isupper() and piece.isalpha() for piece in pieces)
    cpu, plain = torch.device("cpu"), torch.float32
    student = make_student(recipe, corpus, source, layers=[1, 2], pieces=pieces, device=cpu, precision=plain)
    student.save(tmp_path / "student")
    again, before = load_encoder(tmp_path / "student"), load_encoder(source)
    for text in TEXTS:
        assert "[UNK]" not in again.tokenizer.encode(text).tokens
        if "trim" in vocabulary:
            assert again.tokenizer.encode(text).tokens == before.tokenizer.encode(text).tokens


def test_what_earlier_versions_kept_is_taken_where_it_is_right(
    tiny_encoder_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    folder = Path(shutil.copytree(tiny_encoder_dir, tmp_path / "source"))
    recipe = written(tmp_path, folder, "{method: trim}")
    for change, taken in [(None, True), (lowered_by_settings, False)]:  # they read tokenizer.json, whatever the model read
        if change:
            change(folder)
        place = cache_place(folder, TEXTS, {"vocabulary": "trim", "size": None})
        place.mkdir(parents=True)
        (place / "vocabulary.json").write_text('["kept"]', encoding="utf-8")
        assert (own_pieces(recipe, Corpus(TEXTS, []), folder) == ["kept"]) == taken
