"""Weights out of a folder into a network: all of them, or a refusal that names what does not fit.

transformers draws at random what it does not find in a file, under whatever name the file has it, and leaves out what it does not know.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from potstill.errors import PotstillError, warn
from potstill.models.source import library_reads

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

WEIGHTS = "model.safetensors"
AGAIN = "save the model again with save_pretrained"
# What wrappers put before the names of a network that they hold: torch's own, sentence-transformers', and people's.
WRAPPERS = frozenset({"0", "auto_model", "model", "module", "_orig_mod", "encoder", "backbone", "transformer"})
# Buffers that a network makes by itself; older files have them and newer ones do not, or the other way round.
MADE = ("position_ids", "token_type_ids")
# The first part of the names of heads, which an encoder without a head leaves out.
HEAD = re.compile(
    r"(cls|lm_head|mlm|\w*classifier|classification_head|qa_outputs|score|\w*predictions|decoder|head|heads|vocab_\w+|generator_\w+"
    r"|pred_layer|sequence_summary|logits_proj|pooler|final_logits_bias|\w+_logits|answer_class|nsp\w*|dropout)(\.|$)"
)
FLOATS = {"F64", "F32", "F16", "BF16"}
ROOM = 10_000_000  # numbers that a network may have beside twice those in its files: heads that are made anew


@dataclass(frozen=True)
class Stored:
    """What a folder's files hold, by their headers alone: no tensor is read.

    Attributes:
        files: that hold the weights.
        shapes: of each tensor, by its name.
    """

    files: list[Path]
    shapes: dict[str, tuple[int, ...]]

    @property
    def numbers(self) -> int:
        """How many there are in all tensors."""
        return sum(torch.Size(shape).numel() for shape in self.shapes.values())


def load_weights(folder: Path, kind: Any, config: PretrainedConfig, *, head: bool, pooler: bool) -> PreTrainedModel:
    """Make a network and fill it with a folder's weights, in fp32.

    Names with what a wrapper put before them (WRAPPERS) are read without it.

    Args:
        folder: of a transformers model.
        kind: transformers' class that makes the network of the configuration: AutoModel or another.
        config: of the network.
        head: whether the folder's head is asked for; else one may be made anew, also in another size.
        pooler: whether BERT's pooler is read, so that it may not be made anew.

    Raises:
        PotstillError: the files cannot be read, hold weights that are not floating-point or not finite, lack weights of the
            network, hold more layers than it has, or weights of other sizes.
    """
    stored = stored_in(folder)
    _require_room(folder, kind, config, stored)
    with library_reads(stored.files[0]):
        network, report = _filled(kind, folder, config)
    drawn = [name for name in report["missing_keys"] if not _may_be_drawn(network, name, head, pooler)]
    prefix = _wrapper(drawn, stored.shapes, network.base_model_prefix) if drawn else ""
    if prefix:
        from safetensors.torch import load_file

        with library_reads(stored.files[0]):
            tensors = {name.removeprefix(prefix): tensor for file in stored.files for name, tensor in load_file(file).items()}
            network, report = _filled(type(network), None, network.config, state_dict=tensors)
        drawn = [name for name in report["missing_keys"] if not _may_be_drawn(network, name, head, pooler)]
    if drawn:
        some = f"{_some(drawn)}; what is there begins with {_some(stored.shapes, 1)}"
        raise PotstillError(folder, f"lacks {_counted(drawn)} of a {type(network).__name__}: {some}", f"check config.json, or {AGAIN}")
    _require_sizes(folder, network, report["mismatched_keys"], head)
    _require_all_read(folder, network, report["unexpected_keys"])
    require_finite(folder, network)
    return network


def stored_in(folder: Path) -> Stored:
    """What a folder's weight files hold.

    Raises:
        PotstillError: a file cannot be read, or holds weights of whole numbers, which quantisation makes.
    """
    from safetensors import safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    files = _weight_files(folder)
    for file in files:
        with library_reads(file), safe_open(file, framework="pt") as content:
            headers = {name: content.get_slice(name) for name in content.keys()}
            types = {name: str(header.get_dtype()) for name, header in headers.items()}
            shapes |= {name: tuple(header.get_shape()) for name, header in headers.items()}
        for name, dtype in types.items():
            if dtype not in FLOATS and name.endswith((".weight", ".bias")):
                raise PotstillError(
                    folder / file.name, f"holds {name} as {dtype}: it is quantised", "name the model before it was quantised"
                )
    return Stored(files, shapes)


def require_finite(folder: Path, network: PreTrainedModel) -> None:
    """Check that no weight is NaN or infinite. A sum tells it five times as fast as a look at every number.

    Raises:
        PotstillError: one is.
    """
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor.detach().sum())) and not bool(torch.isfinite(tensor).all()):
            bad = int((~torch.isfinite(tensor)).sum())
            raise PotstillError(folder, f"{name} has {bad} of {tensor.numel()} numbers that are NaN or infinite", "train or fetch it again")


def _filled(kind: Any, folder: Path | None, config: PretrainedConfig, **more: Any) -> tuple[PreTrainedModel, dict[str, Any]]:
    """A network with a folder's weights, or a state_dict's, and what transformers says of them."""
    network, report = kind.from_pretrained(
        folder,
        config=config,
        dtype=torch.float32,
        use_safetensors=True,
        trust_remote_code=False,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        **more,
    )
    return network, report


def _weight_files(folder: Path) -> list[Path]:
    """The files that transformers reads: the one, or those of an index; else any that there are.

    Raises:
        PotstillError: the index cannot be read, or names a file that is not in the folder.
    """
    index = folder / f"{WEIGHTS}.index.json"
    if (folder / WEIGHTS).is_file() or not index.is_file():
        return [folder / WEIGHTS] if (folder / WEIGHTS).is_file() else sorted(folder.glob("*.safetensors"))
    with library_reads(index):
        names = sorted({str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            raise PotstillError(index, f"names {name!r}, which is not in the folder", "fetch or save the model again")
    return [folder / name for name in names]


def _require_room(folder: Path, kind: Any, config: PretrainedConfig, stored: Stored) -> None:
    """Check, before any memory is taken, that config.json's sizes are near those of the files.

    Raises:
        PotstillError: they are far from it.
    """
    place, remedy = folder / "config.json", "fetch or save the model again"
    layers = getattr(config, "num_hidden_layers", 0)
    if isinstance(layers, int) and layers > 1000 + len(stored.shapes):
        raise PotstillError(place, f"has {layers} layers, and the weights are {len(stored.shapes)} tensors", remedy)
    with library_reads(place), torch.device("meta"):
        network = kind.from_config(config, trust_remote_code=False)
    wanted = sum(tensor.numel() for tensor in [*network.parameters(), *network.buffers()])
    if wanted > 2 * stored.numbers + ROOM:
        raise PotstillError(place, f"asks for {wanted:,} numbers, and the weights are {stored.numbers:,}", remedy)


def _may_be_drawn(network: PreTrainedModel, name: str, head: bool, pooler: bool) -> bool:
    """Whether a tensor that the files lack may be made anew."""
    own = _of_backbone(network, name)
    if own is None:
        return not head
    if own.rpartition(".")[2] in MADE:
        return True
    if own.partition(".")[0] == "pooler":
        return not pooler and not head
    module = network.base_model.get_submodule(own.rpartition(".")[0])
    return "Sinusoidal" in type(module).__name__  # computed, not learnt


def _of_backbone(network: PreTrainedModel, name: str) -> str | None:
    """The name of a tensor of a network within its backbone; None for one of the head."""
    if network.base_model is network:
        return name
    before = f"{network.base_model_prefix}."
    return name.removeprefix(before) if name.startswith(before) else None


def _wrapper(missing: Iterable[str], there: Collection[str], base: str) -> str:
    """What a wrapper put before every tensor that is missing; "" where that explains nothing."""
    common: set[str] | None = None
    for name in missing:
        tails = {name, f"{base}.{name}", name.removeprefix(f"{base}.")}
        found = {key.removesuffix(tail) for tail in tails for key in there if key.endswith(f".{tail}")}
        common = found if common is None else common & found
    known = [prefix for prefix in common or () if WRAPPERS.issuperset(prefix.rstrip(".").split("."))]
    return min(known, key=len, default="")


def _require_sizes(folder: Path, network: PreTrainedModel, mismatched: Iterable[tuple[str, Any, Any]], head: bool) -> None:
    """Check that nothing but a head that is made anew has other sizes than the files.

    Raises:
        PotstillError: something has.
    """
    for name, stored, wanted in sorted(mismatched):
        if head or _of_backbone(network, name) is not None:
            problem = f"{name} is {list(stored)} in the weights, and config.json makes it {list(wanted)}"
            raise PotstillError(folder, problem, f"mend config.json, or {AGAIN}")


def _require_all_read(folder: Path, network: PreTrainedModel, unexpected: Iterable[str]) -> None:
    """Check that the backbone leaves out nothing that the files hold, and warn of what is neither its own nor a known head's.

    Raises:
        PotstillError: there are more layers, or other parts within the backbone.
    """
    base, parts = network.base_model, {name for name, _ in network.base_model.named_children()}
    before, beside, within = f"{network.base_model_prefix}.", [], []
    for name in sorted(unexpected):
        own = name.removeprefix(before)
        first = own.partition(".")[0]
        if own.rpartition(".")[2] in MADE or first == "pooler":
            continue
        if name != own or first in parts:
            within.append(name)
        elif not HEAD.match(own):
            beside.append(name)
    if within:
        problem = f"holds {_counted(within)} of which config.json's {type(base).__name__} has none: {_some(within)}"
        raise PotstillError(folder, problem, f"mend config.json (num_hidden_layers?), or {AGAIN}")
    headed = "For" in str((getattr(network.config, "architectures", None) or [""])[0])
    if beside and not headed:
        warn(folder, f"holds {_counted(beside)} that nothing reads: {_some(beside)}", "check that config.json is this model's")


def _counted(names: Collection[str]) -> str:
    return f"{len(names)} tensor{'s' * (len(names) != 1)}"


def _some(names: Iterable[str], limit: int = 2) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:limit]) + (" …" if len(ordered) > limit else "")
