"""The table of terms: weights, schedules, layers, projections, names, widths, negatives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from potstill.errors import PotstillError
from potstill.losses.base import make_loss
from potstill.models.output import EMBEDDING, LOGITS, EncoderOutput, Field
from potstill.objective.objective import Objective
from potstill.objective.schedule import Schedule
from potstill.objective.sizes import Sizes, TermSpec, check_term

EQUAL = Sizes(3, 3)


def term(name: str, weight: float | Schedule = 1.0, pairs=(), project: str = "none", moving=None, **options) -> TermSpec:
    schedule = weight if isinstance(weight, Schedule) else Schedule("constant", weight, weight)
    return TermSpec(name, make_loss(name, options), schedule, pairs, project, moving or {})


def output(*names: Field | str, rows: int = 4, width: int = 3, length: int = 5, heads: int = 2, seed: int = 0) -> EncoderOutput:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"hidden_states": (rows, length, width), "attention_scores": (rows, heads, length, length)}
    fields = [Field(name) if isinstance(name, str) else name for name in names]
    values = {field: torch.randn(shapes.get(field.name, (rows, width)), generator=generator) for field in fields}
    return EncoderOutput(torch.ones(rows, length, dtype=torch.long), values)


def batch(rows: int = 4, length: int = 5, **more: Tensor) -> dict[str, Tensor]:
    return {"attention_mask": torch.ones(rows, length, dtype=torch.long), "rows": torch.arange(rows), **more}


def test_the_sum_is_weighed_and_each_part_is_reported_unweighed():
    student, teacher = output("embedding"), output("embedding", seed=1)
    objective = Objective([term("embedding_cosine", 2.0), term("embedding_mse", 3.0), term("embedding_mse", 1.0)], EQUAL, EQUAL)
    total, parts = objective(student, teacher, batch())
    assert list(parts) == ["embedding_cosine", "embedding_mse", "embedding_mse-2"]
    assert total.item() == pytest.approx(2 * parts["embedding_cosine"].item() + 4 * parts["embedding_mse"].item(), rel=1e-6)
    assert objective.student_reads == objective.teacher_reads == {EMBEDDING}
    assert not any(part.requires_grad for part in parts.values())


def test_weights_and_temperatures_move_with_the_progress():
    terms = [
        term("soft_target", Schedule("linear", 0.0, 4.0), moving={"temperature": Schedule("linear", 9.0, 1.0)}, temperature=9.0),
        term("hard_label", Schedule("step", 1.0, 0.0, ((0.0, 1.0), (0.5, 0.0)))),
    ]
    objective = Objective(terms, Sizes(0, 3, 3), Sizes(0, 3, 3))
    student, teacher, data = output("logits"), output("logits", seed=1), batch(labels=torch.tensor([0, 1, 2, 0]))
    for progress, temperature, weights in ((0.0, 9.0, [0.0, 1.0]), (0.25, 7.0, [1.0, 1.0]), (0.5, 5.0, [2.0, 0.0]), (1.0, 1.0, [4.0, 0.0])):
        objective.set_progress(progress)
        assert terms[0].loss.temperature == temperature and objective.weights == weights
        total, parts = objective(student, teacher, data)
        alone = make_loss("soft_target", {"temperature": temperature})(student.logits, teacher.logits, data)
        assert parts["soft_target"].item() == pytest.approx(alone.item(), rel=1e-5)
        assert total.item() == pytest.approx(sum(w * p.item() for w, p in zip(weights, parts.values(), strict=True)), rel=1e-6)


@pytest.mark.parametrize("project", ["linear", "shared"])
def test_layers_are_mapped_and_projected_each_or_all_alike(project):
    pairs = [(0, 0), (1, 2), (2, 4)]
    objective = Objective([term("hidden_mse", pairs=pairs, project=project)], Sizes(0, 3), Sizes(0, 6))
    assert objective.student_reads == {Field("hidden_states", layer) for layer in (0, 1, 2)}
    assert objective.teacher_reads == {Field("hidden_states", layer) for layer in (0, 2, 4)}
    matrices = [weight for weight in objective.parameters()]
    assert [tuple(weight.shape) for weight in matrices] == [(6, 3)] * (3 if project == "linear" else 1)
    student = output(*(Field("hidden_states", layer) for layer in (0, 1, 2)))
    teacher = output(*(Field("hidden_states", layer) for layer in (0, 2, 4)), width=6, seed=1)
    total, _ = objective(student, teacher, batch())
    by_hand = 0.0
    for number, (ours, theirs) in enumerate(pairs):
        projected = student[Field("hidden_states", ours)] @ matrices[number if project == "linear" else 0].T
        by_hand += (projected - teacher[Field("hidden_states", theirs)]).square().mean().item()
    assert total.item() == pytest.approx(by_hand, rel=1e-5)
    total.backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in matrices)


def test_attention_scores_have_no_width_to_project():
    with pytest.raises(PotstillError, match="attention_scores have no width to project; drop `project`"):
        Objective([term("attention_mse", pairs=[(1, 2)], project="linear")], Sizes(0, 3), Sizes(0, 6))
    # Widths that differ do not matter to them.
    objective = Objective([term("attention_mse", pairs=[(1, 2)])], Sizes(0, 3), Sizes(0, 6))
    student, teacher = output(Field("attention_scores", 1)), output(Field("attention_scores", 2), seed=1)
    total, _ = objective(student, teacher, batch())
    by_hand = (student[Field("attention_scores", 1)] - teacher[Field("attention_scores", 2)]).square().mean()
    assert total.item() == pytest.approx(by_hand.item(), rel=1e-5) and not list(objective.parameters())


@pytest.mark.parametrize(
    ("name", "pairs", "student", "teacher", "words"),
    [
        ("embedding_mse", (), Sizes(3, 3), Sizes(5, 5), "3 dimensions, the teacher's 5; add project: linear"),  # pooled vectors
        ("hidden_mse", [(1, 1)], Sizes(0, 3), Sizes(0, 5), "3 dimensions, the teacher's 5; add project: linear"),  # vectors of tokens
        (
            "soft_target",
            (),
            Sizes(0, 3, 2),
            Sizes(0, 5, 3),
            "the student has 2 logits, the teacher 3",
        ),  # logits, which no projection can mend
    ],
)
def test_widths_that_differ_are_told_with_the_way_out(name, pairs, student, teacher, words):
    with pytest.raises(PotstillError, match=words):
        Objective([term(name, pairs=pairs)], student, teacher)


def test_logits_are_not_projected():
    with pytest.raises(PotstillError, match="logits have no width to project"):
        Objective([term("soft_target", project="linear")], Sizes(0, 3, 2), Sizes(0, 3, 3))


def test_losses_are_computed_in_fp32_under_autocast():
    student = EncoderOutput(values={EMBEDDING: torch.randn(4, 3).bfloat16()})
    objective = Objective([term("similarity_mse"), term("embedding_mse", project="linear")], EQUAL, EQUAL)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, parts = objective(student, EncoderOutput(values={EMBEDDING: torch.randn(4, 3).bfloat16()}), batch())
    assert total.dtype == torch.float32 and {part.dtype for part in parts.values()} == {torch.float32}


def test_a_projection_multiplies_as_the_student_does():
    field = Field("hidden_states", 1)
    objective = Objective([term("hidden_mse", pairs=[(1, 1)], project="linear")], Sizes(0, 32), Sizes(0, 64))
    (weight,) = objective.parameters()
    student = output(field, width=32)
    (plain,) = objective.projected(0, student)
    assert torch.equal(plain, torch.nn.functional.linear(student[field], weight))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (half,) = objective.projected(0, student)
        total, _ = objective(student, output(field, width=64, seed=1), batch())
    assert half.dtype == total.dtype == torch.float32
    assert torch.equal(half, torch.nn.functional.linear(student[field].bfloat16(), weight.bfloat16()).float())
    total.backward()
    assert weight.grad is not None and weight.grad.dtype == torch.float32


def test_negatives_reach_only_the_terms_that_want_them():
    pairs = [(1, 2)]
    terms = [term("cos_nce", pairs=pairs, mode="cls", negatives="train", count=6), term("cos_nce", pairs=pairs, mode="cls")]
    objective = Objective(terms, Sizes(0, 3), Sizes(0, 3), rows=20)
    assert objective.pool == 6
    ours, theirs = Field("cls_states", 1), Field("cls_states", 2)
    student, teacher, others = output(ours), output(theirs, seed=1), output(theirs, rows=6, length=7, seed=2)
    rows = {"negative_rows": torch.arange(10, 16)}
    _, parts = objective(student, teacher, batch(), (others, rows))
    unit = torch.nn.functional.normalize
    s, t, n = (unit(output[field], dim=-1) for output, field in ((student, ours), (teacher, theirs), (others, theirs)))
    by_hand = (2 - 1.5 * (s * t).sum(-1) + 0.5 * (s @ n.T).mean(-1)).mean()
    assert parts["cos_nce"].item() == pytest.approx(by_hand.item(), rel=1e-5)
    _, alone = Objective(terms[1:], Sizes(0, 3), Sizes(0, 3), rows=20)(student, teacher, batch())
    assert parts["cos_nce-2"].item() == pytest.approx(alone["cos_nce"].item(), rel=1e-6)


@pytest.mark.parametrize("mode", ["cls", "flatten"])
def test_each_term_reads_as_many_negatives_as_it_asks_for(mode):
    pairs, field = [(1, 2)], "cls_states" if mode == "cls" else "hidden_states"
    counts = (2, 6)
    sized = [term("cos_nce", pairs=pairs, mode=mode, negatives="train", count=count, other_labels=True) for count in counts]
    both = Objective(sized, Sizes(0, 3), Sizes(0, 3), rows=20)
    assert both.pool == 6
    ours, theirs = Field(field, 1), Field(field, 2)
    student, teacher, drawn = output(ours), output(theirs, seed=1), output(theirs, rows=6, length=7, seed=2)
    rows = {"negative_rows": torch.arange(10, 16), "negative_labels": torch.tensor([0, 1, 1, 0, 2, 2])}
    data = batch(labels=torch.tensor([0, 1, 2, 0]))
    _, parts = both(student, teacher, data, (drawn, rows))
    for spec, count, found in zip(sized, counts, parts.values(), strict=True):
        assert drawn.mask is not None
        cut = EncoderOutput(drawn.mask[:count], {theirs: drawn[theirs][:count]})
        _, alone = Objective([spec], Sizes(0, 3), Sizes(0, 3), rows=20)(
            student, teacher, data, (cut, {name: values[:count] for name, values in rows.items()})
        )
        assert found.item() == pytest.approx(alone["cos_nce"].item(), rel=1e-6)
    assert parts["cos_nce"].item() != pytest.approx(parts["cos_nce-2"].item(), rel=1e-3)


def test_without_a_teacher_labels_teach():
    objective = Objective([term("hard_label")], Sizes(0, 3, 3))
    assert objective.teacher_reads == frozenset() and objective.student_reads == {LOGITS} and objective.pool == 0
    student, labels = output("logits"), torch.tensor([0, 1, 2, 0])
    total, _ = objective(student, None, batch(labels=labels))
    assert total.item() == pytest.approx(torch.nn.functional.cross_entropy(student.logits, labels).item(), rel=1e-6)


def test_a_wrong_setting_of_a_loss_is_told_when_sizes_are_known():
    with pytest.raises(PotstillError, match="at most 9"):
        Objective([term("cos_nce", pairs=[(1, 1)], mode="cls", negatives="train", count=10)], EQUAL, EQUAL, rows=10)
    with pytest.raises(PotstillError, match="one logit"):
        Objective([term("soft_logit")], Sizes(0, 3, 1), Sizes(0, 3, 1))


def test_what_an_objective_would_refuse_is_told_without_its_memory():
    crd = term("crd", pairs=[(1, 1)], count=5)
    check_term(crd, EQUAL, EQUAL, rows=10**9)  # 2 · 10⁹ · 128 numbers if it were made
    check_term(term("crd", pairs=[(1, 1)], count=5), EQUAL, EQUAL)  # nothing is known of the data
    with pytest.raises(PotstillError, match="here: crd.count: 5 negatives are more than the pool of 4"):
        check_term(term("crd", pairs=[(1, 1)], count=5), EQUAL, EQUAL, rows=5, place="here")
    with pytest.raises(PotstillError, match="here: hidden_mse: .* add project: linear"):
        check_term(term("hidden_mse", pairs=[(1, 1)]), EQUAL, Sizes(0, 6), rows=5, place="here")


def test_a_term_that_was_checked_trains_as_one_that_was_not():
    def trained(checked: bool) -> dict[str, Tensor]:
        torch.manual_seed(0)
        spec = term("crd", pairs=[(1, 1)], count=5, dim=4, form="nce")
        if checked:
            check_term(spec, EQUAL, EQUAL, rows=9)
            assert not spec.loss.state_dict()  # what was built to find mistakes is no part of it
        objective = Objective([spec], EQUAL, EQUAL, rows=9)
        field = Field("mean_states", 1)
        optimizer = torch.optim.SGD(objective.parameters(), lr=0.1)
        for seed in range(2):
            total, _ = objective(output(field, seed=seed), output(field, seed=seed + 2), batch())
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
        return objective.state_dict()

    plain, checked = trained(False), trained(True)
    assert plain.keys() == checked.keys() and any(name.endswith("memory") for name in plain)
    for name, values in plain.items():
        assert checked[name].device.type == "cpu"
        torch.testing.assert_close(checked[name], values, rtol=0, atol=0)
