"""A recipe's data: what is read, what augmentation adds."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from potstill.corpus import read as module
from potstill.corpus.augment import augmented
from potstill.corpus.read import Corpus, read_corpus, split_texts
from potstill.data.stored import StoredTexts
from potstill.errors import PotstillError, PotstillErrors
from potstill.models import heads
from potstill.models.loading import load_encoder
from potstill.recipe.file import parse_recipe
from potstill.recipe.recipe import Augment

CONTENT = {
    "name": "x",
    "task": "classification/words",
    "teacher": {"model": "t"},
    "student": {"layers": 1},
    "stages": [{"name": "task", "terms": [{"loss": "hard_label"}]}],
}


@pytest.fixture
def own_data(tmp_path: Path) -> Path:
    folder = tmp_path / "classification" / "words"
    folder.mkdir(parents=True)
    for split, count in (("train", 40), ("dev", 8)):
        rows = [f"the river {n} and a village,{('no', 'yes')[n % 2]}" for n in range(count)]
        (folder / f"{split}.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    return tmp_path


def test_a_limit_keeps_rows_with_their_labels(own_data):
    whole = read_corpus(parse_recipe(CONTENT | {"data": {"dir": str(own_data)}}))
    part = read_corpus(parse_recipe(CONTENT | {"data": {"dir": str(own_data), "limit": 10}}))
    assert whole.kind == "classification" and whole.names == ["no", "yes"] and len(part.texts) == len(part.labels) == 10
    known = dict(zip(whole.texts, whole.labels))
    assert all(known[text] == label for text, label in zip(part.texts, part.labels))


def test_texts_are_not_for_a_labelled_task(own_data):
    with pytest.raises(PotstillError, match=r"data.texts: are not read"):
        read_corpus(parse_recipe(CONTENT | {"data": {"dir": str(own_data), "texts": ["a.txt"]}}))


@pytest.mark.parametrize("masked", [False, True])
def test_augmented_rows_keep_their_labels_and_candidates_are_kept(masked, tiny_encoder_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    model = tmp_path / "mlm"
    load_encoder(tiny_encoder_dir, head="mlm").save(model)
    teacher = load_encoder(tiny_encoder_dir)
    corpus = Corpus(["a river here", ("one river", "a village of nine")], [], np.array([4, 7]))
    wanted = Augment(copies=3, probability=1.0, candidates=2, model=str(model) if masked else None)
    more = augmented(corpus, wanted, teacher, tiny_encoder_dir, seed=1, device=torch.device("cpu"))
    assert len(more.texts) == len(more.labels) > 2 and more.texts[0] == "a river here"
    for text, label in zip(more.texts, more.labels):
        assert label == (4 if isinstance(text, str) else 7)
    assert "a village here" in more.texts

    def refuse(*arguments: object, **more: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(
        "potstill.corpus.candidates.masked_candidates" if masked else "potstill.corpus.replace.embedding_neighbours", refuse
    )
    assert augmented(corpus, wanted, teacher, tiny_encoder_dir, seed=1, device=torch.device("cpu")).texts == more.texts
    assert heads.saved_kind(model) == "embed"  # a language model's head counts as none


@pytest.mark.parametrize(
    ("texts", "wanted", "held_out"),
    [
        (16, 1000, 3),  # agreement needs pairs that have an order
        (40, 1000, 4),  # a tenth
        (5000, 64, 64),  # as many as are asked for
        (100, 2, 3),  # never fewer than agreement needs
    ],
)
def test_a_tenth_at_most_is_held_out(texts, wanted, held_out):
    rows = [f"text {number}" for number in range(texts)]
    kept, out = split_texts(rows, wanted, seed=1)
    assert len(out) == held_out and sorted(kept + out) == sorted(rows)
    assert kept == [row for row in rows if row in set(kept)], "both in the files' order"


EMBED = CONTENT | {"task": "embed", "stages": [{"name": "task", "terms": [{"loss": "embedding_mse"}]}]}


@pytest.fixture
def several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of some formats with blank and repeated texts, of which the cache lies beside."""
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "data"
    folder.mkdir()
    texts = [f"a river of number {number}" for number in range(300)]
    (folder / "part-b.txt").write_text("\n".join([*texts[100:], "", *texts[:3]]))
    (folder / "part-a.txt.gz").write_bytes(gzip.compress("\n\n".join(texts[:150] * 2).encode()))
    (folder / "more.tsv").write_text("".join(f"{number}\t village {number % 50} \n" for number in range(90)))
    return folder


def texts_of(folder: Path, *sources: object) -> tuple[object, list[str]]:
    corpus = read_corpus(parse_recipe(EMBED | {"data": {"dir": str(folder), "texts": list(sources), "held_out": 20}}))
    return corpus.texts, corpus.held_out


@pytest.mark.parametrize(
    "sources",
    [
        ["part-b.txt"],  # one file
        ["part-*"],  # several that a pattern names, with texts in common
        ["part-b.txt", "more.tsv", "part-a.txt.gz"],  # several sources
        [{"path": "**/part-*", "limit": 200}, {"path": "more.tsv", "columns": [1], "limit": 30}, "part-b.txt"],  # some rows of each
    ],
)
def test_texts_of_large_files_are_mapped_and_the_same(sources: list[object], several_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, held_out = texts_of(several_files, *sources)
    assert isinstance(plain, list) and len(held_out) == 20
    monkeypatch.setattr(module, "LARGE", 100)
    mapped, out = texts_of(several_files, *sources)
    assert isinstance(mapped, StoredTexts) and list(mapped) == plain and out == held_out
    # They are read once, until a file changes.
    with monkeypatch.context() as patch:
        patch.setattr(module, "raw_texts", None)
        assert list(texts_of(several_files, *sources)[0]) == plain  # type: ignore[call-overload]
    with (several_files / "part-b.txt").open("a") as stream:
        stream.write("\none more")
    os.utime(several_files / "part-b.txt", (1, 1))
    again, out = texts_of(several_files, *sources)
    monkeypatch.setattr(module, "LARGE", 1 << 24)
    assert (list(again), out) == texts_of(several_files, *sources)  # type: ignore[call-overload]


def test_everything_wrong_with_large_files_is_told_at_once(several_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGE", 100)
    (several_files / "bad.txt").write_bytes(b"one\ntwo\n\xff\n")
    (several_files / "blank.txt").write_text(" \n")
    with pytest.raises(PotstillErrors) as caught:
        texts_of(several_files, "bad.txt", "part-b.txt", "absent.txt", "*.csv", "blank.txt")
    said = [str(error) for error in caught.value.errors]
    assert ["bad.txt:3: byte 0xff" in said[0], "absent.txt: does not exist" in said[1], "*.csv: is a pattern" in said[2]] == [True] * 3
    assert "blank.txt: holds no text" in said[3] and not list((several_files.parent / "cache").rglob("*.arrow"))


def test_a_file_that_grows_while_it_is_read_is_told(several_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGE", 100)
    gather = module._gather

    def growing(*arguments: object) -> None:
        gather(*arguments)
        with (several_files / "part-b.txt").open("a") as stream:
            stream.write("\nlate")

    monkeypatch.setattr(module, "_gather", growing)
    with pytest.raises(PotstillError, match=r"part-b.txt: was changed while it was read"):
        texts_of(several_files, "part-b.txt")
