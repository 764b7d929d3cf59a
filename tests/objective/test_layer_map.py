"""Layer maps by name and by list: papers' own numbers, every depth, and what cannot be mapped."""

from __future__ import annotations

import pytest

from potstill.errors import PotstillError
from potstill.models.layer_rules import LAYER_RULES, RULES
from potstill.objective.layer_map import MAPS, layer_map
from potstill.student.transformer import IMPORTANCE, choose_layers


@pytest.mark.parametrize(
    ("name", "student", "teacher", "taught_by"),
    [
        ("uniform", 4, 12, [3, 6, 9, 12]),  # LRC-BERT and TinyBERT
        ("uniform", 6, 12, [2, 4, 6, 8, 10, 12]),  # no quotient to round
        ("uniform", 4, 6, [1, 3, 4, 6]),  # 1.5 and 4.5, both down
        ("uniform", 5, 12, [2, 5, 7, 10, 12]),  # 2.4, 4.8, 7.2 and 9.6 to the nearest
        ("skip", 4, 12, [3, 6, 9, 12]),  # as uniform where M divides N
        ("skip", 5, 12, [2, 4, 6, 8, 10]),  # where it parts from uniform
        ("last", 3, 12, [10, 11, 12]),  # the teacher's top
        ("top", 4, 12, [9, 10, 11, 12]),  # TinyBERT's word for last
        ("first", 3, 12, [1, 2, 3]),  # the teacher's bottom
        ("bottom", 4, 12, [1, 2, 3, 4]),  # TinyBERT's word for first
        ("pkd-skip", 6, 12, [2, 4, 6, 8, 10]),  # all but the last layer, which the labels teach
        ("pkd-skip", 3, 12, [4, 8]),  # of a shallower student
        ("pkd-skip", 6, 24, [4, 8, 12, 16, 20]),  # the layers that the released code stores of a 24-layer teacher
        ("pkd-last", 6, 12, [7, 8, 9, 10, 11]),  # the teacher's last but one backwards
        ("pkd-last", 3, 12, [10, 11]),  # of a shallower student
        ("spread", 6, 12, [1, 3, 5, 8, 10, 12]),  # from 0: 0 2 4 7 9 11, the layers that DistilBERT's authors copied
        ("spread", 3, 6, [1, 3, 6]),  # 3.5 down
        ("spread", 3, 12, [1, 6, 12]),  # 6.5 down
        ("spread", 1, 12, [12]),  # the last one alone
        ("distilbert", 6, 12, [1, 3, 5, 8, 10, 12]),  # another name for spread
        ("distilbert", 3, 12, [1, 6, 12]),  # and so with a half
    ],
)
def test_named_maps(name, student, teacher, taught_by):
    assert layer_map(name, student, teacher) == [(number + 1, layer) for number, layer in enumerate(taught_by)]


def test_maps_of_one_pair_hold_for_any_depths():
    assert layer_map("final", 6, 12) == [(6, 12)]
    assert layer_map("final", 12, 6) == [(12, 6)]
    assert layer_map("embedding", 12, 6) == [(0, 0)]


@pytest.mark.parametrize("name", MAPS)
def test_every_map_of_every_depth_rises_within_both_sides(name):
    for teacher in range(1, 25):
        for student in range(1, teacher + 1):
            if name.startswith("pkd") and student == 1:
                continue
            pairs = layer_map(name, student, teacher)
            ours, theirs = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
            assert ours == sorted(set(ours)) and theirs == sorted(set(theirs))
            lowest = 0 if name == "embedding" else 1
            assert ours[0] >= lowest and theirs[0] >= lowest and ours[-1] <= student and theirs[-1] <= teacher


def test_a_student_cut_by_a_rule_is_mapped_to_the_layers_it_was_cut_from():
    for teacher in range(1, 25):
        for student in range(1, teacher + 1):
            for name in LAYER_RULES:
                kept = choose_layers(student, name, teacher)
                assert [pair[1] for pair in layer_map(name, student, teacher)] == kept
                assert len(kept) == student and kept == sorted(set(kept)) and 1 <= kept[0] and kept[-1] <= teacher


def test_every_rule_is_listed_with_its_meaning():
    assert RULES.keys() == LAYER_RULES.keys() | {IMPORTANCE} and LAYER_RULES.keys() < MAPS.keys()
    assert all(RULES.values()) and all(MAPS[name] == RULES[name] for name in LAYER_RULES)


def test_lists():
    assert layer_map([1, 3, 3], 3, 4) == [(1, 1), (2, 3), (3, 3)]
    assert layer_map([0, 4], 2, 4) == [(1, 0), (2, 4)]
    assert layer_map([[0, 0], [2, 12], (2, 11)], 2, 12) == [(0, 0), (2, 12), (2, 11)]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("unifrom", "unknown layer map 'unifrom'; did you mean 'uniform'?"),  # misspelt
        ([1, 2], "[1, 2] lists 2 teacher layers for a student of 3; list 3, or"),  # a layer short
        ([1, 2, 13], "the teacher has no layer 13; its layers are 1 to 12"),  # beyond the teacher
        ([1, 2, -1], "the teacher has no layer -1"),  # before the embedding output
        ([[4, 1]], "the student has no layer 4; its layers are 1 to 3"),  # beyond the student
        ([[1, 2], [1, 2]], "the pair [1, 2] is there twice"),  # a pair twice
        ([[1, 2], 3], "3 is not a [student layer, teacher layer] pair"),  # pairs and layers mixed
        ([[1, 2, 3]], "[1, 2, 3] is not a [student layer, teacher layer] pair"),  # a pair of three
        (["ab"], "'ab' is not a"),  # a word of two letters is no pair
        ([True, 2, 3], "True is not a"),  # a bool is no layer
        ([], "an empty list maps no layer"),  # nothing to map
        (7, "7 is neither a name nor a list"),  # a number alone
    ],
)
def test_what_cannot_be_mapped_is_said(wanted, message):
    with pytest.raises(PotstillError) as caught:
        layer_map(wanted, 3, 12, "stages[0].terms[1].layers")
    assert str(caught.value).startswith("stages[0].terms[1].layers: ") and message in str(caught.value)


@pytest.mark.parametrize("name", [name for name in MAPS if name not in ("final", "embedding")])
def test_a_student_deeper_than_its_teacher_needs_pairs(name):
    with pytest.raises(PotstillError, match="no deeper than its teacher, here 6 layers against 4"):
        layer_map(name, 6, 4)


@pytest.mark.parametrize("name", ["pkd-skip", "pkd-last"])
def test_a_student_of_one_layer_has_none_to_be_patient_with(name):
    with pytest.raises(PotstillError, match="use skip, last or final"):
        layer_map(name, 1, 12)
