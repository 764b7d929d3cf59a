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
