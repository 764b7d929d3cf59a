from __future__ import annotations

import json
from pathlib import Path

import pytest

from potstill.data.files.jsonl import read_jsonl_rows
from potstill.errors import PotstillError


def test_jsonl_rows_keep_other_keys_and_line_numbers(tmp_path: Path) -> None:
    rows = [{"query": "q", "document": "d", "held_out": True}, {"query": "r", "document": "e"}]
    file = tmp_path / "a.jsonl"
    file.write_text("\n\n".join(map(json.dumps, rows)))
    assert list(read_jsonl_rows(file, ["query", "document"])) == [(1, rows[0]), (3, rows[1])]
    with pytest.raises(PotstillError, match=r"a\.jsonl:3: has no field 'held_out'"):
        list(read_jsonl_rows(file, ["held_out"]))


def test_a_number_that_python_does_not_read(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"label": 1}\n{"label": ' + "9" * 5000 + "}\n")
    with pytest.raises(PotstillError) as caught:
        list(read_jsonl_rows(file))
    assert str(caught.value).startswith(f"{file}:2: holds a number of thousands of digits") and "sys." not in str(caught.value)
