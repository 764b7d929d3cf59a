"""Heads on a backbone: which one a saved model has, and loading or making one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from potstill.errors import PotstillError, shown
from potstill.machine.files import read_json
from potstill.models.source import library_reads
from potstill.models.weights import load_weights
from potstill.registry import EMBED, MLM
from potstill.runtime.folder import CLASSIFICATION, MULTILABEL, REGRESSION, TAGGING

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

# Kind of a head → (transformers' class for it, what its configuration calls the problem).
HEADS = {
    CLASSIFICATION: ("AutoModelForSequenceClassification", "single_label_classification"),
    MULTILABEL: ("AutoModelForSequenceClassification", "multi_label_classification"),
    REGRESSION: ("AutoModelForSequenceClassification", REGRESSION),
    TAGGING: ("AutoModelForTokenClassification", None),
    MLM: ("AutoModelForMaskedLM", None),
}
# What is read of a configuration as a number, by the names that transformers gives to every family's.
NUMBERS = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings")
SUFFIXES = {"ForSequenceClassification": CLASSIFICATION, "ForTokenClassification": TAGGING, "ForMaskedLM": MLM}


def kind_of(network: PreTrainedModel) -> str:
    """The kind of head that a network has: a name of HEADS, or "embed" for none."""
    kind = _kind(type(network).__name__)
    return _problem(network.config.problem_type, network.config.num_labels) if kind == CLASSIFICATION else kind


def labels_of(network: PreTrainedModel, kind: str) -> list[str]:
    """Names of the logits in their order; none of "embed", "mlm" and "regression"."""
    if kind in (EMBED, MLM, REGRESSION):
        return []
    return [str(name) for _, name in sorted(network.config.id2label.items())]  # type: ignore[union-attr]  # a head has labels


def saved_kind(folder: Path) -> str:
    """The kind of a folder's head; a language model's counts as none, since most pretrained encoders carry one.

    A PotstillError from read_json comes through: config.json cannot be read.
    """
    kind = saved_head(folder)[0]
    return EMBED if kind == MLM else kind


def saved_head(folder: Path) -> tuple[str, list[str]]:
    """What a folder's configuration says of its head; no network is loaded.

    Returns:
        The head's kind, "embed" for none, and the names of its logits in their order.

    Raises:
        PotstillError: config.json cannot be read, or a value in it is none that it can have.
    """
    file = folder / "config.json"
    config = read_json(file)
    config = config if isinstance(config, dict) else {}
    architectures = config.get("architectures") or [""]
    if not isinstance(architectures, list):
        raise PotstillError(file, f"architectures is {shown(architectures)}", "a list of one name is needed")
    kind = _kind(str(architectures[0]))
    # A configuration without names is one of two labels to transformers.
    labels = config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    if not isinstance(labels, dict) or not all(number.isdecimal() and len(number) < 10 for number in labels):
        raise PotstillError(file, f"id2label is {shown(labels)}", "an object is needed, from the logits' numbers to their names")
    names = [str(labels[number]) for number in sorted(labels, key=int)]
    if kind == CLASSIFICATION:
        problem = config.get("problem_type")
        known = [name for _, name in HEADS.values() if name]
        if problem is not None and problem not in known:
            raise PotstillError(file, f"problem_type is {shown(problem)}", f"known: {', '.join(known)}")
        kind = _problem(problem, len(names))
    return kind, [] if kind in (EMBED, MLM, REGRESSION) else names


def load_network(
    folder: Path, config: PretrainedConfig, kind: str, labels: Sequence[str] = (), seed: int = 0, pooler: bool = False
) -> PreTrainedModel:
    """Load a network with a head, in fp32.

    A PotstillError from `load_weights` comes through: the folder's weights are not the network's.

    Args:
        folder: of a transformers model.
        config: the folder's, as `load_config` reads it; what the head tells apart is written into it.
        kind: a name of HEADS, or "embed" for no head.
        labels: of a head made anew; where the folder's head has the same, it is kept. Without any, the folder's.
        seed: what a head, a decoder or a pooler that the folder lacks is drawn with.
        pooler: whether BERT's pooler is read, so that the folder must have it.
    """
    import transformers

    if kind == EMBED:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # of a pooler that the folder lacks
            return load_weights(folder, transformers.AutoModel, config, head=False, pooler=pooler)
    before = [str(name).casefold() for _, name in sorted(config.id2label.items())]  # type: ignore[union-attr]  # a head has labels
    named = before != [f"label_{number}" for number in range(len(before))]  # else the data says what the logits mean
    own = saved_head(folder)[0]
    asked = [name.casefold() for name in labels] or (["score"] if kind == REGRESSION else before)
    # Whether the folder's head is what is asked for. transformers itself sees only where the number of labels differs.
    same = own in HEADS and HEADS[own][0] == HEADS[kind][0]
    order = _order(asked, before) if same and named and kind != REGRESSION else None
    kept = same and len(asked) == len(before) and (kind == REGRESSION or not named or order is not None)
    if labels or kind == REGRESSION:
        name_labels(config, kind, labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = load_weights(folder, getattr(transformers, HEADS[kind][0]), config, head=kept, pooler=False)
        if labels and named and order is None:
            _draw_output(network)
        elif labels and order is not None:
            _order_output(network, order)
    return network


def load_config(folder: Path) -> PretrainedConfig:
    """A folder's configuration, as transformers reads it.

    Raises:
        PotstillError: it cannot be read, or is that of no encoder of texts; a size in it is no whole number.
    """
    import transformers

    import potstill.models.bilstm  # noqa: F401
    import potstill.models.compact  # noqa: F401
    import potstill.models.static  # noqa: F401  # these tell transformers of themselves

    transformers.logging.set_verbosity_error()  # a head made anew is no news to whoever asked for it
    file = folder / "config.json"
    with library_reads(file):
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
        found = {name: getattr(config, name, None) for name in NUMBERS}
    for name, value in found.items():
        if not (value is None or type(value) is int or (isinstance(value, float) and value.is_integer())):
            raise PotstillError(file, f"{name} is {shown(value)}", "a whole number is needed")
    return config


def new_network(config: PretrainedConfig, kind: str, seed: int) -> PreTrainedModel:
    """A network with random weights, in fp32; torch's generator stays as it was.

    Args:
        config: its sizes, and the labels of its head.
        kind: a name of HEADS, or "embed" for no head.
        seed: what the weights are drawn with.
    """
    import transformers

    name = "AutoModel" if kind == EMBED else HEADS[kind][0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return getattr(transformers, name).from_config(config, dtype=torch.float32)


def name_labels(config: PretrainedConfig, kind: str, labels: Sequence[str]) -> None:
    """Write into a configuration what its head tells apart.

    Args:
        config: it is changed in place.
        kind: a name of HEADS.
        labels: in the order of the logits; none of a regression, whose one logit is called "score".
    """
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
    """Within the block a forward pass adds to a list what the layer that gives the logits reads.

    A PotstillError from `output_layer` comes through.

    Args:
        network: with a head.
        wanted: False leaves the list empty.

    Yields:
        The list: a tensor (b, …, d) for each forward pass.
    """
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
def logits_at(network: PreTrainedModel, mask: torch.Tensor | None) -> Iterator[None]:
    """Within the block a language model computes the logits of some tokens alone.

    A vocabulary is the widest layer of a small network: with 15 % of the tokens masked the logits of all cost seven times what is read.

    Args:
        network: with a language model's head.
        mask: (b, l) True at n tokens, whose logits are then (n, vocabulary); None for all, (b, l, vocabulary).
    """
    if mask is None:
        yield
        return
    base = network.base_model
    # The first part of the head: a stack of layers in BERT and MPNet, the first of three layers in DistilBERT.
    head = next(child for child in network.children() if child is not base and any(True for _ in child.parameters()))
    hook = head.register_forward_pre_hook(lambda module, inputs: (inputs[0][mask], *inputs[1:]))
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def without_decoder(network: PreTrainedModel) -> Iterator[torch.nn.Linear]:
    """Within the block a language model gives in place of its logits what its decoder reads, (…, d).

    For whoever wants logits of a part of the vocabulary, which differs from token to token.

    Args:
        network: with a language model's head.

    Yields:
        The decoder, whose weight is (vocabulary, d).
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


def _order(asked: Sequence[str], before: Sequence[str]) -> list[int] | None:
    """The place of each of some labels among others; None where these are not the same ones, or not told apart."""
    if sorted(asked) != sorted(before) or len(set(before)) != len(before):
        return None
    return [before.index(name) for name in asked]


def _order_output(network: PreTrainedModel, order: Sequence[int]) -> None:
    """Put the rows of the layer that gives the logits into another order: the same labels are told apart, numbered otherwise."""
    layer, rows = output_layer(network), list(order)
    with torch.no_grad():
        for tensor in [layer.weight, *([] if layer.bias is None else [layer.bias])]:
            tensor.copy_(tensor[rows].clone())


def _kind(architecture: str) -> str:
    return next((kind for suffix, kind in SUFFIXES.items() if architecture.endswith(suffix)), EMBED)


def _problem(problem_type: str | None, labels: int | None) -> str:
    """What a head for sequences is for; transformers leaves the type empty until it has trained."""
    known = {name: kind for kind, (_, name) in HEADS.items() if name}
    return known.get(problem_type or "", REGRESSION if labels == 1 else CLASSIFICATION)
