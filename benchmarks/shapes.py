r"""Size and speed of the shapes that publications compare, with random weights, as a Markdown table: no training changes them.

    python benchmarks/shapes.py --tokenizer MODEL [--threads 1] [--data DATA]

MODEL is a folder whose tokenizer is taken: its number of pieces is that of the token tables, 30,522 for BERT's. Each shape is
timed in a process of its own; the first row is what the others are compared with. DATA holds senteval/; with it one pass over both
sentences of every pair of STS-B is timed, one at a time, as DistilFACE's Table 2 has it.

- LRC-BERT (Fu et al. 2021): 4 layers of 312, published as 7.5 times smaller and 9.6 times faster than BERT-base.
- DistilFACE: DistilBERT beside BERT, published as 66 to 110 million parameters, 410 to 668 seconds (Table 2, 1.63 times), and
  265,489 to 435,650 KB, quantised 138,116 KB (Table 3: 1.64 and 3.15 times).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from potstill.evaluation.cost import measure_cost, measure_pass
from potstill.results import Cost

BERT = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
SHAPES: dict[str, tuple[str, dict[str, int], str]] = {
    "BERT-base": ("bert", BERT, "auto"),
    "DistilBERT": ("distilbert", {}, "auto"),
    "DistilBERT, torch int8": ("distilbert", {}, "torch-int8"),
    "LRC-BERT, TinyBERT-4": ("bert", BERT | {"hidden_size": 312, "num_hidden_layers": 4, "intermediate_size": 1200}, "auto"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    print("| shape | parameters, M | file, MB | one sentence, ms | sentences a second | pass of STS-B, s |\n|---|---|---|---|---|---|")
    first: tuple[Cost, float | None] | None = None
    with TemporaryDirectory() as place:
        for number, (name, (family, sizes, precision)) in enumerate(SHAPES.items()):
            folder = save(family, sizes, options.tokenizer, Path(place) / str(number))
            cost = measure_cost(folder, precision, options.threads)
            seconds = None if options.data is None else measure_pass(folder, "sts/stsb", options.data, precision, options.threads)
            first = first or (cost, seconds)
            print(row(name, (cost, seconds), first), flush=True)


def save(family: str, sizes: dict[str, int], tokenizer: Path, folder: Path) -> Path:
    """A model of a shape, drawn with one seed."""
    import torch
    from transformers import AutoConfig, AutoModel

    from potstill.models.encoder import EncoderModel
    from potstill.models.loading import load_tokenizer

    own = load_tokenizer(tokenizer)
    config = AutoConfig.for_model(family, vocab_size=len(own.get_vocab()), **sizes)
    torch.manual_seed(0)
    # BERT's own pooler is no part of what is timed, nor of what a vector needs.
    network: Any = AutoModel.from_config(config, **({"add_pooling_layer": False} if family == "bert" else {}))
    EncoderModel(network, own, pooling="mean", max_length=128).save(folder)
    return folder


def row(name: str, own: tuple[Cost, float | None], first: tuple[Cost, float | None]) -> str:
    """Numbers of a shape, and behind each how many times smaller or faster that is than the first shape's."""
    cost, base = own[0], first[0]
    cells = [
        f"{cost.parameters / 1e6:.1f} ({base.parameters / cost.parameters:.2f}×)",
        f"{cost.bytes / 1e6:.1f} ({base.bytes / cost.bytes:.2f}×)",
        f"{cost.latency_p50_ms:.1f} ({base.latency_p50_ms / cost.latency_p50_ms:.2f}×)",
        f"{cost.sentences_per_second:.0f} ({cost.sentences_per_second / base.sentences_per_second:.2f}×)",
        "" if own[1] is None or first[1] is None else f"{own[1]:.0f} ({first[1] / own[1]:.2f}×)",
    ]
    return f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
