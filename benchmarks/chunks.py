r"""A chunking task out of the corpora: real sentences, tagged in BIO by the rules and the lexicon that TextBlob ships.

    pip install textblob
    python benchmarks/chunks.py --data DATA --out TAGS
    potstill train finetune/mrpc --set task=tagging/chunks --set data.dir=TAGS --set student.model=MODEL --out chunks-teacher
    potstill train recommended/tagging --set task=tagging/chunks --set data.dir=TAGS --set teacher.model=chunks-teacher

DATA holds corpora/sentences.txt.gz. The tags (B-NP, I-NP, B-VP, … O) are no gold annotation: a score against them says how well a
model repeats those rules. TextBlob is MIT-licensed, needs no download, and is no part of potstill.
"""

from __future__ import annotations

import argparse
import gzip
import random
from pathlib import Path

from textblob.en import parse

SPLITS = {"train": 6000, "dev": 1000, "test": 2000}
LONGEST = 200
"""Characters of a sentence at most: none is cut off at 128 pieces."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=13)
    options = parser.parse_args()
    with gzip.open(options.data / "corpora" / "sentences.txt.gz", "rt", encoding="utf-8") as file:
        sentences = sorted({line.strip() for line in file if 0 < len(line.strip()) <= LONGEST})
    random.Random(options.seed).shuffle(sentences)
    folder = options.out / "tagging" / "chunks"
    folder.mkdir(parents=True, exist_ok=True)
    start = 0
    for split, count in SPLITS.items():
        rows = [tagged(sentence) for sentence in sentences[start : start + count]]
        (folder / f"{split}.conll").write_text("\n\n".join(rows) + "\n", encoding="utf-8")
        start += count


def tagged(sentence: str) -> str:
    """One line for each word: the word, a space, its tag."""
    words = [word for part in parse(sentence, chunks=True).split() for word in part]
    return "\n".join(f"{word[0]} {word[2]}" for word in words)


if __name__ == "__main__":
    main()
