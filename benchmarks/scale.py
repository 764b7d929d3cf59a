"""Memory of one process against the number of texts, and Ray's workers against each other: `python benchmarks/scale.py --help`.

Texts are those of a corpus, repeated and numbered until there are enough. Teacher and student are tiny and made here, so that
what grows is what the texts take. Each command is a process of its own, which is looked at every 20 ms. `anonymous` is the memory
that belongs to the process alone; `resident` has beside it the pages of mapped files, which the system takes back when it
needs them. `warm` runs find what the run before them kept. Prints JSON.

With `--ray` the commands `cache`, `encode`, `train` and `search` are timed instead, with a real model, three of whose layers make
the student: in one process on one core ("bare"), and on a cluster of Ray's of this machine with one worker and with two, a core each.
The times are those of whole commands, the cluster's start among them. `speedup` is one worker's time over two workers', `overhead` one
worker's over that of one process, less 1.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

SHARDS = 4
ALONE, SHARED = ("check", "train"), ("cache", "encode", "train", "search")  # commands that are looked at; with --ray
LAYERS, LEARNT = 3, 32_000  # of the student; texts of its training, where workers are timed
FEW = 2000  # texts of the run that shows what the libraries and the models take by themselves


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", required=True, help="a gzipped file with a text a line")
    parser.add_argument("--texts", default="100000,1000000,10000000", help="how many, with commas between")
    parser.add_argument("--folder", help="where texts and cache lie for the time; default: the system's folder for such")
    parser.add_argument("--commands", help="some of check,train, or with --ray of cache,encode,train,search; default: all")
    parser.add_argument("--ray", metavar="MODEL", help="time the four commands on a cluster, with this model")
    parser.add_argument("--batch", type=int, default=64, help="texts of a step, with --ray")
    options = parser.parse_args()
    known = SHARED if options.ray else ALONE
    commands = options.commands.split(",") if options.commands else list(known)
    if unknown := set(commands) - set(known):
        parser.error(f"--commands: {', '.join(sorted(unknown))} is none of {', '.join(known)}")
    if options.ray:
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            count = int(options.texts.split(",")[0])
            print(json.dumps(shared(Path(name), Path(options.corpus), count, options.ray, commands, options.batch), indent=1))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        build_teacher(folder / "teacher", Path(options.corpus))
        counts = [FEW, *map(int, options.texts.split(","))]
        found = {f"{count:,}": measured(folder, Path(options.corpus), count, commands) for count in counts}
    print(json.dumps({"texts": found, "growth": growth(list(found.values()))}, indent=1))


def shared(folder: Path, corpus: Path, count: int, model: str, commands: list[str], batch: int) -> dict[str, dict[str, float]]:
    write_texts(folder, corpus, count)
    parts = [str(folder / f"part-{shard}.txt") for shard in range(SHARDS)]
    (folder / "whole.txt").write_text("".join(Path(part).read_text(encoding="utf-8") for part in parts), encoding="utf-8")
    recipe = folder / "recipe.yaml"
    content = recipe_of(folder, model) | {"teacher": {"model": model, "max_length": 128}, "student": {"layers": LAYERS, "max_length": 128}}
    content["training"] |= {"precision": "auto", "batch_size": batch}
    recipe.write_text(json.dumps(content))
    watched(["check", str(recipe)], folder / "texts")  # the models are read from the disk once before
    if {"train", "search"} & set(commands):
        # Where they find the teacher's pass, that over held-out texts too.
        watched(["train", str(recipe), "--set", "stages.0.steps=1", "--out", str(folder / "once")], folder / "kept")
    space = folder / "space.yaml"
    space.write_text(json.dumps({"sampler": "grid", "keys": {"training.learning_rate": [1e-5, 2e-5, 3e-5, 4e-5]}}))
    found: dict[str, dict[str, float]] = {}
    for command in [command for command in SHARED if command in commands]:
        seconds = {}
        for name, workers in (("bare", 0), ("1 worker", 1), ("2 workers", 2)):
            out = folder / f"{command}-{name[0]}"
            ray = ["--ray", "auto", "--workers", str(workers)] if workers else []
            file = f"{out}.parquet" if command == "encode" and not workers else str(out)
            given = {
                "cache": [str(recipe)],
                "encode": [model, *(parts if workers else [str(folder / "whole.txt")]), "--out", file],
                "train": [str(recipe), "--set", f"stages.0.steps={LEARNT // batch}", "--out", file],
                "search": [str(recipe), "--space", str(space), "--out", file],
            }[command]
            pinned = ["taskset", "-c", ",".join(map(str, sorted(os.sched_getaffinity(0))[: max(workers, 1)]))]
            kept = folder / "kept" if command in ("train", "search") else out
            seconds[name] = watched([command, *given, *ray], kept, pinned)["seconds"]
            print(f"{count:,} {command} {name}: {seconds[name]} s", file=sys.stderr, flush=True)
        ratios = {"speedup": seconds["1 worker"] / seconds["2 workers"], "overhead": seconds["1 worker"] / seconds["bare"] - 1}
        found[command] = {"texts": count} | seconds | {key: round(value, 3) for key, value in ratios.items()}
    if "cache" in found:
        shards = [file for file in (folder / "cache-b" / "teacher").rglob("*") if file.is_file()]
        found["cache"] |= {"shards": len([file for file in shards if file.suffix == ".npy"])}
        found["cache"] |= {"bytes a text": round(sum(file.stat().st_size for file in shards) / count, 1)}
    if "encode" in found:
        found["encode"] |= {"bytes a text": round((folder / "encode-b.parquet").stat().st_size / count, 1)}
    return found


def growth(found: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Anonymous memory of the largest number of texts over that of the next smaller one: all of it, and beyond that of FEW texts."""
    few, smaller, larger = found[0], found[-2], found[-1]
    ratios = {}
    for step in larger:
        least, less, more = (one[step]["anonymous_mb"] for one in (few, smaller, larger))
        ratios[step] = {"all": round(more / less, 2), "beyond_few_mb": round(more - least, 1), "beyond_smaller_mb": round(more - less, 1)}
    return ratios


def measured(folder: Path, corpus: Path, count: int, commands: list[str]) -> dict[str, dict[str, float]]:
    data = folder / str(count)
    data.mkdir()
    write_texts(data, corpus, count)
    recipe = data / "recipe.yaml"
    recipe.write_text(json.dumps(recipe_of(data, str(folder / "teacher"))))
    found = {}
    for step in ("check", "check warm", "train", "train warm"):
        command = step.split()[0]
        if command in commands:
            out = ["--out", str(data / step.replace(" ", "-"))] if command == "train" else []
            found[step] = watched([command, str(recipe), *out], folder / "cache")
            print(f"{count:,} {step}: {found[step]}", file=sys.stderr, flush=True)
    for file in data.glob("part-*"):
        file.unlink()
    return found


def recipe_of(data: Path, teacher: str) -> dict[str, Any]:
    return {
        "name": "scale",
        "task": "embed",
        "data": {"dir": str(data), "texts": ["part-*.txt"]},
        "teacher": {"model": teacher, "max_length": 32},
        "student": {"layers": 1, "max_length": 32},
        "training": {"batch_size": 64, "evaluations": 1, "precision": "fp32"},
        "stages": [{"name": "vectors", "steps": 100, "terms": [{"loss": "embedding_cosine"}]}],
        "evaluate": [],
        "export": {"onnx": False},
    }


def watched(command: list[str], cache: Path, pinned: list[str] | None = None) -> dict[str, float]:
    started, anonymous, resident = time.perf_counter(), 0, 0
    process = subprocess.Popen(
        [*(pinned or []), sys.executable, "-m", "potstill.cli", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | {"POTSTILL_CACHE": str(cache)},
    )
    while process.poll() is None:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if ":" in line)
        anonymous = max(anonymous, kilobytes(status, "RssAnon"))
        resident = max(resident, kilobytes(status, "VmHWM"))
        time.sleep(0.02)
    assert process.stderr is not None
    if process.returncode:
        sys.exit(process.stderr.read().decode()[-2000:])
    return {
        "anonymous_mb": round(anonymous / 1024, 1),
        "resident_mb": round(resident / 1024, 1),
        "seconds": round(time.perf_counter() - started, 1),
    }


def kilobytes(status: dict[str, str], name: str) -> int:
    return int(status.get(name, "0 kB").split()[0])  # a process that has just ended has none


def texts(corpus: Path) -> Iterator[str]:
    turn = 0
    while True:
        with gzip.open(corpus, "rt", encoding="utf-8") as stream:
            for line in stream:
                if text := line.strip():
                    yield f"{text} {turn}" if turn else text
        turn += 1


def write_texts(folder: Path, corpus: Path, count: int) -> None:
    every = iter(texts(corpus))
    for shard in range(SHARDS):
        with (folder / f"part-{shard}.txt").open("w", encoding="utf-8") as stream:
            stream.writelines(f"{text}\n" for text in islice(every, count // SHARDS))


def build_teacher(folder: Path, corpus: Path) -> None:
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = {name: f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    bare = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    bare.normalizer = normalizers.BertNormalizer()
    bare.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    wanted: dict[str, Any] = {"vocab_size": 4000, "special_tokens": list(special.values()), "show_progress": False}
    bare.train_from_iterator(islice(texts(corpus), 20_000), trainers.WordPieceTrainer(**wanted))
    around = [(piece, bare.token_to_id(piece)) for piece in ("[CLS]", "[SEP]")]
    bare.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=around)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bare, **{f"{name}_token": piece for name, piece in special.items()})
    torch.manual_seed(0)
    config = BertConfig(vocab_size=bare.get_vocab_size(), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main()
