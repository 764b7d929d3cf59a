"""The gradient's step on the embedding output: a worked example, and what must not leak from the first pass."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from potstill.errors import PotstillError
from potstill.losses.base import make_loss
from potstill.models.encoder import EncoderModel
from potstill.models.loading import load_encoder
from potstill.models.output import EMBEDDING, EncoderOutput
from potstill.objective.objective import Objective
from potstill.objective.sizes import Sizes, TermSpec
from potstill.training.distillation import Distillation
from potstill.training.perturbation import RATIO, Perturbation, embedding_module

ONE = torch.ones(1, 1, dtype=torch.long)


class Tiny(nn.Module):
    """A worked example: e = [1, 2], w = [.5, -.25], L = ½ (w·e - 1)², so that ∂L/∂e = (w·e - 1) w = [-.5, .25]."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(1, 2)
        self.table.weight.data = torch.tensor([[1.0, 2.0]])
        self.w = nn.Parameter(torch.tensor([0.5, -0.25]))

    def compute(self, counts: bool):
        loss = 0.5 * ((self.table(torch.zeros(1, 1, dtype=torch.long)) * self.w).sum() - 1) ** 2
        return loss, {"square": loss.detach()}


@pytest.mark.parametrize(
    ("normalize", "expected"),
    [
        ("none", 0.8613281),  # e' = [.5, 2.25], w·e' = -.3125
        ("l2", 1.2152670),  # a step of length 1 along the gradient: w·e' = -‖w‖ = -.559017
    ],
)
@pytest.mark.parametrize("scale", [1.0, 65536.0])
def test_the_worked_example_whatever_a_scaler_does(normalize, expected, scale):
    tiny = Tiny()
    loss, parts = Perturbation(1.0, normalize)(tiny.table, ONE, tiny.compute)
    assert loss.item() == pytest.approx(expected, abs=1e-6) and parts["square"].item() == loss.item()
    assert parts[RATIO].item() == pytest.approx({"none": 0.25, "l2": 5**-0.5}[normalize])  # ‖g‖ = ¼ √5, ‖e‖ = √5
    # Nothing of the first pass is left in the parameters.
    assert tiny.w.grad is None and tiny.table.weight.grad is None
    # A gradient scaler multiplies the loss that comes out: the step was taken before, of the unscaled one.
    (scale * loss).backward()
    if normalize == "none":
        torch.testing.assert_close(tiny.w.grad / scale, torch.tensor([-0.65625, -2.953125]))


def test_a_relative_step_is_a_share_of_each_texts_embedding_output():
    """(2 texts, 3 tokens, 4 numbers), one of them padding, which neither moves nor counts."""
    torch.manual_seed(0)
    table, mask = nn.Embedding(6, 4), torch.tensor([[1, 1, 1], [1, 1, 0]])
    ids, seen = torch.arange(6).view(2, 3), []

    def compute(counts: bool):
        vectors = table(ids)
        seen.append(vectors.detach().clone())
        return (vectors**3).sum(), {}

    _, parts = Perturbation(0.05, "relative")(table, mask, compute)
    moved = seen[1] - seen[0]
    for text, length in enumerate((3, 2)):
        own, gradient = seen[0][text, :length], 3 * seen[0][text, :length] ** 2
        torch.testing.assert_close(moved[text, :length], 0.05 * own.norm() * gradient / gradient.norm())
    assert not moved[1, 2].any() and parts[RATIO].item() == pytest.approx(0.05)


def test_epsilon_scales_the_step():
    tiny = Tiny()
    g = torch.tensor([-0.5, 0.25])
    loss, _ = Perturbation(0.3)(tiny.table, ONE, tiny.compute)
    by_hand = 0.5 * ((tiny.w * (tiny.table.weight[0] + 0.3 * g)).sum() - 1) ** 2
    assert loss.item() == pytest.approx(by_hand.item(), rel=1e-6)


def test_what_was_computed_in_fp32_goes_backwards_in_fp32_under_autocast():
    table, weight, seen = nn.Embedding(1, 32), torch.randn(32, 16), []

    def compute(counts: bool):
        vectors = table(torch.zeros(1, 1, dtype=torch.long))
        seen.append(vectors.detach().clone())
        with torch.autocast("cpu", enabled=False):
            loss = (vectors[0] @ weight).square().sum()
        return loss, {}

    with torch.autocast("cpu", dtype=torch.bfloat16):
        Perturbation()(table, ONE, compute)
    torch.testing.assert_close(seen[1] - seen[0], 2 * seen[0] @ weight @ weight.T)


def test_a_gradient_that_is_not_finite_leaves_a_plain_pass():
    tiny = Tiny()

    def compute(counts: bool):
        loss = (tiny.table(torch.zeros(1, 1, dtype=torch.long)) - tiny.table.weight.detach()).sum().sqrt() + tiny.w.sum()
        return loss, {}

    loss, _ = Perturbation()(tiny.table, ONE, compute)
    assert loss.item() == pytest.approx(0.25)
    loss.backward()
    torch.testing.assert_close(tiny.w.grad, torch.ones(2))


BATCH = {
    "input_ids": torch.tensor([[2, 9, 10, 11, 3], [2, 12, 3, 0, 0]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
    "rows": torch.tensor([0, 1]),
}


def distillation(folder, **options) -> Distillation:
    torch.manual_seed(0)
    objective = Objective([TermSpec("embedding_mse", make_loss("embedding_mse", {}))], Sizes(32, 32), Sizes(32, 32))
    return Distillation(load_encoder(folder), objective, Perturbation(**options)).train()


def teacher() -> EncoderOutput:
    return EncoderOutput(BATCH["attention_mask"], {EMBEDDING: nn.functional.normalize(torch.ones(2, 32), dim=-1)})


def passes(model: Distillation) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Embedding outputs of every pass as the layers above get them, and the dropout masks of the last layer."""
    outputs, dropped = [], []
    student: EncoderModel = model.student
    student.layers[0].register_forward_pre_hook(lambda module, inputs: outputs.append(inputs[0].detach()))
    student.layers[-1].output.dropout.register_forward_hook(lambda module, inputs, output: dropped.append(output == 0))
    return outputs, dropped


@pytest.mark.parametrize("normalize", ["none", "l2"])
def test_both_passes_share_dropout_and_padding_is_left_alone(tiny_encoder_dir, normalize):
    model = distillation(tiny_encoder_dir, epsilon=100.0, normalize=normalize)
    outputs, dropped = passes(model)
    torch.manual_seed(1)
    model(BATCH, teacher())
    after = torch.random.get_rng_state()
    assert len(outputs) == 2 and dropped[0].any()
    step = outputs[1] - outputs[0]
    real = BATCH["attention_mask"].bool()
    assert (step[real].abs().sum(-1) > 0).all() and not step[~real].any()
    if normalize == "l2":  # each text has a step of length ε
        torch.testing.assert_close(step.flatten(1).norm(dim=1), torch.full((2,), 100.0))
    # What a small step left alone was dropped alike: zeros beside the residual come from the dropout alone.
    torch.testing.assert_close(dropped[0], dropped[1])
    # The generator ends where one plain pass leaves it.
    model.perturbation = None
    torch.manual_seed(1)
    model(BATCH, teacher())
    assert torch.equal(torch.random.get_rng_state(), after)


def test_parameters_get_the_second_pass_alone(tiny_encoder_dir):
    model = distillation(tiny_encoder_dir, epsilon=5.0)
    outputs, _ = passes(model)
    torch.manual_seed(1)
    loss, _ = model(BATCH, teacher())
    assert all(parameter.grad is None for parameter in model.parameters())
    loss.backward()
    found = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    # By hand: the same step as a constant, one pass, one backward.
    step = outputs[1] - outputs[0]
    model.zero_grad()
    model.perturbation = None
    hook = embedding_module(model.student).register_forward_hook(lambda module, inputs, output: output + step)
    torch.manual_seed(1)
    by_hand, _ = model(BATCH, teacher())
    hook.remove()
    by_hand.backward()
    assert by_hand.item() == pytest.approx(loss.item(), rel=1e-5)
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(found[name], parameter.grad, atol=1e-6, rtol=1e-4)


def test_scoring_is_not_perturbed_and_bf16_works(tiny_encoder_dir):
    model = distillation(tiny_encoder_dir)
    outputs, _ = passes(model)
    model.eval()(BATCH, teacher())
    assert len(outputs) == 1
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = model.train()(BATCH, teacher())
    loss.backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert gradients and all(torch.isfinite(gradient).all() for gradient in gradients)


def test_a_memory_learns_a_batch_once(tiny_encoder_dir):
    from potstill.models.output import Field

    pairs = [(4, 4)]
    loss = make_loss("crd", {"count": 3, "dim": 4, "momentum": 0.5})
    objective = Objective([TermSpec("crd", loss, pairs=pairs)], Sizes(0, 32), Sizes(0, 32), rows=8)
    model = Distillation(load_encoder(tiny_encoder_dir), objective, Perturbation()).train()
    states = EncoderOutput(BATCH["attention_mask"], {Field("mean_states", 4): torch.randn(2, 32)})
    before = loss.memory.clone()
    z = nn.functional.normalize(loss.teacher_map(states[Field("mean_states", 4)]), dim=-1)
    model(BATCH, states)
    torch.testing.assert_close(loss.memory[0, :2], nn.functional.normalize(0.5 * before[0, :2] + 0.5 * z, dim=-1))
    assert objective.training


def test_a_student_without_an_embedding_module_is_told():
    class Network(nn.Module):
        config = type("Config", (), {"model_type": "odd"})

    class Student:
        backbone = Network()

    with pytest.raises(PotstillError, match="a odd has no module `embeddings`"):
        embedding_module(Student())  # type: ignore[arg-type]
