"""Heads on a backbone: which one a saved model has, and loading or making one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from potstill.errors import PotstillError
from potstill.files import read_json

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

# Kind of a head → (transformers' class for it, what its configuration calls the problem).
HEADS = {
    "classification": ("AutoModelForSequenceClassification", "single_label_classification"),
    "multilabel": ("AutoModelForSequenceClassification", "multi_label_classification"),
    "regression": ("AutoModelForSequenceClassification", "regression"),
    "tagging": ("AutoModelForTokenClassification", None),
    "mlm": ("AutoModelForMaskedLM", None),
}
SUFFIXES = {"ForSequenceClassification": "classification", "ForTokenClassification": "tagging", "ForMaskedLM": "mlm"}


def kind_of(network: PreTrainedModel) -> str:
    """The kind of head that a network has, "embed" for none."""
    kind = _kind(type(network).__name__)
    return _problem(network.config.problem_type, network.config.num_labels) if kind == "classification" else kind


def labels_of(network: PreTrainedModel, kind: str) -> list[str]:
    """Names of the logits in their order."""
    if kind in ("embed", "mlm", "regression"):
        return []
    return [str(name) for _, name in sorted(network.config.id2label.items())]  # type: ignore[union-attr]  # a head has labels


def saved_kind(folder: Path) -> str:
    """The kind of a folder's head; a language model's counts as none, since most pretrained encoders carry one."""
    kind = saved_head(folder)[0]
    return "embed" if kind == "mlm" else kind


def saved_head(folder: Path) -> tuple[str, list[str]]:
    """The kind of a folder's head, "embed" for none, and the names of its logits, read without loading anything."""
    config = read_json(folder / "config.json")
    config = config if isinstance(config, dict) else {}
    kind = _kind(str((config.get("architectures") or [""])[0]))
    # A configuration without names is one of two labels to transformers.
    names = [str(name) for _, name in sorted((config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}).items(), key=_number)]
    if kind == "classification":
        kind = _problem(config.get("problem_type"), len(names))
    return kind, [] if kind in ("embed", "mlm", "regression") else names


def load_network(folder: Path, kind: str, labels: Sequence[str] = (), seed: int = 0) -> PreTrainedModel:
    """Load a network with a head of `kind`, in fp32; a head (or a vocabulary's decoder) that the folder lacks is drawn with `seed`.

    Args:
        labels: of a head made anew; where the folder's head has the same, it is kept. Without any, the folder's.
    """
    import transformers

    import potstill.models.bilstm
    import potstill.models.compact
    import potstill.models.static  # noqa: F401  # these tell transformers of themselves

    transformers.logging.set_verbosity_error()  # a head made anew is no news to whoever asked for it
    if kind == "embed":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # of a pooler that the folder lacks
            return transformers.AutoModel.from_pretrained(folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False)
    config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    before = [str(name).casefold() for _, name in sorted(config.id2label.items())]
    if labels or kind == "regression":
        name_labels(config, kind, labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = getattr(transformers, HEADS[kind][0]).from_pretrained(
            folder, config=config, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, ignore_mismatched_sizes=True
        )
        named = before != [f"label_{number}" for number in range(len(before))]  # else the data says what the logits mean
        if labels and named and before != [name.casefold() for name in labels]:
            _draw_output(network)
    return network


def new_network(config: PretrainedConfig, kind: str, seed: int) -> PreTrainedModel:
    """A network with random weights, drawn with `seed`."""
    import transformers

    name = "AutoModel" if kind == "embed" else HEADS[kind][0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return getattr(transformers, name).from_config(config, dtype=torch.float32)


def name_labels(config: PretrainedConfig, kind: str, labels: Sequence[str]) -> None:
    """Write into a configuration what its head tells apart."""
    config.problem_type = HEADS[kind][1]  # type: ignore[assignment]
    names = list(labels) or ["score"]
    config.id2label = dict(enumerate(names))
    config.label2id = {name: number for number, name in enumerate(names)}


def output_layer(network: PreTrainedModel) -> torch.nn.Linear:
    """The layer of a network's head that gives its logits.

    Raises:
        PotstillError: there is none.
    """
    inside = set(network.base_model.modules())
    linear = [module for module in network.modules() if module not in inside and isinstance(module, torch.nn.Linear)]
    found = [module for module in linear if module.out_features == network.config.num_labels]
    if not found:
        raise PotstillError(f"model ({network.config.model_type})", "has no layer that gives logits", "fine-tune it on a task first")
    return found[-1]


@contextmanager
def reading(network: PreTrainedModel, wanted: bool = True) -> Iterator[list[torch.Tensor]]:
    """Within the block a forward pass fills the list with what the layer that gives the logits reads, where that is `wanted`."""
    found: list[torch.Tensor] = []
    if not wanted:
        yield found
        return
    hook = output_layer(network).register_forward_pre_hook(lambda module, inputs: found.append(inputs[0]))
    try:
        yield found
    finally:
        hook.remove()


@contextmanager
def answering_at(network: PreTrainedModel, chosen: torch.Tensor | None) -> Iterator[None]:
    """Within the block the head of a language model sees the chosen tokens alone, (b, l) → logits (n, vocabulary); None: all of them.

    A vocabulary is the widest layer of a small network: with 15 % of the tokens masked the whole of it costs seven times what is read.
    """
    if chosen is None:
        yield
        return
    base = network.base_model
    # The first part of the head: a stack of layers in BERT and MPNet, the first of three layers in DistilBERT.
    head = next(child for child in network.children() if child is not base and any(True for _ in child.parameters()))
    hook = head.register_forward_pre_hook(lambda module, inputs: (inputs[0][chosen], *inputs[1:]))
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def undecoded(network: PreTrainedModel) -> Iterator[torch.nn.Linear]:
    """Within the block a language model's logits are what its decoder reads, (…, d); gives the decoder, (vocabulary, d).

    For whoever wants logits of a part of the vocabulary, which differs from token to token.
    """
    decoder: Any = network.get_output_embeddings()
    decoder.forward = lambda hidden: hidden
    try:
        yield decoder
    finally:
        del decoder.forward


def _draw_output(network: PreTrainedModel) -> None:
    """Draw the layer that gives the logits anew: it told other labels apart, which transformers only sees where their number differs."""
    layer = output_layer(network)
    torch.nn.init.normal_(layer.weight, std=getattr(network.config, "initializer_range", 0.02))
    if layer.bias is not None:
        torch.nn.init.zeros_(layer.bias)


def _kind(architecture: str) -> str:
    return next((kind for suffix, kind in SUFFIXES.items() if architecture.endswith(suffix)), "embed")


def _problem(problem_type: str | None, labels: int | None) -> str:
    """What a head for sequences is for; transformers leaves the type empty until it has trained."""
    known = {name: kind for kind, (_, name) in HEADS.items() if name}
    return known.get(problem_type or "", "regression" if labels == 1 else "classification")


def _number(item: tuple[str, str]) -> int:
    return int(item[0])
