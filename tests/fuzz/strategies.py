"""Values that break readers, and changes of a good file: JSON-like content with parts replaced, deleted, doubled, retyped or added.

Whatever is drawn here can be written as JSON or YAML by `json.dumps`, but for what `rough_text` says.
"""

from __future__ import annotations

import copy
import json
import math
import struct
from collections.abc import Iterator
from typing import Any

import onnx.numpy_helper
from hypothesis import settings
from hypothesis import strategies as st

from potstill.errors import PotstillError, PotstillErrors

# The same examples every time, and none too slow: a reader that takes seconds is a defect, and its own test says so.
settings.register_profile("fuzz", derandomize=True, deadline=None, database=None, print_blob=False)

Place = tuple[int | str, ...]


class Content(bytes):
    """The content of a file, which Hypothesis need not write out where it names a strategy."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"


NUMBERS = [
    0,
    -1,
    1,
    2**31,
    2**32,
    2**63,
    2**64,
    -(2**63),
    10**30,
    10**400,
    0.0,
    -0.0,
    1e-320,
    1e39,
    1e300,
    -1e300,
    math.inf,
    -math.inf,
    math.nan,
]
TEXTS = [
    "", " ", "\n", "null", "true", "0", "1e400", "nan", "..", "/", "/dev/zero", "~", "~nosuchuser", "~nosuchuser/x", "../" * 30 + "etc",
    "x" * 300, "x" * 5000, "/" + "x" * 300, "\x00", "a\x00b", "\ud800", "\udfff.txt", "\u202e", "\x1b[31m", "ü", "😀",
    "%s{}", "{0.__class__}",
    "!!int ''", "*a", "&a", "<<", "- x", "a: b", "'", '"', "#", "2024-01-31", "2024-99-99", "1:2:3", "0x1F",
]  # fmt: skip


def rough_text() -> st.SearchStrategy[str]:
    """Texts that readers stumble over, among them lone surrogates and NULs, which UTF-8 cannot hold or file names cannot."""
    return st.sampled_from(TEXTS) | st.text(max_size=20)


def rough_scalar() -> st.SearchStrategy[Any]:
    """None, a boolean, a number or a text, mostly at the edge of what anything takes."""
    numbers = st.sampled_from(NUMBERS) | st.integers(-100, 100) | st.floats(allow_nan=True, allow_infinity=True)
    return st.none() | st.booleans() | numbers | rough_text()


def rough_value() -> st.SearchStrategy[Any]:
    """A scalar, or a small list or mapping of them."""
    return st.recursive(
        rough_scalar(), lambda part: st.lists(part, max_size=3) | st.dictionaries(rough_text(), part, max_size=3), max_leaves=6
    )


def retyped(value: Any) -> list[Any]:
    """The same value in other types, as a hand that writes YAML or JSON may leave it."""
    found: list[Any] = [None, [value], {"value": value}, str(value)]
    if isinstance(value, bool):
        found += [int(value), "yes"]
    elif isinstance(value, (int, float)):
        found += [float(max(-1e308, min(1e308, value))), -value, value * 2**40, bool(value), f" {value} "]
    elif isinstance(value, str):
        found += [value.upper(), value + " ", value[:-1], value * 100, value.encode("utf-8", "replace").hex()]
    elif isinstance(value, list):
        found += [value * 2, value[::-1], dict(enumerate(map(str, value))), (value or [None])[0]]
    elif isinstance(value, dict):
        found += [list(value), list(value.values()), list(value.items())]
    return found


def places(content: Any, above: Place = ()) -> Iterator[Place]:
    """Every place in JSON-like content as keys and positions that lead there, the whole of it first."""
    yield above
    parts = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in parts:
        yield from places(value, (*above, key))


def value_at(content: Any, place: Place) -> Any:
    """What stands at a place."""
    for key in place:
        content = content[key]
    return content


@st.composite
def mutated(draw: st.DrawFn, content: Any, most: int = 3) -> Any:
    """JSON-like content with up to `most` changes: a value replaced, deleted, doubled or retyped, or a key added.

    Args:
        draw: Hypothesis's.
        content: good content, which stays as it is.
        most: changes, at least one is made.
    """
    content = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, most))):
        place = draw(st.sampled_from(list(places(content))))
        content = draw(_changed(content, place))
    return content


@st.composite
def _changed(draw: st.DrawFn, content: Any, place: Place) -> Any:
    if not place:
        here = content
        if isinstance(here, dict) and draw(st.integers(0, 9)):
            here[draw(rough_text() | st.sampled_from(sorted(map(str, here)) or ["x"]))] = draw(rough_value())
            return here
        return draw(rough_value())
    *above, key = place
    inside = value_at(content, tuple(above))
    change = draw(st.sampled_from(["replace", "delete", "double", "retype", "add", "swap"]))
    if change == "delete":
        del inside[key]
    elif change == "double" and isinstance(inside, list):
        inside.insert(int(key), copy.deepcopy(inside[int(key)]))
    elif change == "double":
        inside[f"{key}{draw(st.sampled_from(['', 's', '_', 'x', '2']))}"] = copy.deepcopy(inside[key])
    elif change == "retype":
        inside[key] = draw(st.sampled_from(retyped(inside[key])))
    elif change == "add" and isinstance(inside[key], dict):
        inside[key][draw(rough_text())] = draw(rough_value())
    elif change == "add" and isinstance(inside[key], list):
        inside[key].append(draw(rough_value()))
    elif change == "swap":
        other = draw(st.sampled_from(list(places(content))))
        inside[key] = copy.deepcopy(value_at(content, other)) if other else draw(rough_value())
    else:
        inside[key] = draw(rough_value())
    return content


@st.composite
def mutated_bytes(draw: st.DrawFn, content: bytes, most: int = 4) -> bytes:
    """The content of a file with bytes flipped, cut out, doubled or put in, or with its end cut off.

    Args:
        draw: Hypothesis's.
        content: of a good file.
        most: changes, at least one is made.
    """
    for _ in range(draw(st.integers(1, most))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 40)))
        piece = draw(
            st.sampled_from([b"", b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"{", b"]", b'"', b"\n", b"\t", b"9" * 5000])
            | st.binary(max_size=8)
        )
        content = content[:start] + draw(st.sampled_from([piece, piece + content[start:end] * 2, b""])) + content[end:]
        if draw(st.integers(0, 7)) == 0:
            content = content[:start]
    return content


def require_refusal(error: PotstillError) -> None:
    """Check that a refusal has a place, a problem and a way out, on one line for each mistake."""
    for line in error.errors if isinstance(error, PotstillErrors) else [error]:
        assert line.place and line.problem, line
        assert line.remedy, f"no way out: {line}"
        assert len(str(line).splitlines()) == 1 and str(line).isprintable() and len(str(line)) < 2000, line


def as_json(content: Any, escaped: bool = True) -> bytes:
    """JSON-like content as a file: numbers of too many digits for Python to write become such ones, halves of surrogate pairs stay.

    Args:
        content: as `mutated` gives it.
        escaped: whether what is not ASCII is written as its escape.
    """
    try:
        text = json.dumps(content, ensure_ascii=escaped)
    except ValueError:
        text = "9" * 5000
    return text.encode("utf-8", "surrogatepass")


@st.composite
def mutated_json(draw: st.DrawFn, content: bytes) -> bytes:
    """A JSON file with other values, or with other bytes, or one that is hard to read as a whole."""
    if draw(st.integers(0, 3)) == 0:
        return draw(mutated_bytes(content))
    whole = json.loads(content)
    if draw(st.booleans()):
        changed = draw(mutated(whole))
    else:  # one value alone: whatever else is wrong with a file hides it
        *above, key = draw(st.sampled_from([place for place in places(whole) if place] or [("x",)]))
        inside = value_at(whole, tuple(above))
        inside[key] = draw(rough_scalar() | st.sampled_from(retyped(inside.get(key) if isinstance(inside, dict) else inside[key])))
        changed = whole
    changed = as_json(changed, draw(st.booleans()))
    return draw(st.sampled_from([changed] * 12 + [changed.decode("utf-8", "surrogatepass").encode("utf-16", "surrogatepass"), *WHOLES]))


WHOLES = [b"", b"null", b"[]", b"{}", b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000, b"NaN", b"\xef\xbb\xbf{}", b'"\\ud800"', b"1e400"]
"""Files that hold no object, or one that is too deep."""


@st.composite
def mutated_rows(draw: st.DrawFn, content: bytes) -> bytes:
    """JSON lines with other values in up to three of them."""
    rows = [json.loads(line) for line in content.splitlines()]
    for _ in range(draw(st.integers(1, 3))):
        number = draw(st.integers(0, len(rows) - 1))
        rows[number] = draw(mutated(rows[number]))
    return b"\n".join(as_json(row, draw(st.booleans())) for row in rows)


CELLS = [text.encode("utf-8", "surrogatepass") for text in TEXTS if len(text) < 1000] + [
    *(
        b"",
        b" ",
        b"\x00",
        b"\xff",
        b"\xed\xa0\x80",
        b'"',
        b'"a',
        b'a"b"',
        b"1e300",
        b"1e39",
        b"-1e400",
        b"nan",
        b"9" * 5000,
        b"inf",
        b"true",
    ),
    *(b"O", b"B-", b"I-x", b"B-\xc2\xa0", b"\xe2\x80\xa8", b"\x0b", b"\x85", b"\xc2\xa0", b"\xef\xbb\xbf", b"a|a", b"|", b"\x1b[31m"),
]
LINES = [
    b"",
    b" ",
    b"\t",
    b",",
    b"\x00",
    b"\xef\xbb\xbf",
    b"{",
    b"[]",
    b"[" * 100_000,
    b'"' * 3,
    b"x" * 1_000_001,
    b"\t" * 3000,
    b"-DOCSTART-",
]


@st.composite
def mutated_lines(draw: st.DrawFn, content: bytes, most: int = 3) -> bytes:
    """A file of lines with cells and lines replaced, dropped, doubled or put in, or with other ends of lines or another encoding.

    Args:
        draw: Hypothesis's.
        content: of a good file; cells are between tabs or commas, or else spaces.
        most: changes, at least one is made.
    """
    lines = content.splitlines()
    between = next((sign for sign in (b"\t", b",") if sign in content), b" ")
    for _ in range(draw(st.integers(1, most))):
        number = draw(st.integers(0, len(lines) - 1)) if lines else 0
        change = draw(st.sampled_from(["cell", "cell", "cell", "drop a cell", "double a cell", "line", "put in", "drop", "double", "swap"]))
        if change == "put in" or not lines:
            lines.insert(number, draw(st.sampled_from(LINES)))
        elif change == "line":
            lines[number] = draw(st.sampled_from(LINES))
        elif change == "drop":
            del lines[number]
        elif change == "double":
            lines.insert(number, lines[number])
        elif change == "swap":
            lines = [*lines[number:], *lines[:number]]
        else:
            cells = lines[number].split(between)
            cell = draw(st.integers(0, len(cells) - 1))
            cells[cell : cell + 1] = {"cell": [draw(st.sampled_from(CELLS))], "drop a cell": []}.get(change, cells[cell : cell + 1] * 2)
            lines[number] = between.join(cells)
    end = draw(st.sampled_from([b"\n"] * 6 + [b"\r\n", b"\r", b"\n\n"]))
    whole = end.join(lines) + draw(st.sampled_from([end, b""]))
    if draw(st.integers(0, 9)):
        return whole
    text = whole.decode("utf-8", "replace")
    return draw(
        st.sampled_from([b"\xef\xbb\xbf" + whole, text.encode("utf-16"), text.encode("utf-32"), text.encode("latin-1", "replace"), b""])
    )


@st.composite
def mutated_tokenizer(draw: st.DrawFn, content: bytes) -> bytes:
    """A tokenizer.json with other values, seldom in its vocabulary, which is nearly all of it."""
    if draw(st.integers(0, 4)) == 0:
        return draw(mutated_json(content))
    whole = json.loads(content)
    vocabulary = whole["model"].pop("vocab")
    changed = draw(mutated(whole))
    if isinstance(changed, dict) and isinstance(changed.get("model"), dict):
        changed["model"].setdefault("vocab", vocabulary)
    return as_json(changed)


@st.composite
def mutated_weights(draw: st.DrawFn, content: bytes) -> bytes:
    """A safetensors file with another header, other bytes, or numbers that are not finite or nearly so."""
    size = struct.unpack("<Q", content[:8])[0]
    header, numbers = content[8 : 8 + size], bytearray(content[8 + size :])
    change = draw(st.sampled_from(["header", "header", "bytes", "numbers", "numbers", "size", "end"]))
    if change == "header":
        header = as_json(draw(mutated(json.loads(header))))
        size = len(header)
    elif change == "bytes":
        return draw(mutated_bytes(content))
    elif change == "size":
        size = draw(st.sampled_from([0, 1, 2, size - 1, size + 1, 2**31, 2**63, 2**64 - 1]))
    elif change == "end":
        numbers = numbers[: draw(st.integers(0, len(numbers)))]
    else:
        for _ in range(draw(st.integers(1, 3))):
            place = 4 * draw(st.integers(0, len(numbers) // 4 - 1))
            numbers[place : place + 4] = struct.pack("<f", draw(st.sampled_from(FLOATS)))
    return struct.pack("<Q", size) + header + bytes(numbers)


FLOATS = [math.nan, math.inf, -math.inf, 3e38, -3e38, 1e30, 1e-45, 0.0]


@st.composite
def mutated_graph(draw: st.DrawFn, content: bytes) -> bytes:
    """An ONNX file with other bytes, numbers, names, operators or shapes."""
    if draw(st.integers(0, 3)) == 0:
        return draw(mutated_bytes(content))
    model = onnx.load_from_string(content)
    graph = model.graph
    for _ in range(draw(st.integers(1, 2))):
        tensor, node = draw(st.sampled_from(graph.initializer)), draw(st.sampled_from(graph.node))
        change = draw(
            st.sampled_from(["numbers", "numbers", "dims", "type", "input", "output", "op", "drop", "attribute", "opset", "width"])
        )
        if change == "numbers":
            values = onnx.numpy_helper.to_array(tensor).copy()
            limits = FLOATS if values.dtype.kind == "f" else [0, 1, -1, 127] if values.dtype.itemsize == 1 else [0, -1, 2**20, 2**31 - 1]
            if values.size and values.dtype.kind in "fi":
                values.flat[draw(st.integers(0, values.size - 1))] = draw(st.sampled_from(limits))
                tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        elif change == "dims":
            tensor.dims[:] = draw(st.sampled_from([[], [0], [-1], [2**40], list(tensor.dims)[::-1], [*tensor.dims, 1], [1, *tensor.dims]]))
        elif change == "type":
            tensor.data_type = draw(st.integers(0, 20))
        elif change in ("input", "output"):
            entries = graph.input if change == "input" else graph.output
            entries[draw(st.integers(0, len(entries) - 1))].name = draw(st.sampled_from(["", "x", "input_ids", "attention_mask", "logits"]))
        elif change == "op":
            node.op_type = draw(st.sampled_from(["Add", "Mul", "Div", "Identity", "Nothing", "Sqrt", "MatMul", "Gather", "Log"]))
        elif change == "drop":
            graph.node.remove(node)
        elif change == "attribute" and node.attribute:
            attribute = draw(st.sampled_from(node.attribute))
            attribute.i, attribute.f = draw(st.sampled_from([-1, 0, 1, 99, 2**62])), draw(st.sampled_from(FLOATS))
        elif change == "width":
            dims = graph.output[0].type.tensor_type.shape.dim
            if dims:
                dims[-1].dim_param = "width"
        elif change == "opset":
            model.opset_import[0].version = draw(st.sampled_from([0, 1, 7, 99, 2**40]))
    return model.SerializeToString()
