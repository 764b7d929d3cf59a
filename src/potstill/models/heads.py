"""Heads on a backbone: which one a saved model has, and loading or making one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from potstill.errors import PotstillError

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
    if kind != "classification":
        return kind
    problem = network.config.problem_type
    known = {name: kind for kind, (_, name) in HEADS.items() if name}
    return known[problem] if problem in known else ("regression" if network.config.num_labels == 1 else "classification")


def labels_of(network: PreTrainedModel, kind: str) -> list[str]:
    """Names of the logits in their order."""
    if kind in ("embed", "mlm", "regression"):
        return []
    return [str(name) for _, name in sorted(network.config.id2label.items())]  # type: ignore[union-attr]  # a head has labels


def saved_kind(folder: Path) -> str:
    """The kind of a folder's head; a language model's counts as none, since most pretrained encoders carry one."""
    try:
        names = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("architectures") or [""]
    except (OSError, ValueError) as error:
        raise PotstillError(folder / "config.json", f"cannot be read ({error})", "fetch or save the model again") from error
    kind = _kind(str(names[0]))
    return "embed" if kind == "mlm" else kind


def load_network(folder: Path, kind: str, labels: Sequence[str] = (), seed: int = 0) -> PreTrainedModel:
    """Load a network with a head of `kind`, in fp32; a head (or a vocabulary's decoder) that the folder lacks is drawn with `seed`.

    Args:
        labels: of a head made anew; where the folder's head has the same, it is kept. Without any, the folder's.
    """
    import transformers

    transformers.logging.set_verbosity_error()  # a head made anew is no news to whoever asked for it
    if kind == "embed":
        return transformers.AutoModel.from_pretrained(folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False)
    config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if labels or kind == "regression":
        name_labels(config, kind, labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return getattr(transformers, HEADS[kind][0]).from_pretrained(
            folder, config=config, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, ignore_mismatched_sizes=True
        )


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


def _kind(architecture: str) -> str:
    return next((kind for suffix, kind in SUFFIXES.items() if architecture.endswith(suffix)), "embed")
