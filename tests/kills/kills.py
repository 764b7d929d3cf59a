"""Kills of train, cache, export and search at random moments and at every write; after --resume the result is that of an unbroken run.

`python tests/kills/kills.py` (make kills) takes some minutes; tests/kills/test_kills.py does a few of them.

Each attempt is a fork of a process that has everything imported. The kill at a write is a hook in that fork: calls of the functions
that potstill and its libraries write, rename and remove with (HOOKS) are counted, and the process ends by a signal before or after one.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

WORDS = "river village cat owl house tree stone boat night snow ship lamp".split()
LAX = {"max_drop": 100, "min_cosine_mean": 0, "min_cosine": -1, "min_invariance": 0, "min_speedup": 0, "tune": False}
HOOKS = (("os", "replace"), ("shutil", "rmtree"), ("torch", "save"), ("safetensors.torch", "save_file"))
PATIENCE = 600.0  # seconds after which a command counts as hanging


def write_work(folder: Path, teacher: Path) -> None:
    """A working folder: texts, a task, the teacher, a recipe of two stages down to int8, and a space of three trials."""
    (folder / "data" / "retrieval").mkdir(parents=True)
    shutil.copytree(teacher, folder / "teacher")
    (folder / "data" / "texts.txt").write_text("".join(f"the {a} sees the {b}\n" for a in WORDS for b in WORDS))
    rows = [{"query": f"the {a} and the {b}", "document": f"{b} was seen by {a}"} for a, b in zip(WORDS, WORDS[3:])]
    for name in ("words", "words-dev"):
        (folder / "data" / "retrieval" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    training = {"batch_size": 16, "learning_rate": 1e-3, "evaluations": 3, "precision": "fp32", "device": "cpu"}
    recipe = {
        "name": "tiny",
        "data": {"dir": "data", "texts": ["texts.txt"], "held_out": 16},
        "teacher": {"model": "teacher"},
        "student": {"layers": 2, "max_length": 32},
        "training": training,
        "stages": [
            {"name": "first", "steps": 7, "terms": [{"loss": "embedding_mse", "weight": 32}]},
            {"name": "second", "steps": 5, "terms": [{"loss": "embedding_cosine", "project": "linear"}, {"loss": "similarity_mse"}]},
        ],
        "evaluate": ["retrieval/words"],
        "export": {"int8": LAX},
    }
    (folder / "recipe.yaml").write_text(json.dumps(recipe))  # JSON is YAML
    keys = {"training.learning_rate": [1e-3, 2e-3, 3e-3]}
    (folder / "space.yaml").write_text(json.dumps({"sampler": "grid", "keys": keys}))


def small_teacher(folder: Path) -> Path:
    """A random BERT of two layers whose pieces are letters."""
    import string

    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, *string.ascii_lowercase, *(f"##{letter}" for letter in string.ascii_lowercase)]
    bare = Tokenizer(models.WordPiece({piece: number for number, piece in enumerate(pieces)}, unk_token="[UNK]"))
    bare.normalizer, bare.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    bare.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 64}
    BertModel(BertConfig(vocab_size=len(pieces), **sizes)).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=bare, **names).save_pretrained(folder)
    return folder


@dataclass(frozen=True)
class Command:
    """A command that is killed, and what is left of it at the end.

    Attributes:
        arguments: of potstill.
        resume: what is added to go on with what a killed one left.
        out: the folder that it writes, beside the cache.
    """

    arguments: tuple[str, ...]
    resume: tuple[str, ...]
    out: str


COMMANDS = {
    "train": Command(("train", "recipe.yaml", "--out", "run"), ("--resume",), "run"),
    "export": Command(("export", "teacher", "--out", "exported"), (), "exported"),
    "search": Command(
        ("search", "recipe.yaml", "--space", "space.yaml", "--out", "search", "--set", "training.select=retrieval/words-dev",
         "--set", "evaluate=[]", "--set", "export.onnx=false"),
        ("--resume",),
        "search",
    ),
}  # fmt: skip


def prepare() -> None:
    """Import once what every command would import and work out, and start no thread."""
    import optuna
    import torch
    from tqdm import tqdm
    from transformers import Trainer

    from potstill.cli import commands, voice
    from potstill.deploy import quantize
    from potstill.run import distil
    from potstill.search import search

    assert all((optuna, Trainer, commands, quantize, distil, search))
    tqdm.monitor_interval = 0  # else a thread of its own
    torch.set_num_threads(1)
    # The exporter's tables take seconds to make. No session of onnxruntime: its threads would be missing in a fork.
    voice.begin()
    torch.onnx.export(torch.nn.Linear(2, 2).eval(), (torch.ones(1, 2),), dynamo=True, verbose=False)


@dataclass(frozen=True)
class Kill:
    """When a command is killed, and by what.

    Attributes:
        number: of the signal.
        seconds: after its start; None: at a write.
        write: at which write, from 0.
        after: whether after that write, and not before it.
    """

    number: int = signal.SIGKILL
    seconds: float | None = None
    write: int | None = None
    after: bool = False


def attempt(folder: Path, arguments: tuple[str, ...], kill: Kill | None = None, largest: int | None = None) -> tuple[int, str, int]:
    """Run a command in a fork of this process, in `folder`.

    Args:
        folder: the working folder.
        arguments: of potstill.
        kill: when it is killed; None: not at all.
        largest: bytes that a file may have, which stands for a full disk; None: any number.

    Returns:
        Its status (that of a signal is negative), what it said on standard error, and its number of writes as far as it came.
    """
    said, writes = folder / "stderr.txt", folder / "writes.txt"
    writes.write_text("")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            # A shell lets what it starts in the background ignore SIGINT, and every child inherits that: the command would never be hit.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if largest is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
            status = _command(folder, arguments, kill, said, writes)
        except BaseException:  # the fork must never go on as the test
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    ends = time.monotonic() + PATIENCE
    strikes = time.monotonic() + kill.seconds if kill is not None and kill.seconds is not None else ends
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() >= min(strikes, ends):
            with suppress(ProcessLookupError):
                os.kill(child, kill.number if strikes < ends and kill is not None else signal.SIGKILL)
            strikes = ends
            assert time.monotonic() < ends, f"{arguments} hangs: {said.read_text()}"
        time.sleep(0.005)
    return os.waitstatus_to_exitcode(status), said.read_text(errors="replace"), len(writes.read_text())


def _command(folder: Path, arguments: tuple[str, ...], kill: Kill | None, said: Path, writes: Path) -> int:
    from potstill.cli import main

    os.chdir(folder)
    os.environ["POTSTILL_CACHE"] = str(folder / "cache")
    descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    count = itertools.count()

    def hooked(function: Callable[..., Any]) -> Callable[..., Any]:
        def write(*given: Any, **options: Any) -> Any:
            mine = next(count)
            with writes.open("a") as stream:
                stream.write(".")
            here = kill is not None and kill.write == mine
            if here and kill is not None and not kill.after:
                os.kill(os.getpid(), kill.number)
            found = function(*given, **options)
            if here and kill is not None and kill.after:
                os.kill(os.getpid(), kill.number)
            return found

        return write

    for module, name in HOOKS:
        place = importlib.import_module(module)
        setattr(place, name, hooked(getattr(place, name)))
    sys.argv = ["potstill", *arguments]
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def left_behind(folder: Path) -> list[str]:
    """Halves and locks that are still there."""
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if ".part" in path.name or path.name == ".lock"]


def result(folder: Path, command: Command) -> dict[str, Any]:
    """What must not depend on a kill: digests of the weights and of the exported files, and the lines of the log but for their times."""
    out = folder / command.out
    found: dict[str, Any] = {
        str(path.relative_to(out)): sha256(path.read_bytes()).hexdigest()
        for pattern in ("*.safetensors", "*.onnx")
        for path in sorted(out.rglob(pattern))
    }
    logs = [out / "metrics.jsonl", out / "best" / "metrics.jsonl"]
    for log in logs:
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
        # Means over other parts of the same steps are rounded otherwise.
        found[log.parent.name] = [_rounded({key: value for key, value in line.items() if key != "seconds"}) for line in lines]
    if (out / "search.json").is_file():
        record = json.loads((out / "search.json").read_text())
        found["trials"] = sorted((json.dumps(trial["settings"]), trial["score"]) for trial in record["trials"])
    return found


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    return float(f"{value:.5g}") if isinstance(value, float) else value


def clear(folder: Path, command: Command, cache: bool = True) -> None:
    """Take away what a command wrote."""
    for part in (command.out, *(["cache"] if cache else [])):
        shutil.rmtree(folder / part, ignore_errors=True)


def finish(folder: Path, command: Command, kills: Iterator[Kill | None]) -> int:
    """Run a command again and again, each time until its kill, and at last to its end.

    Returns:
        How many kills struck.
    """
    struck = 0
    for kill in kills:
        there = (folder / command.out).exists()
        status, said, _ = attempt(folder, (*command.arguments, *(command.resume if there else ())), kill)
        if status == 0:
            return struck
        struck += 1
        # A signal that can be caught ends the command with 130, SIGTERM while Python itself starts or ends with the signal's own.
        assert kill is not None and status in (-kill.number, 130), f"status {status} after {kill}:\n{said}"
        assert "Traceback" not in said, f"{kill}:\n{said}"
    raise AssertionError("the last run has no kill, and ends")


def check(folder: Path, name: str, whole: dict[str, Any], kills: list[Kill], cache: bool = True) -> int:
    """Kill a command so, one after the other, let it come to its end, and compare what it leaves with that of an unbroken one.

    Returns:
        How many kills struck.
    """
    command = COMMANDS[name]
    clear(folder, command, cache)
    struck = finish(folder, command, iter([*kills, None]))
    if struck == 0 and kills:
        return 0
    found = result(folder, command)
    other = {key: (found.get(key), whole.get(key)) for key in found.keys() | whole.keys() if found.get(key) != whole.get(key)}
    assert not other, f"{name}, {kills}: {other}"
    assert not left_behind(folder), (name, kills, left_behind(folder))
    return struck


def unbroken(folder: Path, name: str) -> tuple[dict[str, Any], float, int]:
    """The result of a command that nothing breaks, its seconds, and its number of writes."""
    command = COMMANDS[name]
    clear(folder, command)
    started = time.monotonic()
    status, said, writes = attempt(folder, command.arguments)
    assert status == 0, said
    return result(folder, command), time.monotonic() - started, writes


def main(say: Callable[[str], None] = print) -> None:
    """All kills."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--random", type=int, default=100, help="kills at random moments")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=COMMANDS)
    parser.add_argument("--teacher", type=Path, help="a small model folder; default: one that is made")
    asked = parser.parse_args()
    prepare()
    draw = random.Random(asked.seed)
    for name in [asked.only] if asked.only else COMMANDS:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            write_work(folder, asked.teacher or small_teacher(folder / "made"))
            whole, seconds, writes = unbroken(folder, name)
            say(f"{name}: unbroken {seconds:.1f} s, {writes} writes")
            struck = sum(check(folder, name, whole, [Kill(write=write, after=after)]) for write in range(writes) for after in (False, True))
            say(f"{name}: {struck} kills at writes, the same result each time")
            wanted, struck = asked.random // (1 if asked.only else len(COMMANDS)), 0
            while struck < wanted:
                numbers = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
                kills = [Kill(draw.choice(numbers), seconds=draw.uniform(0.05, seconds)) for _ in range(draw.randint(1, 4))]
                struck += check(folder, name, whole, kills)
            say(f"{name}: {struck} kills at random moments, the same result each time")


if __name__ == "__main__":
    main()
