"""model2vec's static model of a teacher, as a folder that `potstill evaluate` and `potstill compare` read.

    python -m venv anchors && anchors/bin/pip install -e '.[train]' -c constraints.txt 'model2vec[distill]'
    anchors/bin/python benchmarks/model2vec.py --teacher all-mpnet-base-v2 --out model2vec

The model is model2vec's own, at its defaults but for --width. The folder holds its table in fp32 and its tokenizer. One thing differs:
model2vec leaves unknown pieces out of a text's mean; here, as in sentence-transformers' StaticEmbedding, their row is part of it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path


def main() -> None:
    import torch
    from model2vec.distill import distill
    from transformers import PreTrainedTokenizerFast

    from potstill.models.encoder import EncoderModel
    from potstill.models.static import StaticConfig, StaticModel
    from potstill.student.static import bare

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", required=True, help="folder of a sentence encoder")
    parser.add_argument("--width", type=int, default=256, help="numbers of a vector (model2vec's pca_dims)")
    parser.add_argument("--out", required=True, help="folder to write")
    options = parser.parse_args()
    start = time.perf_counter()
    static = distill(model_name=options.teacher, pca_dims=options.width)
    print(f"model2vec: {len(static.tokens)} pieces, {time.perf_counter() - start:.0f} s")
    with tempfile.TemporaryDirectory() as folder:
        static.save_pretrained(folder)
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(Path(folder) / "tokenizer.json"), pad_token="<pad>", unk_token="[UNK]")
    table = torch.from_numpy(static.embedding).float()
    network = StaticModel(StaticConfig(vocab_size=len(table), hidden_size=options.width, pad_token_id=tokenizer.pad_token_id))
    with torch.no_grad():
        network.embedding.weight.copy_(table)
    EncoderModel(network, bare(tokenizer, 512), normalize=True, max_length=512).save(options.out)


if __name__ == "__main__":
    main()
