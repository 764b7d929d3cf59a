"""Which parts of a student a stage trains."""

from __future__ import annotations

from itertools import pairwise

import pytest

from potstill.models.loading import load_encoder
from potstill.student.bilstm import build_bilstm
from potstill.student.transformer import cut_student
from potstill.training.unfreezing import training_only


def trained(model, part):
    with training_only(model, part):
        found = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert all(parameter.requires_grad for parameter in model.parameters())
    return found


def test_of_a_bert(tiny_encoder_dir):
    source = load_encoder(tiny_encoder_dir, head="classification", labels=["no", "yes"])
    model = cut_student(source, [1, 2, 3])
    everything = {name for name, _ in model.named_parameters()}
    output = {"network.classifier.weight", "network.classifier.bias"}
    assert trained(model, "output") == output
    assert trained(model, "head") == output | {"network.bert.pooler.dense.weight", "network.bert.pooler.dense.bias"}
    top = {name for name in everything if ".layer.1." in name or ".layer.2." in name}
    assert trained(model, "top:2") == trained(model, "head") | top and top
    assert trained(model, "top:3") == {name for name in everything if ".embeddings." not in name}
    assert trained(model, "all") == everything


def test_of_a_bilstm_from_the_top_down(tiny_encoder_dir):
    sizes = {"layers": 2, "width": 6, "embedding": 8, "table": "random", "dense": 5, "activation": "relu"}
    rest = {"pooling": "max", "normalize": True, "max_length": 32, "seed": 3}
    source = load_encoder(tiny_encoder_dir)
    model = build_bilstm(source, kind="classification", labels=["no", "yes"], pairs=False, **sizes, **rest)
    steps = [trained(model, part) for part in ("output", "head", "top:1", "top:2", "all")]
    assert all(lower > higher for higher, lower in pairwise(steps))
    assert {name.split(".")[1] for name in steps[1]} == {"dense", "classifier"}
    assert {name.split(".")[3] for name in steps[2] - steps[1]} == {"1"} and {name.split(".")[3] for name in steps[3] - steps[2]} == {"0"}
    assert {name.split(".")[2] for name in steps[4] - steps[3]} == {"embeddings"}


def test_what_was_frozen_before_stays_so(tiny_encoder_dir):
    model = load_encoder(tiny_encoder_dir, head="classification", labels=["no", "yes"])
    model.backbone.get_input_embeddings().requires_grad_(False)
    with pytest.raises(KeyError), training_only(model, "head"):
        raise KeyError
    assert {name for name, parameter in model.named_parameters() if not parameter.requires_grad} == {
        "network.bert.embeddings.word_embeddings.weight"
    }
