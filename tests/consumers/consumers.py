"""Bundles in the libraries that read them, each in an environment of its own: the table of docs/consumers.md.

`make consumers` tries all and writes the page anew; with NAMES, these alone. What an environment needs is installed under
POTSTILL_CONSUMERS (else the user's cache), which takes about 5 GB.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumers.browser import chromium, run_in_browser
from consumers.environments import CACHE, environment, node_folder
from consumers.texts import LONG, TEXTS
from potstill.deploy.snippets import EXAMPLES, HEAD_SNIPPETS, JAVASCRIPT, PAIRS, SNIPPETS, Bundle, Snippet, describe, render
from potstill.runtime.encoder import Encoder
from potstill.runtime.folder import MODEL, QUANTIZED

DOCS = Path(__file__).parents[2] / "docs"
PAGE, RESULTS = DOCS / "consumers.md", DOCS / "consumers.json"
FP32, INT8 = 1e-5, 2e-2  # how far a number of a vector may be from Encoder's; int8 rounds where runtimes differ in the last bit
SECONDS = 900
TRANSFORMERS_JS = "@huggingface/transformers"
PRECISIONS = {"fp32": MODEL, "int8": QUANTIZED}
BROWSER = "transformers.js-browser"
ALL = tuple(TEXTS)


@dataclass(frozen=True)
class Consumer:
    """A library in some version.

    Attributes:
        snippet: of SNIPPETS or HEAD_SNIPPETS.
        packages: to be installed, as pip or npm takes them.
        told: names of those whose versions the page tells.
        note: what its user must know.
        strays: texts by name whose vectors are others by what the note says; those that are not are an error, too.
    """

    snippet: str
    packages: tuple[str, ...]
    told: tuple[str, ...]
    note: str = ""
    strays: tuple[str, ...] = ()


CUT = "It cuts a text that is too long without its last special token, so that such a text has another vector."
CONSUMERS = {
    "transformers 4": Consumer("transformers", ("transformers==4.57.*", "torch"), ("transformers", "tokenizers")),
    "transformers 5": Consumer("transformers", ("transformers>=5", "torch"), ("transformers", "tokenizers")),
    "sentence-transformers 2.7": Consumer(
        "sentence-transformers", ("sentence-transformers==2.7.*",), ("sentence-transformers", "transformers")
    ),
    "sentence-transformers": Consumer("sentence-transformers", ("sentence-transformers",), ("sentence-transformers", "transformers")),
    "sentence-transformers, ONNX": Consumer(
        "sentence-transformers-onnx",
        ("sentence-transformers[onnx]", "onnxruntime"),
        ("sentence-transformers", "transformers", "optimum-onnx", "onnxruntime"),
    ),
    "onnxruntime 1.17": Consumer("onnxruntime", ("onnxruntime==1.17.*", "numpy<2", "tokenizers"), ("onnxruntime", "tokenizers")),
    "onnxruntime": Consumer("onnxruntime", ("onnxruntime", "tokenizers"), ("onnxruntime", "tokenizers")),
    "OpenVINO": Consumer("openvino", ("openvino", "tokenizers"), ("openvino",)),
    "fastembed 0.7": Consumer("fastembed", ("fastembed==0.7.*",), ("fastembed", "onnxruntime")),
    "fastembed": Consumer("fastembed", ("fastembed",), ("fastembed", "onnxruntime")),
    "transformers.js in node": Consumer("transformers.js-node", (TRANSFORMERS_JS,), (TRANSFORMERS_JS, "onnxruntime-node"), CUT, (LONG,)),
    "transformers.js, pipeline": Consumer(
        "transformers.js-pipeline", (TRANSFORMERS_JS,), (TRANSFORMERS_JS, "onnxruntime-node"), CUT, (LONG,)
    ),
    "transformers.js in Chromium": Consumer(BROWSER, (TRANSFORMERS_JS,), (TRANSFORMERS_JS, "onnxruntime-web"), CUT, (LONG,)),
    "transformers.js, a head and pairs": Consumer(
        "transformers.js-head",
        (TRANSFORMERS_JS,),
        (TRANSFORMERS_JS, "onnxruntime-node"),
        "It takes a pair whose second text is empty for a single text, and cuts as above.",
        ("a sentence", LONG),  # an empty text is behind the former
    ),
    "txtai": Consumer("txtai", ("txtai",), ("txtai", "transformers")),
    "langchain": Consumer(
        "langchain", ("langchain-huggingface", "sentence-transformers"), ("langchain-huggingface", "sentence-transformers")
    ),
    "llama-index": Consumer(
        "llama-index", ("llama-index-embeddings-huggingface",), ("llama-index-embeddings-huggingface", "sentence-transformers")
    ),
    "llama-index, ONNX": Consumer(
        "llama-index-onnx",
        ("llama-index-embeddings-huggingface-optimum", "optimum-onnx[onnxruntime]"),
        ("llama-index-embeddings-huggingface-optimum", "optimum-onnx", "transformers"),
    ),
}


def snippet_of(consumer: Consumer) -> Snippet:
    """Its lines."""
    return (SNIPPETS | HEAD_SNIPPETS)[consumer.snippet]


# Bundles


def bundle_folder(head: bool) -> Path:
    """all-MiniLM-L6-v2 as a bundle with an int8 file, or with a random head for pairs; made once.

    Args:
        head: whether the latter.
    """
    from potstill.deploy.gate import Limits
    from potstill.deploy.quantize import quantize_int8
    from potstill.models.loading import load_encoder
    from potstill.run.export import export

    place = CACHE / ("head" if head else "bundle")
    if (place / "onnx" / QUANTIZED).is_file():
        return place
    source = Path(os.environ.get("POTSTILL_MODELS") or Path.home() / ".cache" / "potstill-models") / "all-MiniLM-L6-v2"
    if not head:
        return export(source, place, int8=True)
    model = load_encoder(source, head="classification", labels=["no", "perhaps", "yes"], seed=1, max_length=128)
    model.save(CACHE / "with-a-head")
    export(CACHE / "with-a-head", place)
    loose = Limits(max_drop=100, min_cosine_mean=0, min_cosine=0, min_invariance=0, min_agreement=0, max_error=9, min_speedup=0)
    quantize_int8(place, texts=[text for text in TEXTS.values() if text.strip()], limits=loose)  # a random head has no scores
    return place


def pairs() -> list[tuple[str, str]]:
    """Each text with the one behind it, but the long one first alone, so that only one pair is too long."""
    texts = list(TEXTS.values())
    seconds = [text if text != TEXTS[LONG] else texts[0] for text in [*texts[1:], texts[0]]]
    return list(zip(texts, seconds, strict=True))


# Running


def run(consumer: Consumer, folder: Path, file: str) -> tuple[NDArray[np.float64], dict[str, str]]:
    """What a consumer gives for the texts, and the versions of what it told to tell.

    Args:
        consumer: of CONSUMERS.
        folder: of the bundle.
        file: MODEL or QUANTIZED.

    Raises:
        RuntimeError: its lines fail.
    """
    snippet = snippet_of(consumer)
    bundle = describe(folder, file, folder.name if consumer.snippet == BROWSER else str(folder))
    code = render(snippet, bundle, pairs() if consumer.snippet in HEAD_SNIPPETS else list(TEXTS.values()))
    with tempfile.TemporaryDirectory() as work:
        if snippet.language == JAVASCRIPT:
            return _run_javascript(consumer, code, folder, Path(work))
        source, out = Path(work) / "snippet.py", Path(work) / "found.json"
        source.write_text(code + "\n", encoding="utf-8")
        script = Path(__file__).with_name("run_python.py")
        _start([str(environment(consumer.packages)), "-I", str(script), str(source), str(out), *consumer.told], Path(work))
        found = json.loads(out.read_text())
    return np.array(found["vectors"]), found["versions"]


def _run_javascript(consumer: Consumer, code: str, folder: Path, work: Path) -> tuple[NDArray[np.float64], dict[str, str]]:
    modules = node_folder(consumer.packages) / "node_modules"
    versions = {name: json.loads((modules / name / "package.json").read_text())["version"] for name in consumer.told}
    if consumer.snippet == BROWSER:
        script = modules / TRANSFORMERS_JS / "dist" / "transformers.min.js"
        beside = {script.name: script, "wasm": modules / "onnxruntime-web" / "dist", folder.name: folder}
        number = subprocess.run([chromium(), "--version"], capture_output=True, text=True).stdout
        return np.array(run_in_browser(code, beside)), versions | {"Chromium": re.findall(r"[\d.]+", number)[0]}
    result = "logits.tolist()" if consumer.snippet in HEAD_SNIPPETS else "vectors"
    source, out = work / "snippet.mjs", work / "found.json"
    (work / "node_modules").symlink_to(modules)
    written = f'\nimport {{ writeFileSync }} from "node:fs";\nwriteFileSync({json.dumps(str(out))}, JSON.stringify({result}));\n'
    source.write_text(code + written, encoding="utf-8")
    _start(["node", str(source)], work)
    return np.array(json.loads(out.read_text())), versions


def _start(command: Sequence[str], work: Path) -> None:
    """Run a command that may ask no hub for anything.

    Raises:
        RuntimeError: it fails; the last words are in the error.
    """
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HOME": str(CACHE / "hub")}
    done = subprocess.run(command, cwd=work, env=os.environ | offline, capture_output=True, text=True, timeout=SECONDS)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])


def measure(name: str) -> dict[str, Any]:
    """A consumer's row: versions, and the largest difference from Encoder by precision and, of strays, by text.

    Args:
        name: of CONSUMERS.

    Raises:
        RuntimeError: its lines fail, or its vectors are others than the note says.
    """
    consumer = CONSUMERS[name]
    head = consumer.snippet in HEAD_SNIPPETS
    folder = bundle_folder(head)
    row: dict[str, Any] = {"strays": {}}
    for precision, file in PRECISIONS.items():
        if precision == "int8" and not snippet_of(consumer).quantized:
            continue
        found, row["versions"] = run(consumer, folder, file)
        encoder = Encoder(folder, precision="fp32" if file == MODEL else "int8")
        wanted = np.array(encoder.predict(pairs()) if head else encoder.encode(list(TEXTS.values())))
        if found.shape != wanted.shape:
            raise RuntimeError(f"{name}: {found.shape} in place of {wanted.shape}")
        far = dict(zip(TEXTS, np.abs(found - wanted).max(axis=1).tolist(), strict=True))
        row[precision] = max(value for text, value in far.items() if text not in consumer.strays)
        worst = max((text for text in far if text not in consumer.strays), key=lambda text: far[text])
        limit = FP32 if precision == "fp32" else INT8
        if not row[precision] <= limit:
            raise RuntimeError(f"{name}, {precision}: {row[precision]:.1e} away from Encoder on {worst!r}; at most {limit:.0e}")
        if precision == "fp32":
            row["strays"] = {text: far[text] for text in consumer.strays}
            if settled := [text for text, value in row["strays"].items() if value <= limit]:
                raise RuntimeError(f"{name}: {settled} is as Encoder has it; its note is out of date")
    return row


# The page

HEAD = """\
# Consumers

Which libraries read a bundle ([what is in it](howto/export.md#export)), tried with their real packages, each in an environment of its own.
The bundle is all-MiniLM-L6-v2 as `potstill export --int8` writes it. Each consumer ran the lines below on {number} texts: an empty one,
one of 600 words, emoji, Chinese, upper case and others. The figures are the largest difference between a number of its vectors and of
those that `potstill.Encoder` gives for the same file. A dash: it reads no int8 file.

`make consumers` tries all and writes this page.
"""
AFTER = """\
int8 vectors differ between runtimes, and in onnxruntime between its settings: they round where sums differ in their last
bit, and potstill leaves out onnxruntime's default fusion SkipLayerNormFusion, which adds in another order. Index and query
by the same one.
"""
INSTALL = {True: "npm install", False: "pip install"}


def write_page(results: dict[str, Any]) -> str:
    """The page of what was found.

    Args:
        results: as RESULTS has them.
    """
    notes: list[str] = []
    lines = ["| consumer | versions | fp32 | int8 | notes |", "|---|---|---|---|---|"]
    for name, consumer in CONSUMERS.items():
        if (row := results["rows"].get(name)) is None:
            continue
        note = _note(consumer, row)
        if note and note not in notes:
            notes.append(note)
        versions = ", ".join(f"{package} {number}" for package, number in row["versions"].items())
        figures = [f"{row[precision]:.1e}" if precision in row else "–" for precision in PRECISIONS]
        lines.append(f"| {name} | {versions} | {' | '.join(figures)} | {notes.index(note) + 1 if note else ''} |")
    told = [f"{number}. {note}" for number, note in enumerate(notes, 1)]
    untried = [name for name in CONSUMERS if name not in results["rows"]]
    told += [f"\nNot tried yet: {'; '.join(untried)}."] if untried else []
    sections = [HEAD.format(number=len(TEXTS)), "\n".join(lines) + "\n", *(["\n".join(told) + "\n"] if told else []), AFTER]
    return "\n".join([*sections, *_sections(Bundle(**results["bundle"]), results["rows"])])


def _note(consumer: Consumer, row: dict[str, Any]) -> str:
    strays = ", ".join(f"{text}: {value:.1e}" for text, value in row["strays"].items())
    return f"{consumer.note}{f' ({strays})' if strays else ''}"


def _sections(bundle: Bundle, rows: Iterable[str]) -> list[str]:
    """Each snippet once, under its title."""
    sections = ["## The lines\n"]
    shown = [CONSUMERS[name] for name in rows]
    for key, snippet in (SNIPPETS | HEAD_SNIPPETS).items():
        users = [consumer for consumer in shown if consumer.snippet == key]
        if not users:
            continue
        # The newest is the one that is asked for without a version.
        packages = min((consumer.packages for consumer in users), key=lambda names: "=" in names[0])
        wanted = " ".join(f"'{name}'" if set("[]<>=*") & set(name) else name for name in packages)
        sections.append(f"### {snippet.title}\n\n    {INSTALL[snippet.language == JAVASCRIPT]} {wanted}\n")
        told = Bundle(**(asdict(bundle) | {"head": "classification"})) if key in HEAD_SNIPPETS else bundle
        sections.append(f"```{snippet.language}\n{render(snippet, told, PAIRS if key in HEAD_SNIPPETS else EXAMPLES)}\n```\n")
    return sections


def main(names: Sequence[str]) -> int:
    """Try consumers and write the page.

    Args:
        names: of CONSUMERS; none for all.

    Returns:
        0 where all came to the vectors.
    """
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {"rows": {}}
    results["bundle"] = asdict(describe(bundle_folder(head=False)))
    failed = 0
    for name in names or CONSUMERS:
        results["rows"].pop(name, None)
        try:
            row = results["rows"][name] = measure(name)
            said = ", ".join(f"{key} {row[key]:.1e}" for key in PRECISIONS if key in row)
        except (RuntimeError, FileNotFoundError, subprocess.SubprocessError) as error:
            failed += 1
            said = f"FAILED\n{getattr(error, 'output', None) or error}"
        sys.stdout.write(f"{name}: {said}\n")
        sys.stdout.flush()
        rows = {each: results["rows"][each] for each in CONSUMERS if each in results["rows"]}
        results["rows"] = rows
        RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        PAGE.write_text(write_page(results), encoding="utf-8")
    return failed


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
