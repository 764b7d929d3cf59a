"""English sentences out of technical texts, without code, tables and markup."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator

WORDS = range(3, 81)
MAX_CHARACTERS = 500

_ROLE = re.compile(r":[a-z]+(?::[a-z]+)*:`~?")  # :class:`~pathlib.Path` in reStructuredText
_BULLET = re.compile(r"(?:[-*+•]|\(?(?:\d{1,2}|[a-z])[.)]|\[\d+\])\s+")
_FIELD = re.compile(r":[a-z]+(?:\s[^:]*)?:\s*")  # :param name: what it is
_ARGUMENT = re.compile(r"\*{0,2}[a-z_]\w*(?:\s*\([^)]*\))?(?::|\s+--?)\s+")  # name (type): what it is
_TYPED = re.compile(r"[\w*.,\s`]{1,40}\s:\s.*$")  # numpydoc's `name : type`, its prose follows below
_RULE = re.compile(r"([^\w\s])\1{2,}\s*$")
_TABLE = re.compile(r"\S\s{3,}\S|\|.*\||::=")
_CODE = re.compile(
    r"(?:from\s\S+\simport|import|def|class|return|print|async|await|raise|assert|del|@\w+)\b(?!.*[.!?]$)|(?:if|for|while|with|try)\b.*:$"
)
_SENTENCE_END = re.compile(r"(?<!\be\.g\.)(?<!\bi\.e\.)(?<=[.!?])\s+(?=[\"'(\[]?[A-Z])")
_WORD = re.compile(r"[\"'(\[]*[A-Za-z][a-z'’-]*[\"')\].,;:!?]*")


def sentences(texts: Iterable[str]) -> Iterator[str]:
    """Yield the sentences of the texts that are prose, in order, each one once."""
    seen: set[str] = set()
    for text in texts:
        for paragraph in _paragraphs(text):
            for sentence in _SENTENCE_END.split(paragraph):
                if sentence not in seen and is_prose(sentence):
                    seen.add(sentence)
                    yield sentence


def is_prose(text: str) -> bool:
    """Whether `text` is English prose and not code or a table.

    It is judged by its number of words, its share of letters, and its share of plain words.
    """
    words = text.split()
    if len(words) not in WORDS or len(text) > MAX_CHARACTERS or 2 * text.count(",") > len(words) or _CODE.match(text):
        return False
    letters = sum(map(str.isalpha, text))
    plain = sum(_WORD.fullmatch(word) is not None for word in words)
    return letters >= 0.75 * sum(map(len, words)) and plain >= max(3, 0.6 * len(words))


def plain(text: str) -> str:
    """`text` on one line, without the markup of reStructuredText and Markdown."""
    return " ".join(_ROLE.sub("", text).replace("`", "").split())


def _paragraphs(text: str) -> Iterator[str]:
    """Yield the paragraphs of a docstring, each joined to one line."""
    lines: list[str] = []
    indent = 0
    literal: int | None = None  # lines deeper than this are code
    doctest = hanging = False

    def joined() -> Iterator[str]:
        if lines:
            yield plain(" ".join(lines).replace("::", ":"))
            lines.clear()

    for line in inspect.cleandoc(text).splitlines():
        content = line.strip()
        depth = len(line) - len(line.lstrip())
        if not content:
            yield from joined()
            doctest = False
            continue
        if literal is not None and depth > literal:
            continue
        literal = None
        doctest = doctest or content.startswith((">>>", "$ ", "```"))
        if _RULE.match(content):
            lines.clear()  # a rule under a line makes it a heading
            continue
        if doctest or _TABLE.search(content):
            yield from joined()
            continue
        start = _BULLET.match(content) or _FIELD.match(content) or _ARGUMENT.match(content)
        typed = not start and _TYPED.match(content)
        # A line that hangs under its bullet goes on with it; any other change of depth is a new paragraph.
        if start or typed or (depth != indent and not (hanging and depth > indent)):
            yield from joined()
        if typed:
            hanging = False
            continue
        hanging = start is not None
        indent = depth
        lines.append(content[start.end() :] if start else content)
        if content.endswith("::"):
            literal = depth
    yield from joined()
