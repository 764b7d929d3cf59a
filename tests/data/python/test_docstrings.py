"""Docstrings out of source files that are never run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from potstill.data.python.docstrings import collect_docstrings, python_topics

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
