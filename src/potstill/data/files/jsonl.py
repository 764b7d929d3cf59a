"""JSON lines: one object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from potstill.data.files.lines import read_lines, require_clean
from potstill.errors import PotstillError, did_you_mean, shown


def read_jsonl_rows(path: str | Path, required: Sequence[str] = ()) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from 1, object) of each line that is not blank.

    Args:
        path: one JSON object a line.
        required: keys that every object must have. Their values are for the caller to check.

    Raises:
        PotstillError: as `read_lines`; with the line's number: it is not JSON or not an object, a
            required key is missing, a string value holds a NUL or half a character.
    """
    for number, line in read_lines(path):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            row = json.loads(line)
        # RecursionError: a line of ten thousand brackets.
        except (json.JSONDecodeError, RecursionError) as error:
            raise PotstillError(place, f"is not JSON ({error}): {shown(line)}", "one object a line, in UTF-8") from error
        except ValueError as error:  # Python's own limit for whole numbers
            raise PotstillError(place, f"holds a number of thousands of digits: {shown(line)}", "write it as a text") from error
        if not isinstance(row, dict):
            raise PotstillError(place, f"holds {shown(row)}, not an object", 'write {"text": …}, one object a line')
        for key in required:
            if key not in row:
                raise PotstillError(place, f"has no field {key!r}", did_you_mean(key, row))
        for key, value in row.items():
            # Escapes can smuggle in what read_lines refuses: \u0000, half a surrogate pair.
            if isinstance(value, str):
                require_clean(value, f"{place}: field {shown(key)}")
        yield number, row
