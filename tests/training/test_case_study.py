"""Cases: angles against plain loops, with projections, pairs and texts cut into other tokens; what is answered for each kind."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from potstill.losses.base import make_loss
from potstill.models.encoder import EncoderModel
from potstill.models.loading import load_encoder
from potstill.objective.objective import Objective
from potstill.objective.sizes import Sizes, TermSpec
from potstill.results import CASES_FILE, read_cases
from potstill.student.transformer import build_student, cut_student
from potstill.tasks.base import Predictor
from potstill.training.case_study import MISTAKES, READ, WRONG_WORDS, angles, labels, mistakes, shown_text, write_cases

TEXTS = ["the river", "a village and an owl", "the", "river, village: 17", "an owl finds the cat and the river", "zebra"]
LIKE = {"pooling": "mean", "normalize": True, "max_length": 64}


def term(name: str, pairs=((1, 2), (2, 4)), project: str = "none", **options) -> TermSpec:
    return TermSpec(name, make_loss(name, options), pairs=pairs, project=project)


def objective_of(*terms: TermSpec, width: int = 32) -> Objective:
    torch.manual_seed(0)
    return Objective(terms, Sizes(width, width), Sizes(32, 32), rows=200)


@pytest.fixture(scope="module")
def teacher(tiny_encoder_dir):
    return load_encoder(tiny_encoder_dir)


@pytest.fixture(scope="module")
def narrow(teacher):
    return build_student(teacher, layers=2, width=16, heads=2, ffn=32, seed=3, **LIKE).eval()


def states(model, text: str) -> list[torch.Tensor]:
    """(l, d) of each layer, from transformers itself."""
    ids = torch.tensor([model.tokenizer.encode(text).ids])
    with torch.no_grad():
        return [layer[0] for layer in model.backbone(input_ids=ids, output_hidden_states=True).hidden_states]


def by_hand(a: torch.Tensor, b: torch.Tensor) -> float:
    a, b = a.flatten().tolist(), b.flatten().tolist()
    dot = sum(x * y for x, y in zip(a, b))
    return math.degrees(math.acos(dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))))


@pytest.mark.parametrize(
    ("name", "options", "pick"),
    [
        ("cos_nce", {"mode": "flatten"}, lambda state: state),  # a vector a token, flattened
        ("hidden_mse", {}, lambda state: state),  # likewise
        ("patient_mse", {}, lambda state: state[0]),  # the first token's vector
        ("cos_nce", {"mode": "mean"}, lambda state: state.mean(0)),  # the mean over tokens
    ],
)
def test_angles_are_those_of_plain_loops(teacher, narrow, name, options, pick) -> None:
    objective = objective_of(term(name, project="linear", **options), width=16)
    cases = angles(narrow, teacher, objective, TEXTS)
    assert [case["text"] for case in cases] == TEXTS
    for text, case in zip(TEXTS, cases):
        ours, theirs = states(narrow, text), states(teacher, text)
        assert [(row["term"], row["student"], row["teacher"]) for row in case["angles"]] == [(name, 1, 2), (name, 2, 4)]
        for row, project in zip(case["angles"], objective.projections[0]):
            expected = by_hand(pick(ours[row["student"]]) @ project.weight.T.detach(), pick(theirs[row["teacher"]]))
            assert row["degrees"] == pytest.approx(expected, abs=0.02)


def test_a_student_that_is_its_teacher_is_at_no_angle(teacher) -> None:
    objective = objective_of(term("cos_nce", [(number, number) for number in range(5)]))
    for case in angles(teacher, teacher, objective, TEXTS):
        assert [row["degrees"] for row in case["angles"]] == [0.0] * 5


def test_only_terms_that_compare_states_count(teacher) -> None:
    terms = [term("attention_mse"), term("hidden_mse", [(0, 0)]), term("crd"), term("embedding_mse", ()), term("hidden_mse")]
    student = cut_student(teacher, [2, 4], **LIKE)
    (case,) = angles(student, teacher, objective_of(*terms), TEXTS[:1])
    found = [(row["term"], row["student"], row["teacher"]) for row in case["angles"]]
    assert found == [("hidden_mse", 0, 0), ("hidden_mse-2", 1, 2), ("hidden_mse-2", 2, 4)]


def test_matrices_of_different_lengths_have_no_angle_and_means_have(teacher) -> None:
    student = cut_student(teacher, [2, 4], pooling="mean", normalize=True, max_length=8)
    objective = objective_of(term("hidden_mse"), term("cos_nce", mode="mean"))
    short, long = angles(student, teacher, objective, ["the", "the river and the village and the river"])
    assert [row["term"] for row in short["angles"]] == ["hidden_mse"] * 2 + ["cos_nce"] * 2
    assert [row["term"] for row in long["angles"]] == ["cos_nce"] * 2


def test_the_last_stage_with_states_is_written_for_texts_evenly_spaced(teacher, tmp_path) -> None:
    stages = [objective_of(term("hidden_mse")), objective_of(term("patient_mse")), objective_of(term("embedding_mse", ()))]
    student = cut_student(teacher, [2, 4], **LIKE)
    texts = [(f"a {number}", "the owl") for number in range(23)]
    write_cases(tmp_path, student, stages, teacher, texts)
    cases = read_cases(tmp_path)
    assert cases == json.loads((tmp_path / CASES_FILE).read_text(encoding="utf-8"))
    assert [case["text"] for case in cases] == [f"a {number} | the owl" for number in (0, 4, 8, 12, 16)]
    assert {row["term"] for case in cases for row in case["angles"]} == {"patient_mse"}
    assert [path.name for path in tmp_path.iterdir()] == [CASES_FILE]


def test_nothing_to_compare_writes_nothing(teacher, tmp_path) -> None:
    student, states = cut_student(teacher, [2, 4], **LIKE), objective_of(term("hidden_mse"))
    write_cases(tmp_path, student, [objective_of(term("embedding_mse", ()))], teacher, TEXTS)
    write_cases(tmp_path, student, [], teacher, TEXTS)
    write_cases(tmp_path, student, [states], teacher, [])
    assert list(tmp_path.iterdir()) == [] and read_cases(tmp_path) == []


@pytest.fixture(scope="module")
def student_of(tiny_teachers):
    """A cut student with the teacher's own kind of head, and the teacher."""

    def make(name: str) -> tuple[EncoderModel, EncoderModel]:
        model = load_encoder(tiny_teachers[name])
        return cut_student(model, [2, 4], **LIKE), model

    return make


WORDS = [["the", "river"], ["a", "village", "here"]]


@pytest.mark.parametrize(
    ("name", "texts", "gold", "words"),
    [
        ("classification", TEXTS[:2], np.array([1, 0]), ["village", "river"]),  # one label
        ("pairs", [("the river", "a"), ("an owl", "the owl")], np.array([0, 1]), ["no", "yes"]),  # of two texts
        # several labels, none, one
        ("multilabel", TEXTS[:3], np.array([[1, 1], [0, 0], [0, 1]], dtype=np.float32), ["river, village", "none", "village"]),
        ("regression", TEXTS[:2], np.array([2.5, 0.0], dtype=np.float32), [2.5, 0.0]),  # a score
        ("tagging", WORDS, [np.array([0, 1]), np.array([0, 0, 0])], ["river B-PLACE", "none"]),  # words with their tags, no tag
    ],
)
def test_gold_and_answers_of_every_kind_are_in_the_same_words(student_of, name, texts, gold, words) -> None:
    student, teacher = student_of(name)
    rows = labels(student, teacher, texts, gold)
    assert [row["gold"] for row in rows] == words
    for side, model in (("teacher", teacher), ("student", student)):
        found, logits = [row[side] for row in rows], model.predict(texts)
        if name == "regression":
            assert found == pytest.approx([float(row[0]) for row in logits], abs=1e-5)
        elif name == "multilabel":
            assert found == [", ".join(one for one, logit in zip(model.labels, row) if logit >= 0) or "none" for row in logits]
        elif name == "tagging":
            tags = [[model.labels[number] for number in row.argmax(1)] for row in logits]
            pairs = [[f"{word} {tag}" for word, tag in zip(text, own) if tag != "O"] for text, own in zip(texts, tags)]
            assert found == [", ".join(pair) or "none" for pair in pairs]
        else:
            assert found == [model.labels[number] for number in logits.argmax(1)]


def test_a_teacher_with_another_head_or_none_answers_nothing(student_of, teacher) -> None:
    student, _ = student_of("classification")
    _, other = student_of("pairs")
    for model in (teacher, other):
        rows = labels(student, model, TEXTS[:2], np.array([1, 0]))
        assert [row["teacher"] for row in rows] == [None, None] and all(row["student"] in ("river", "village") for row in rows)


def test_answers_are_written_beside_the_angles_of_the_same_texts(student_of, tmp_path) -> None:
    student, model = student_of("classification")
    stage = Objective([term("hidden_mse")], Sizes(0, 32, 2), Sizes(0, 32, 2))
    texts, gold = [f"the river {number}" for number in range(23)], np.arange(23) % 2
    write_cases(tmp_path, student, [stage], model, texts, gold)
    cases = read_cases(tmp_path)
    assert [case["text"] for case in cases] == [texts[number] for number in (0, 4, 8, 12, 16)]
    assert [case["labels"]["gold"] for case in cases] == ["river"] * 5
    assert all(len(case["angles"]) == 2 for case in cases)
    write_cases(tmp_path, student, [stage], model, texts[:3], gold[:3])
    assert [case["labels"]["gold"] for case in read_cases(tmp_path)] == ["river", "village", "river"]
    write_cases(tmp_path, student, [stage], model, texts)
    assert all("labels" not in case for case in read_cases(tmp_path))


def test_texts_of_every_form_are_one_line() -> None:
    assert [shown_text(text) for text in ("a b", ("a", "b c"), ["a", "b"])] == ["a b", "a | b c", "a b"]


def by(kind: str, names: Sequence[str], answer: Callable[[Any], Any]) -> Predictor:
    """A model that gives each text the logarithms of these probabilities, or for several labels their log odds."""

    def logits(texts: Sequence[Any]) -> Any:
        rows = [np.array(answer(text), dtype=np.float64) for text in texts]
        rows = [np.log(row) - (np.log(1 - row) if kind == "multilabel" else 0) for row in rows]
        return rows if kind == "tagging" else np.array(rows)

    return Predictor(list(names), kind, logits)


def test_the_surest_wrong_answers_with_both_sides_probabilities() -> None:
    said = {"a": [0.9, 0.1], "b": [0.3, 0.7], "c": [0.2, 0.8], "d": [0.6, 0.4]}  # all are "no": b and c are wrong
    asked = []

    def teacher(text: str) -> list[float]:
        asked.append(text)
        return [0.25, 0.75] if text == "b" else [0.125, 0.875]  # its labels are the other way round

    sides = by("classification", ["no", "yes"], said.__getitem__), by("classification", ["yes", "no"], teacher)
    found = mistakes(*sides, "classification", ["no", "yes"], list(said), np.zeros(4, dtype=np.int64), [])
    assert found == [
        {"text": "c", "gold": ["no"], "teacher": [["no", 0.875], ["yes", 0.125]], "student": [["yes", 0.8], ["no", 0.2]]},
        {"text": "b", "gold": ["no"], "teacher": [["no", 0.75], ["yes", 0.25]], "student": [["yes", 0.7], ["no", 0.3]]},
    ]
    assert asked == ["c", "b"], "the teacher answers what is told, and no more"


def test_labels_of_neither_side_are_left_out() -> None:
    names = ["a", "b", "c", "d"]
    student, teacher = (by("classification", names, lambda text, row=row: row) for row in ([0.5, 0.3, 0.15, 0.05], [0.1, 0.2, 0.6, 0.1]))
    (found,) = mistakes(student, teacher, "classification", names, [("x", "y")], np.array([1]), [])
    assert found["text"] == "x | y" and found["student"] == [["a", 0.5], ["b", 0.3], ["c", 0.15]]
    assert found["teacher"] == [["c", 0.6], ["b", 0.2], ["a", 0.1]]


def test_several_labels_are_wrong_where_one_of_them_is() -> None:
    said = {"s": [0.8, 0.6, 0.1], "t": [0.2, 0.9, 0.1], "u": [0.9, 0.2, 0.3]}
    gold = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0]], dtype=np.float32)  # b is too much in s; t is right; u has none
    found = mistakes(by("multilabel", ["a", "b", "c"], said.__getitem__), None, "multilabel", ["a", "b", "c"], list(said), gold, [])
    assert found[0] == {"text": "u", "gold": ["none"], "teacher": None, "student": [["a", 0.9]]}
    assert found[1:] == [{"text": "s", "gold": ["a"], "teacher": None, "student": [["a", 0.8], ["b", 0.6]]}]


def test_of_a_sentence_the_wrong_words_are_told() -> None:
    names = ["O", "B-x"]
    student = by("tagging", names, lambda words: [[0.25, 0.75]] * (len(words) - 1))  # the last word is cut off
    teacher = by("tagging", names, lambda words: [[0.875, 0.125]] * 2)
    words = ["in", "the", "old", "town", "of", "Rome", "now"]
    gold = [np.array([0, 1, 0, 0, 0, 0, 0]), np.array([1, 0])]
    (own,) = mistakes(student, teacher, "tagging", names, [words, ["Rome", "is"]], gold, [])
    assert own["text"] == " ".join(words) and len(own["gold"]) == WRONG_WORDS and own["gold"][0] == "in O"
    assert own["student"] == [[f"{word.split()[0]} B-x", 0.75] for word in own["gold"]]
    assert own["teacher"] == [["in O", 0.875]], "what lies beyond its length has no answer"


def test_few_are_told_of_many() -> None:
    texts = [str(number) for number in range(3 * READ)]
    student = by("classification", ["a", "b"], lambda text: [0.1, 0.9] if int(text) % 3 else [0.9, 0.1])
    assert mistakes(student, None, "classification", ["a", "b"], texts, np.zeros(3 * READ, dtype=np.int64), []) == []  # every third is read
    assert len(mistakes(student, None, "classification", ["a", "b"], texts[:READ], np.zeros(READ, dtype=np.int64), [])) == MISTAKES
    assert mistakes(student, None, "classification", ["a", "b"], [], np.zeros(0, dtype=np.int64), []) == []
    assert mistakes(student, None, "regression", [], texts, np.zeros(3), []) == []
