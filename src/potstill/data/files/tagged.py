"""Sentences whose words are tagged, out of CoNLL columns or JSON lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from potstill.data.files.jsonl import read_jsonl_rows
from potstill.data.files.lines import read_lines, require_clean
from potstill.data.labelled import Columns, Row, names_of
from potstill.errors import PotstillError, shown
from potstill.registry import TAGGING
from potstill.runtime.entities import TAG

DOCUMENT = "-DOCSTART-"  # CoNLL-2003 opens every document with a line that begins so
WORDS_AND_TAGS = names_of(TAGGING)


def conll_rows(path: str | Path, *, labelled: bool = True) -> Iterator[Row]:
    """Yield a sentence a row out of CoNLL columns.

    A line is a word: the word is in the first column, its tag in the last. Columns are separated by tabs, and in a line
    without tabs by spaces. A blank line ends a sentence.

    Args:
        path: the file.
        labelled: whether to read tags. If not, the file may have them or not, and the rows have none.

    Raises:
        PotstillError: as `read_lines`; with the line's number: a word is blank, has a space in it or no tag, or a tag is
            not O, B-x or I-x.
    """
    words: list[str] = []
    tags: list[str] = []
    place = ""
    for number, line in read_lines(path):
        # Never at other white space: str.split() takes a no-break space inside a word for the end of it.
        columns = [column.strip(" ") for column in line.strip(" \t").split("\t")] if "\t" in line else line.split(" ")
        columns = [column for column in columns if column]
        if not columns or columns[0] == DOCUMENT:
            if words:
                yield Row(place, words, tags if labelled else None)
                words, tags = [], []
            continue
        here = f"{path}:{number}"
        if not words:
            place = here
        words.append(_word(columns[0], here))
        if " " in columns[0]:
            raise PotstillError(here, f"the word {shown(columns[0])} has a space in it", "write a word and its tag on a line of their own")
        if labelled:
            if len(columns) < 2:
                raise PotstillError(
                    here, f"the word {shown(columns[0])} has no tag", "write a word and its tag on a line, with a space between"
                )
            tags.append(_tag(columns[-1], here))
    if words:
        yield Row(place, words, tags if labelled else None)


def tagged_jsonl_rows(path: str | Path, *, labelled: bool = True, columns: Columns = WORDS_AND_TAGS) -> Iterator[Row]:
    """Yield a sentence a row out of {"tokens": [...], "tags": [...]}.

    A PotstillError comes through as from `read_jsonl_rows` and `tagged_row`, with the line's number.

    Args:
        path: the file of JSON lines.
        labelled: whether to read tags. If not, a line may have them or not, and the rows have none.
        columns: what its fields are called.
    """
    for number, row in read_jsonl_rows(path, columns.required(labelled)):
        yield tagged_row(row, columns, f"{path}:{number}", labelled=labelled)


def tagged_row(row: Mapping[str, Any], columns: Columns, place: str, *, labelled: bool = True) -> Row:
    """A sentence out of a list of words and a list of tags.

    Args:
        row: name of the field → what stands in it.
        columns: what the fields are called.
        place: where the row is, for errors.
        labelled: whether to read tags.

    Raises:
        PotstillError: there are no words, a word is blank or not a text, a tag is not O, B-x or I-x, or there are more or
            fewer tags than words.
    """
    words = _words(row[columns.text], columns.text, place)
    group = columns.group_of(row, place)
    if not labelled:
        return Row(place, words, None, group)
    tags = row[columns.label]
    if not isinstance(tags, list):
        raise PotstillError(place, f"{columns.label!r} is {shown(tags)}, not a list", "write one tag for each token")
    if len(tags) != len(words):
        raise PotstillError(place, f"{len(tags)} tags for {len(words)} tokens", "write one tag for each token")
    return Row(place, words, [_tag(tag, place) for tag in tags], group)


def _words(tokens: Any, field: str, place: str) -> list[str]:
    if not isinstance(tokens, list) or not tokens:
        raise PotstillError(place, f"{field!r} is {shown(tokens)}", "write a list of words, at least one")
    return [_word(word, place) for word in tokens]


def _word(word: Any, place: str) -> str:
    if not isinstance(word, str) or not word.strip():
        raise PotstillError(place, f"the token {shown(word)} is no word", "a token is a text that is not blank")
    require_clean(word, f"{place}: token {shown(word)}")
    return word


def _tag(tag: Any, place: str) -> str:
    if isinstance(tag, str):
        require_clean(tag, f"{place}: tag {shown(tag)}")
    if not isinstance(tag, str) or not TAG.fullmatch(tag):
        raise PotstillError(place, f"the tag {shown(tag)} is not in BIO form", "write O, or B- or I- with the entity's type behind it")
    return tag
