"""Files of data that are broken in every way: each is read, or refused in one line that names it. Never anything else.

FUZZ_EXAMPLES says how many of each kind are tried (make fuzz); by default as many as the suite has time for.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.strategies import mutated_bytes, mutated_lines, mutated_rows, require_refusal
from potstill.data.files.glue import glue_data
from potstill.data.files.inputs import read_file
from potstill.data.files.labelled_files import own_data, read_labelled
from potstill.data.files.lines import read_lines
from potstill.data.files.senteval import read_sts_benchmark, read_sts_folder
from potstill.data.files.texts import read_groups, read_texts
from potstill.data.labelled import Examples
from potstill.errors import PotstillError
from potstill.runtime.folder import HEADS
from potstill.tasks.retrieval import Retrieval

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "150"))
fuzz = settings(settings.get_profile("fuzz"), max_examples=EXAMPLES)
# Each takes the whole command, so that a tenth of the examples takes as long as all the others.
fuzz_command = settings(fuzz, max_examples=max(1, EXAMPLES // 10), suppress_health_check=[HealthCheck.function_scoped_fixture])


class Reader(NamedTuple):
    """A reader and a good file.

    Attributes:
        path: of the file, within a data folder.
        content: of the file.
        read: reads the file (its path, the data folder).
    """

    path: str
    content: bytes
    read: Callable[[Path, Path], Any]


def lines(*rows: str) -> bytes:
    return "".join(row + "\n" for row in rows).encode()


def objects(*rows: dict[str, Any]) -> bytes:
    return lines(*(json.dumps(row, ensure_ascii=False) for row in rows))


def labelled(kind: str) -> Callable[[Path, Path], Any]:
    return lambda path, folder: read_labelled(path, kind)


def glue(name: str) -> Callable[[Path, Path], Any]:
    return lambda path, folder: glue_data(name, folder).splits["train"]()


def columns(*names: int | str) -> Callable[[Path, Path], Any]:
    return lambda path, folder: read_texts(path, columns=names)


TABLE = lines("text,label", "the river,water", '"a, ""b"" village",place', "ü 😀,water")
PAIRS = lines("text\ttext_pair\tlabel", "the river\ta cat\tyes", 'an "owl\tthe village\tno', "ü\t😀\tyes")
JSON_ROWS = objects({"text": "the river", "label": "water"}, {"text": "a ü", "label": "place"}, {"text": "😀", "label": "water", "id": 7})
SEVERAL = objects({"text": "a", "label": ["red", "blue"]}, {"text": "b", "label": []}, {"text": "c", "label": ["red"]})
TAGGED = objects({"tokens": ["Ann", "sees", "ü"], "tags": ["B-PER", "O", "O"]}, {"tokens": ["a"], "tags": ["O"]})
CONLL = lines("-DOCSTART- O", "", "Ann NNP B-PER", "sees VB O", "", "Kö NNP B-LOC", "ln NNP I-LOC")
FOLLOWS = lines("index\tsentence1\tsentence2\tlabel", "0\ta river\ta cat\tentailment", "1\tan owl\tü\tnot_entailment")
STS = lines(*("\t".join(("main", "news", "2012", str(n), score, "a river", "the ü")) for n, score in enumerate(("5.0", "0.2", "3"))))
FOUND = objects({"query": "a river?", "document": "The river.", "held_out": True}, {"query": "ü", "document": "😀", "held_out": False})
PLAIN = lines("the river", "", "a village by the ü", "😀")

READERS = {
    "a table": Reader("table.csv", TABLE, labelled("classification")),
    "a table, several labels": Reader("table.csv", TABLE, labelled("multilabel")),
    "a table of numbers": Reader("table.csv", lines("text,label", "a,0.5", "b,-1e3", "ü,2"), labelled("regression")),
    "a zipped table": Reader("table.csv.gz", TABLE, labelled("classification")),
    "a table of pairs": Reader("pairs.tsv", PAIRS, labelled("classification")),
    "JSON lines": Reader("rows.jsonl", JSON_ROWS, labelled("classification")),
    "JSON lines, several labels": Reader("rows.jsonl", SEVERAL, labelled("multilabel")),
    "JSON lines, one-hot": Reader(
        "rows.jsonl",
        objects({"text": "a", "label": [0, 1]}, {"text": "b", "label": [1, 0]}),
        lambda path, folder: read_labelled(path, "multilabel", numbered=["red", "blue"]),
    ),
    "JSON lines of numbers": Reader("n.ndjson.gz", objects({"text": "a", "label": 0.5}, {"text": "b", "label": 2}), labelled("regression")),
    "tagged JSON lines": Reader("tags.jsonl", TAGGED, labelled("tagging")),
    "columns": Reader("tags.conll", CONLL, labelled("tagging")),
    "columns in .txt": Reader("tags.txt", CONLL, labelled("tagging")),
    "a data set": Reader(
        "classification/own/train.csv", TABLE, lambda path, folder: own_data("classification", "own", folder).splits["train"]()
    ),
    "RTE": Reader("glue/RTE/train.tsv", FOLLOWS, glue("rte")),
    "QQP, whose broken rows are left out": Reader(
        "glue/QQP/train.tsv", lines("question1\tquestion2\tis_duplicate", "a river?\ta cat?\t0", "b?\tü?\t1"), glue("qqp")
    ),
    "CoLA": Reader("glue/CoLA/train.tsv", lines("gj04\t1\t\tThe river runs.", "gj04\t0\t*\tRuns ü the."), glue("cola")),
    "STS-B of GLUE": Reader(
        "glue/STS-B/train.tsv", lines("index\tsentence1\tsentence2\tscore", "0\ta\tb\t5.000", "1\tc\tü\t0.25"), glue("stsb")
    ),
    "MRPC's own": Reader(
        "glue/MRPC/msr_paraphrase_train.txt",
        lines("Quality\t#1 ID\t#2 ID\t#1 String\t#2 String", "1\t7\t8\ta river\tthe ü", "0\t9\t10\ta cat\tan owl"),
        glue("mrpc"),
    ),
    "the STS benchmark": Reader("sts-test.csv", STS, lambda path, folder: read_sts_benchmark(path)),
    "sentences of an STS year": Reader(
        "STS12/STS.input.x.txt", lines("a river\tthe ü", "a cat\tan owl"), lambda path, folder: read_sts_folder(path.parent)
    ),
    "scores of an STS year": Reader("STS12/STS.gs.x.txt", lines("4.5", "0.25"), lambda path, folder: read_sts_folder(path.parent)),
    "queries and documents": Reader("retrieval/own.jsonl", FOUND, lambda path, folder: Retrieval.open("own", folder)),
    "lines": Reader("texts.txt", PLAIN, lambda path, folder: list(read_lines(path))),
    "texts": Reader("texts.txt.gz", PLAIN, lambda path, folder: read_texts(path, limit=2)),
    "texts in JSON lines": Reader("texts.jsonl", JSON_ROWS, columns("text", "label")),
    "texts in a named column": Reader("texts.csv", TABLE, columns("text")),
    "texts in numbered columns": Reader("texts.tsv", PAIRS, columns(0, 1)),
    "groups of texts": Reader("groups.tsv", PAIRS, lambda path, folder: read_groups(path, ["text", "text_pair"])),
    "lines to predict on": Reader("inputs.txt", PLAIN, lambda path, folder: read_file(path, "classification")),
    "a table to predict on": Reader("inputs.csv", TABLE, lambda path, folder: read_file(path, "classification")),
    "JSON lines to predict on": Reader("inputs.jsonl", JSON_ROWS, lambda path, folder: read_file(path, "multilabel")),
    "words to predict on": Reader("words.txt", lines("Ann", "sees", "", "ü"), lambda path, folder: read_file(path, "tagging")),
    "tokens to predict on": Reader("words.jsonl", TAGGED, lambda path, folder: read_file(path, "tagging")),
    "columns to predict on": Reader("words.conll", CONLL, lambda path, folder: read_file(path, "tagging")),
}


@st.composite
def broken(draw: st.DrawFn, path: str, content: bytes) -> bytes:
    """A good file with other cells, lines, values or bytes; of one that is zipped, also with other bytes of the zipped one."""
    ways = [mutated_lines, mutated_lines, mutated_bytes]
    ways += [mutated_rows] * 3 if content.startswith(b"{") else []
    changed = draw(draw(st.sampled_from(ways))(content))
    if not path.endswith(".gz"):
        return changed
    zipped = gzip.compress(changed, mtime=0)
    return draw(mutated_bytes(zipped)) if draw(st.integers(0, 2)) == 0 else zipped


def texts_in(found: Any) -> list[str]:
    """Every text of what a reader gave, however deep it lies."""
    if isinstance(found, str):
        return [found]
    if isinstance(found, Examples):
        found = found.texts
    elif isinstance(found, Retrieval):
        found = found.texts()
    elif hasattr(found, "first"):
        found = [found.first, found.second]
    return [text for part in found for text in texts_in(part)] if isinstance(found, (list, tuple)) else []


def numbers_in(found: Any) -> list[float]:
    """Every score of what a reader gave."""
    if isinstance(found, Examples):
        return [float(number) for labels in found.labels for number in np.ravel(labels)]
    if isinstance(found, (list, tuple)):
        return [number for part in found for number in numbers_in(part)]
    return list(getattr(found, "scores", []))


def put(folder: Path, reader: Reader, content: bytes) -> Path:
    file = folder / reader.path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in which every file is good; each example breaks one and mends it again."""
    place = tmp_path_factory.mktemp("data")
    for name in ("sentences of an STS year", "scores of an STS year", "MRPC's own"):
        put(place, READERS[name], READERS[name].content)
    (place / "glue" / "MRPC" / "msr_paraphrase_test.txt").write_bytes(READERS["MRPC's own"].content)
    return place


def zipped(reader: Reader) -> bytes:
    return gzip.compress(reader.content) if reader.path.endswith(".gz") else reader.content


@pytest.mark.parametrize("name", READERS)
def test_the_good_files_are_read(folder: Path, name: str) -> None:
    """Else nothing that is refused below says anything."""
    reader = READERS[name]
    assert texts_in(reader.read(put(folder, reader, zipped(reader)), folder))


@fuzz
@given(
    drawn=st.sampled_from(sorted(READERS)).flatmap(lambda name: st.tuples(st.just(name), broken(READERS[name].path, READERS[name].content)))
)
def test_broken_files(folder: Path, drawn: tuple[str, bytes]) -> None:
    name, content = drawn
    reader = READERS[name]
    file = put(folder, reader, content)
    started = time.monotonic()
    try:
        found = reader.read(file, folder)
    except PotstillError as error:
        require_refusal(error)
        # A pair of files may be wrong together: then either is named, and so is the folder.
        assert str(file) in str(error) or (file.parent.name == "STS12" and str(file.parent) in str(error)), error
    else:
        texts = texts_in(found)
        assert texts
        assert not any("\0" in text for text in texts)
        assert "".join(texts).encode()  # no half of a surrogate pair
        assert all(map(math.isfinite, numbers_in(found)))
    finally:
        assert time.monotonic() - started < 20
        put(folder, reader, zipped(reader))


# What was found: a reader, its broken file, and the refusal behind the file's place.
CASES: dict[str, tuple[str, bytes, str]] = {
    "a name of a million letters in a header": (
        "a table",
        lines("w" * 999_000 + ",label", "a,b"),
        "the header has no column 'text'; known: ",
    ),
    "thousands of names in a header": (
        "a table",
        lines(",".join(f"x{n}" for n in range(9000))),
        "the header has no column 'text'; known: ",
    ),
    "thousands of fields": ("JSON lines", objects({f"x{n}": n for n in range(9000)}), "has no field 'text'; known: "),
    "half a character in a field with a long name": (
        "JSON lines",
        lines(json.dumps({"text": "", "label": "", "k" * 9999: "\ud800"})),
        "field 'k",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_was_found(folder: Path, case: str) -> None:
    name, content, words = CASES[case]
    file = put(folder, READERS[name], content)
    with pytest.raises(PotstillError) as caught:
        READERS[name].read(file, folder)
    require_refusal(caught.value)
    assert str(caught.value).startswith(f"{file}:1: {words}")


@fuzz_command
@given(kind=st.sampled_from(["encode", "classification", "regression", "tagging"]), name=st.sampled_from(sorted(READERS)), data=st.data())
def test_the_command_with_broken_files(
    call: Any, folder: Path, tiny_encoder_dir: Path, tiny_head_dirs: dict[str, Path], kind: str, name: str, data: st.DataObject
) -> None:
    reader = READERS[name]
    file = folder / "given" / Path(reader.path).name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(data.draw(broken(reader.path, reader.content)))
    assert kind == "encode" or kind in HEADS
    command, model = ("encode", tiny_encoder_dir) if kind == "encode" else ("predict", tiny_head_dirs[kind])
    out = folder / ("out.npy" if kind == "encode" else "out.jsonl")
    out.unlink(missing_ok=True)
    status, _, errors = call(command, model, file, "--out", out)
    if status == 0:
        assert out.is_file()
    else:
        assert status == 2 and not out.exists()
        assert len(errors.splitlines()) == 1 and errors.startswith("error: ") and str(file) in errors, errors
