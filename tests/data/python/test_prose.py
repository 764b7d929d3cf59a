"""English sentences out of docstrings, and nothing else."""

from __future__ import annotations

import pytest

from potstill.data.python.prose import is_prose, sentences


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
    "text",
    [
        "two words",  # too short
        "alpha, beta, gamma, delta, epsilon",  # a list
        "x = y + 1 if z else 0",  # mostly signs and letters alone
        "from here import there",  # a statement
        "word " * 100,  # too long
    ],
)
def test_what_is_no_prose(text: str) -> None:
    assert not is_prose(text)
