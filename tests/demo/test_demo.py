"""A page that searches: what its folder holds, what it is refused for, and what it finds in a real browser without a network."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import yaml

from helpers import chromium
from potstill.demo.demo import write_demo
from potstill.demo.library import PACKAGES, read_library
from potstill.demo.texts import Entry, read_entries
from potstill.deploy.gate import Limits
from potstill.deploy.onnx import export_onnx
from potstill.deploy.quantize import quantize_int8
from potstill.errors import PotstillError
from potstill.models.loading import load_encoder
from potstill.runtime.encoder import Encoder
from potstill.runtime.vectors import as_floats, at_unit_length

TEXTS = ["the river", "a village and 2 rivers", "it's raining in the village", "nine 9s", "and again the river is rising", "a, b; c!", "x"]
LAX = Limits(max_drop=100, min_cosine_mean=0, min_cosine=0, min_invariance=0, min_agreement=0, max_error=9, min_speedup=0)
READY = "document.getElementById('field').disabled === false"
FOUND = "[...document.querySelectorAll('#{} li .body > p:first-of-type')].map(one => one.textContent)"


@pytest.fixture(scope="module")
def npm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages' files, as node_modules has them."""
    try:
        files = read_library()
    except PotstillError as error:
        if error.place != "npm":
            raise
        pytest.skip("npm does not give transformers.js")
    folder = tmp_path_factory.mktemp("npm")
    for package in PACKAGES:
        for path, (name, _) in package.files.items():
            file = folder / package.name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(files[name])
    return folder


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that open no browser: other bytes in place of the 15 MB."""
    monkeypatch.setattr("potstill.demo.demo.read_library", lambda place=None: {"transformers.js": b"//"})


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    file = tmp_path / "texts.txt"
    file.write_text("".join(f"{text}\n\n" for text in TEXTS))
    return file


@pytest.fixture
def run(tiny_encoder_dir: Path, tiny_export_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder as training leaves it, as far as a demo reads it; its teacher is the tiny encoder, its cache an own one."""
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "run"
    shutil.copytree(tiny_export_dir, folder / "onnx")
    recipe = {
        "name": "tiny", "data": {"texts": ["texts.txt"]}, "teacher": {"model": str(tiny_encoder_dir), "name": "big"},
        "student": {"layers": 2}, "stages": [{"name": "embed", "terms": [{"loss": "embedding_mse"}]}],
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, Callable[[], None], list[str]]]:
    """A plain server of a folder: its address, what stops it, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()

    def stop() -> None:
        server.shutdown()
        server.server_close()

    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/", stop, asked
    finally:
        if thread.is_alive():
            stop()


@contextmanager
def offline(folder: Path, profile: Path) -> Iterator[chromium.Tab]:
    """The page, loaded, in a browser that has no network any more and whose server has stopped."""
    program = chromium.find()
    if program is None:
        pytest.skip("no Chromium on this machine: nothing can draw the page")
    with served(folder) as (address, stop, _), chromium.tab(program, profile) as tab:
        tab.open(address)
        tab.wait(READY)
        stop()
        tab.call("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)
        loaded = len(tab.asked)
        assert all(asked.startswith(address) for asked in tab.asked), tab.asked
        yield tab
        assert tab.said == []  # not one line on the console
        assert len(tab.asked) == loaded  # nothing was asked of the network after the page had loaded


def ask(tab: chromium.Tab, words: str) -> list[str]:
    """What the page finds for words that are typed letter by letter."""
    tab.evaluate("field.value = ''; field.dispatchEvent(new Event('input'))")
    tab.wait("document.getElementById('student').hidden")
    tab.type(words)
    tab.wait(f"field.value === {json.dumps(words)} && !document.querySelector('[aria-busy]')")
    return tab.evaluate(FOUND.format("student"))


def python_finds(folder: Path, texts: list[str], words: str) -> list[str]:
    """What `Encoder` finds among the same texts, whose vectors are rounded as the page's are."""
    encoder = Encoder(folder)
    rounded = at_unit_length(as_floats(encoder.encode(texts, precision="int8"), encoder.dimension))
    scores = encoder.encode([words]) @ rounded.T
    return [texts[row] for row in np.argsort(-scores[0])]


def test_a_browser_finds_what_the_encoder_finds_with_the_network_off(run, texts, npm, tmp_path):
    demo = write_demo(run, texts, npm=npm)
    assert demo.folder == run.with_name("run-demo") and demo.teacher == "big" and demo.texts == len(TEXTS)
    with offline(demo.folder, tmp_path / "profile") as tab:
        for words in ("river village", "9", "it is raining again " * 30):  # the last one is longer than the model reads
            assert ask(tab, words) == python_finds(run, TEXTS, words)[:6], words
        assert tab.evaluate("document.querySelector('#teacher .hint').hidden") is False  # the teacher has not read these words
        # A text's like: the teacher knows all of them, and it is here the student itself.
        tab.evaluate("document.querySelector('#student .more button').click()")
        tab.wait("document.querySelector('#teacher .hint').hidden")
        asked = tab.evaluate("field.value")
        own, hers = (tab.evaluate(FOUND.format(side)) for side in ("student", "teacher"))
        assert asked not in own and own == hers == [text for text in python_finds(run, TEXTS, asked) if text != asked][:6]


MEANING = {
    "Open a gzip-compressed file in binary or text mode.": "how to read compressed data",
    "Insert an item into a sorted list, and keep it sorted.": "add a value to an ordered sequence",
    "Return how many bytes of the disk are free.": "how much room is left to save files",
    "Send a message by electronic mail.": "write a letter to a friend",
    "Compute the square root of a number.": "the root of sixteen, as in mathematics",
    "Say which weekday a date falls on.": "is it a Monday or a Tuesday?",
}


def test_real_weights_find_by_meaning_in_the_browser(minilm_dir, npm, tmp_path):
    folder = export_onnx(load_encoder(minilm_dir, max_length=64), tmp_path / "minilm", list(MEANING))
    quantize_int8(folder, texts=list(MEANING), limits=LAX)
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text, "title": text[:4]}) + "\n" for text in MEANING))
    (tmp_path / "questions.txt").write_text("\n".join(MEANING.values()))
    demo = write_demo(folder, tmp_path / "texts.jsonl", tmp_path / "page", questions=tmp_path / "questions.txt", npm=npm)
    assert demo.teacher is None and demo.weights < 24e6 and (demo.folder / "model" / "onnx" / "model_quantized.onnx").is_file()
    with offline(demo.folder, tmp_path / "profile") as tab:
        for text, question in MEANING.items():
            assert ask(tab, question)[0] == text
        first = tab.evaluate("performance.getEntriesByName('first result')[0].startTime")
        assert 0 < first < 60_000  # milliseconds after the page was opened, beside whatever else the machine does
        tab.evaluate("document.querySelectorAll('#examples button')[2].click()")
        tab.wait("field.value.startsWith('how much room') && !document.querySelector('[aria-busy]')")
        assert tab.evaluate("document.querySelector('#student .title').textContent") == "Retu"
        assert tab.evaluate("document.getElementById('teacher').hidden")


def test_the_folder_names_no_place_of_this_machine_and_is_written_over(run, texts, no_library, tmp_path):
    first = write_demo(run / "onnx", texts, tmp_path / "page")  # the run's own recipe and name are found from here too
    files = {path.relative_to(first.folder).as_posix() for path in first.folder.rglob("*") if path.is_file()}
    assert files == {
        "NOTICE.txt", "demo.json", "index.html", "page.css", "page.js", "teacher.bin", "vectors.bin", "lib/transformers.js",
        "model/config.json", "model/tokenizer.json", "model/tokenizer_config.json", "model/onnx/model.onnx",
    }  # fmt: skip
    assert first.bytes == sum((first.folder / file).stat().st_size for file in files)
    home = str(tmp_path).encode()
    assert not any(home in (first.folder / file).read_bytes() for file in files)
    data = json.loads((first.folder / "demo.json").read_text())
    assert (data["name"], data["dtype"], data["teacher"]["name"], data["texts"][0]) == ("tiny", "fp32", "big", ["", TEXTS[0]])
    texts.write_text("another text\n")
    again = write_demo(run, texts, tmp_path / "page")
    assert again.texts == 1 and (again.folder / "vectors.bin").stat().st_size == data["dimension"]


def test_vectors_are_the_encoders_in_int8_and_the_teachers_come_out_of_the_cache(run, texts, no_library, tmp_path, capfd):
    questions = tmp_path / "questions.txt"
    questions.write_text("where is the river\n")
    folder = write_demo(run, texts, questions=questions).folder
    assert "teacher cache" in capfd.readouterr().err
    wanted = Encoder(run).encode(TEXTS, precision="int8")
    assert (folder / "vectors.bin").read_bytes() == wanted.tobytes()
    # The student of this run is its teacher, so that texts and questions have the same vectors, but for the rounding.
    hers = np.frombuffer((folder / "teacher.bin").read_bytes(), dtype=np.int8).reshape(len(TEXTS) + 1, -1)
    assert np.abs(hers[:-1].astype(int) - wanted).max() <= 1
    assert np.abs(hers[-1].astype(int) - Encoder(run).encode(["where is the river"], precision="int8")).max() <= 1
    write_demo(run, texts, questions=questions)
    assert "teacher cache" not in capfd.readouterr().err


def test_a_teacher_that_is_gone_is_told_and_one_that_is_named_must_be_there(run, texts, no_library, tmp_path, tiny_encoder_dir, call):
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    recipe["teacher"]["model"] = "./gone"
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    status, out, _ = call("demo", run, "--texts", texts)
    assert status == 0 and "not at hand: ./gone: no such folder" in " ".join(out.split()) and "http.server" in out
    assert not (run.with_name("run-demo") / "teacher.bin").exists()
    status, out, _ = call("demo", run, "--texts", texts, "--teacher", tiny_encoder_dir)
    assert status == 0 and "tiny-encoder" in out and (run.with_name("run-demo") / "teacher.bin").is_file()
    assert call("demo", run, "--texts", texts, "--teacher", "./gone")[::2] == (
        2,
        "error: ./gone: no such folder; check the path, which is relative to the working folder\n",
    )
    # A model without a recipe has no teacher but the one that is named.
    exported = shutil.copytree(run / "onnx", tmp_path / "exported")
    assert write_demo(exported, texts).teacher is None and write_demo(exported, texts).missing == ""
    assert write_demo(exported, texts, teacher=str(tiny_encoder_dir)).teacher == "tiny-encoder"


def _says(**values: object) -> Callable[[Path], None]:
    def write(run: Path) -> None:
        file = run / "onnx" / "potstill.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return write


def _full(run: Path) -> None:
    (run.with_name("run-demo")).mkdir()
    (run.with_name("run-demo") / "mine.txt").write_text("mine")


def _broken(name: str, content: str = "{") -> Callable[[Path], None]:
    def write(run: Path) -> None:
        (run / "onnx" / name).write_text(content)

    return write


CASES = {
    "labels in place of vectors": (
        _says(task="classification", labels=["no", "yes"]),
        "is a classification model, and a search needs one vector a text",
    ),
    "distances, which vectors in int8 do not keep": (_says(similarity="manhattan"), "compares vectors by manhattan"),
    "products of vectors of any length": (_says(similarity="dot", normalize=False), "compares vectors by dot"),
    "no exported file": (lambda run: shutil.rmtree(run / "onnx"), "holds neither model.onnx nor a run's onnx/"),
    "weights beside the graph": (lambda run: (run / "onnx" / "model.onnx_data").write_bytes(b"0"), "which no browser loads"),
    "a folder of somebody else's files": (_full, "exists and is no demo; choose another --out"),
    "a configuration that is cut off": (_broken("config.json"), "config.json: cannot be read"),
    "a tokenizer's that is": (_broken("tokenizer_config.json"), "tokenizer_config.json: cannot be read"),
    "a configuration that is a list": (_broken("config.json", "[]"), "config.json: holds [], and a browser needs an object"),
    "texts that are none": (lambda run: (run.parent / "texts.txt").write_text("\n \n"), "holds no text"),
    "no texts": (lambda run: (run.parent / "texts.txt").unlink(), "does not exist"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_searched_is_refused_in_one_line(case, run, texts, no_library, call):
    spoil, words = CASES[case]
    spoil(run)
    before = sorted(run.parent.rglob("*"))
    status, _, err = call("demo", run, "--texts", texts)
    assert status == 2 and words in err and err.count("\n") == 1
    assert sorted(run.parent.rglob("*")) == before


@pytest.mark.parametrize(("out", "words"), [("x" * 300, "has a name of more than 255 bytes"), ("/proc/x", "/proc/x: cannot be written")])
def test_a_place_that_nothing_can_be_written_to_is_one_line(run, texts, no_library, call, out, words):
    status, _, err = call("demo", run, "--texts", texts, "--out", out)
    assert status == 2 and words in err and err.splitlines()[-1].startswith("error: ") and "Traceback" not in err


def test_unit_length_makes_a_product_a_cosine(run, texts, no_library):
    _says(similarity="dot", normalize=True)(run)
    assert write_demo(run, texts).texts == len(TEXTS)


def test_texts_of_every_format(tmp_path):
    rows = [Entry("one, two"), Entry("three", "T")]
    files = {
        "a.txt": "one, two\n\n",
        "b.jsonl": '{"text": "one, two"}\n{"text": "three", "title": "T", "more": 1}\n{"text": " "}\n',
        "c.csv": 'title,text\n,"one, two"\nT,three\n',
        "d.tsv": "text\ttitle\none, two\t\nthree\tT\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)
        assert read_entries(tmp_path / name) == (rows[:1] if name == "a.txt" else rows), name
    (tmp_path / "e.jsonl").write_text('{"text": "a"}\n{"text": ["a"]}\n')
    with pytest.raises(PotstillError, match=r"e.jsonl:2: text is \['a'\], not a text"):
        read_entries(tmp_path / "e.jsonl")
    with pytest.raises(PotstillError, match="is conll; name a file of texts"):
        read_entries(tmp_path / "f.conll")
