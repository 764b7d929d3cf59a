"""English out of source files: whose docstrings, which sentences, and nothing of the held-out ones in the corpus."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from potstill.data.docstrings import Docstring, collect_docstrings, python_topics
from potstill.data.prose import is_prose, plain, sentences
from potstill.data.python_docs import PythonDocs, retrieval_pairs, write_python_docs
from potstill.errors import PotstillError

SOURCE = '''"""Module text."""
raise SystemExit("this file must never be run")

class Outer:
    """Class text.

    More text.
    """

    def method(self):
        """Method text."""
        def inner():
            """Nobody's text."""

    class Inner:
        """Inner text."""

try:
    import nothing
except ImportError:
    async def fallback():
        """Fallback text."""
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    files: dict[str, str | bytes] = {
        "__init__.py": SOURCE,
        "sub/deep.py": '"""Deep text."""',
        "tests/test_it.py": '"""Test text."""',
        "sub/test_more.py": '"""Test text."""',
        "broken.py": "def (",
        "nul.py": "\0",
        "latin.py": b'# -*- coding: latin-1 -*-\n"""Caf\xe9 text."""',
        "wrong.py": b'"""\xff"""',
        "data-folder/x.py": '"""No module."""',
    }
    for name, content in files.items():
        file = tmp_path / "zz_walked" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    monkeypatch.syspath_prepend(tmp_path)
    return "zz_walked"


def test_docstrings_are_found_without_running_anything(package: str) -> None:
    found = {docstring.name: docstring.text for docstring in collect_docstrings([package, "zz_not_installed"])}
    assert found == {
        "zz_walked": "Module text.",
        "zz_walked.Outer": "Class text.\n\nMore text.",
        "zz_walked.Outer.method": "Method text.",
        "zz_walked.Outer.Inner": "Inner text.",
        "zz_walked.fallback": "Fallback text.",
        "zz_walked.latin": "Café text.",
        "zz_walked.sub.deep": "Deep text.",
    }
    assert package not in sys.modules


def test_python_has_topics() -> None:
    assert any("context manager" in topic for topic in python_topics())


def test_sentences_leave_code_tables_and_markup_behind() -> None:
    text = """Return the path.  It is made
    absolute first (e.g. for the shell), then checked.

    Title of it
    -----------
    >>> path = absolute(path)
    this is what it printed here

    :param name: The name of a file that exists.
    :type name: str
    count : int, optional
        How many of them are wanted.
    width (int): The width of one column
        in characters, all of them.

    * First point of the list which
      goes on here.
    2. Second point of the list.

    Use it like this::

        with it as good as new one here
        and now for it

    name      type      meaning of that
    See :class:`~pathlib.Path` or ``os.path`` for more. Too short.
    a = b + c[1] * (d - e) == f(x)
    for name in all of them:
    """
    assert list(sentences([text, "It is Return the path. How many of them are wanted."])) == [
        "Return the path.",
        "It is made absolute first (e.g. for the shell), then checked.",
        "The name of a file that exists.",
        "How many of them are wanted.",
        "The width of one column in characters, all of them.",
        "First point of the list which goes on here.",
        "Second point of the list.",
        "Use it like this:",
        "See pathlib.Path or os.path for more.",
        "It is Return the path.",
    ]


@pytest.mark.parametrize(
    "text", ["two words", "alpha, beta, gamma, delta, epsilon", "x = y + 1 if z else 0", "from here import there", "word " * 100]
)
def test_what_is_no_prose(text: str) -> None:
    assert not is_prose(text)


def test_pairs_are_prose_and_have_one_answer() -> None:
    rest = "The rest says at length what the first line means to say."
    texts = {
        "good": f"Do the first thing.\n\n{rest}\n    >>> code()",
        "same_first": "Do the first thing.\n\nAnother long explanation of it, longer than forty characters.",
        "same_rest": f"Do the second thing.\n\n{rest}\n    >>> code()",
        "short_first": f"Do it.\n\n{rest}",
        "short_rest": "Do the third thing.\n\nThis is short.",
        "code_rest": "Do the fourth thing.\n\n>>> " + "x = y; " * 20,
        "one_line": "Do the fifth thing and nothing else at all.",
    }
    pairs = retrieval_pairs(Docstring(name, text) for name, text in texts.items())
    assert [(pair.source.name, pair.query, pair.document) for pair in pairs] == [("good", "Do the first thing.", f"{rest} >>> code()")]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> PythonDocs:
    return write_python_docs(tmp_path_factory.mktemp("docs"), seed=13, packages=["rich"])


def test_what_is_written(written: PythonDocs) -> None:
    corpus, rows = read(written)
    assert written.corpus.parts[-2:] == ("corpora", "python-docs.txt")
    assert written.pairs.parts[-2:] == ("retrieval", "python-docs.jsonl")
    held_out = sum(row["held_out"] for row in rows)
    assert (written.sentences, written.documents, written.held_out) == (len(corpus), len(rows), held_out)
    # Python 3.11 has 8,560 docstrings: 20,800 sentences with the topics, 3,370 pairs
    assert len(set(corpus)) == len(corpus) > 12_000
    assert len(rows) > 2_500
    assert 0.17 < held_out / len(rows) < 0.23
    for key in ("query", "document"):
        assert len({row[key] for row in rows}) == len(rows)


def test_nothing_held_out_is_in_the_corpus(written: PythonDocs) -> None:
    corpus, rows = read(written)
    known = set(corpus)
    held_out = {(row["name"], row["query"]) for row in rows if row["held_out"]}
    checked = 0
    for docstring in collect_docstrings():
        if (docstring.name, plain(docstring.text.split("\n")[0])) in held_out:
            checked += 1
            assert not known & set(sentences([docstring.text])), docstring.name
    assert checked >= len(held_out)
    assert not known & {query for _, query in held_out}


def test_the_seed_draws_the_split_and_the_corpus_is_capped(tmp_path: Path, written: PythonDocs) -> None:
    other = write_python_docs(tmp_path, seed=2, max_sentences=500, packages=[])
    assert other.sentences == len(read(other)[0]) == 500
    rows, other_rows = read(written)[1], read(other)[1]
    assert [row["name"] for row in rows] == [row["name"] for row in other_rows]
    both = sum(row["held_out"] and other_row["held_out"] for row, other_row in zip(rows, other_rows, strict=True))
    assert 0 < both < 0.4 * written.held_out


def read(docs: PythonDocs) -> tuple[list[str], list[dict[str, Any]]]:
    rows = [json.loads(line) for line in docs.pairs.read_text(encoding="utf-8").splitlines()]
    return docs.corpus.read_text(encoding="utf-8").splitlines(), rows


def test_a_python_without_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"stdlib": str(tmp_path / "lib")})
    with pytest.raises(PotstillError, match="its source files are not installed"):
        write_python_docs(tmp_path / "docs")
    assert not (tmp_path / "docs").exists()
