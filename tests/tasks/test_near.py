from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from potstill.errors import PotstillError
from potstill.tasks.base import load_task
from potstill.tasks.near import Near, Triple

PAIRS = [
    ("a man is here .", "someone male stands here", 5.0),  # allows a negation and a word on its one side
    ("two men sit on a bench", "the bench under two men", 4.5),
    ("the cat is on a mat", "a mat has the cat sleeping on it", 5.0),
    ("a boy is running", "a boy is swimming", 4.4),  # not equivalent
    ("The girl is asleep", "the girl is asleep .", 5.0),  # the same words
    ("A dog is old.", "that dog is aged", 5.0),  # dev has it
]


def write_sts(folder: Path, pairs: Sequence[tuple[str, str, float]] = PAIRS, subset: str = "images") -> Path:
    place = folder / "senteval" / "STS"
    for year in ("12", "13", "14", "15"):
        (place / f"STS{year}-en-test").mkdir(parents=True, exist_ok=True)
        (place / f"STS{year}-en-test" / f"STS.input.{subset}.txt").write_text("".join(f"{a}\t{b}\n" for a, b, _ in pairs))
        (place / f"STS{year}-en-test" / f"STS.gs.{subset}.txt").write_text("".join(f"{score}\n" for _, _, score in pairs))
    (place / "STSBenchmark").mkdir(exist_ok=True)
    (place / "STSBenchmark" / "sts-dev.csv").write_text("g\tf\ty\t0\t3.0\ta dog is old\tanother\n")
    return folder


def test_paraphrases_that_chose_nothing_are_edited(tmp_path: Path) -> None:
    task = load_task("near/all", write_sts(tmp_path))
    assert isinstance(task, Near)
    man = ("a man is here .", "someone male stands here")
    men = ("two men sit on a bench", "the bench under two men")
    cat = ("the cat is on a mat", "a mat has the cat sleeping on it")
    assert task.triples == {
        "negation": [
            Triple(*man, "a man is not here ."),
            Triple(*cat, "the cat is not on a mat"),
            Triple(*cat[::-1], "a mat has not the cat sleeping on it"),
        ],
        "number": [Triple(*men, "five men sit on a bench"), Triple(*men[::-1], "the bench under five men")],
        "order": [Triple(*cat, "a mat is on the cat"), Triple(*cat[::-1], "the cat has a mat sleeping on it")],
        "word": [
            Triple(*man, "a woman is here ."),
            Triple(*man[::-1], "someone female stands here"),
            Triple(*men, "two women sit on a bench"),
            Triple(*men[::-1], "the bench under two women"),
            Triple(*cat, "the dog is on a mat"),
            Triple(*cat[::-1], "a mat has the dog sleeping on it"),
        ],
    }
    assert load_task("near/number", tmp_path).texts() == [text for triple in task.triples["number"] for text in triple]


def test_translations_are_no_paraphrases(tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match=r"near/word: no paraphrase .* of the kind word"):
        load_task("near/word", write_sts(tmp_path, subset="SMTnews"))


def test_the_paraphrases_must_be_the_nearest_pair() -> None:
    angles = {
        "right": (0, 10, 25),  # of a sentence, its paraphrase and the edit, in degrees
        "the edit is nearer to the sentence": (0, 10, -5),
        "the edit is nearer to the paraphrase": (0, 10, 15),
        "as near": (0, 10, 20),
    }
    table = {f"{name} {number}": angle for name, triple in angles.items() for number, angle in enumerate(triple)}
    triples = {name: Triple(*(f"{name} {number}" for number in range(3))) for name in angles}
    names = list(angles)
    task = Near("near/all", {"word": [triples[name] for name in names], "order": [triples[names[0]]]})
    score = task.evaluate(lambda texts: np.array([[np.cos(np.radians(table[text])), np.sin(np.radians(table[text]))] for text in texts]))
    subsets = {"word": {"accuracy": 25.0, "triples": 4}, "order": {"accuracy": 100.0, "triples": 1}}
    assert score == {"accuracy": 62.5, "triples": 5, "subsets": subsets}


def test_one_vector_for_every_text_scores_nothing(tmp_path: Path) -> None:
    task = load_task("near/word", write_sts(tmp_path))
    vector = np.random.default_rng(0).normal(size=384).astype(np.float32)
    assert task.evaluate(lambda texts: np.tile(vector, (len(texts), 1)))["accuracy"] == 0


def test_unknown_kind(tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match="unknown task 'near/negations'; did you mean 'near/negation'"):
        load_task("near/negations", tmp_path)


def test_of_the_real_sets_each_kind_has_hundreds(data_dir: Path) -> None:
    task = load_task("near/all", data_dir)
    assert isinstance(task, Near)
    assert {kind: len(triples) for kind, triples in task.triples.items()} == {"negation": 562, "number": 340, "order": 379, "word": 922}
