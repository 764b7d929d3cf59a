"""Names and texts that would break a page or a card: through the real report, the comparison and the model card, they stay texts."""

from __future__ import annotations

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

from helpers.diagnosed import classified
from helpers.samples import make_cases, make_metrics, make_run
from potstill.comparison.page import write_comparison
from potstill.deploy.card import write_card
from potstill.report.answers import MISTAKES_FILE
from potstill.report.page import write_report
from potstill.results import Run
from potstill.runtime.folder import EMBED

EVIL = [
    "<script>alert(1)</script>",  # a script
    "</title></style></script><img src=x onerror=alert(1)>",  # the end of what it stands in
    "{{ 7 * 7 }}{% include 'x' %}{# #}",  # a template
    "a | b\n|---|\n# heading\n```\n[x](javascript:alert(1)) <!-- ",  # Markdown
    "---\ntags: [evil]\nlicense: x: y\n'\"&: *anchor !!python/object:os.system [",  # YAML, and the end of the front matter
    "\u2028\u2029\\u003c \u202e gnp.exe",  # line ends of JavaScript, and a text that runs backwards
    "%{x} ${y} `z` $(w) \\",  # what shells read
    "x' onload='alert(1)\" onload=\"alert(2)",  # the end of an attribute
]


# What a drawing is made of. How many there are of each depends on the length of names.
DRAWING = {"svg", "g", "path", "circle", "text", "title", "ol", "li"}
ATTRIBUTES = {
    "class", "style", "d", "x", "y", "dy", "cx", "cy", "r", "transform", "data-series", "value", "viewbox", "role", "aria-label"
}  # fmt: skip


class Structure(HTMLParser):
    """Tags of a page with their attributes, but for the values that are texts; those of drawings apart; and what stands in its title."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.drawn: set[str] = set()
        self.attributes: set[str] = set()
        self.title, self._inside, self._depth = "", "", 0
        self.feed(document)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attributes]
        if self._depth:
            self.drawn.add(tag)
            self.attributes |= set(names)
        else:
            self.tags.append((tag, tuple(names)))
        if tag == "div" and (self._depth or any(value and value.startswith("drawing ") for _, value in attributes)):
            self._depth += 1
        self._inside = tag

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)

    def handle_endtag(self, tag: str) -> None:
        self._depth -= tag == "div" and self._depth > 0
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "title" and not self._depth:
            self.title += data


def spoiled(evil: str) -> Run:
    """A run in which every text that a user or a publisher writes is this one."""
    run = make_run(evil)
    for record in run.records:
        record.name = record.model = evil
        record.machine = record.machine.model_copy(update={"cpu": evil})
        record.versions = {evil: evil}
        record.scores = {
            f"glue/{evil.replace('/', ' ')}": classified([evil, "x"], [[3, 20], [1, 90]] if record.role == "int8" else [[9, 1], [2, 9]])
        }
    run.cases = [case | {"labels": {"gold": evil, "teacher": "x", "student": evil}} for case in make_cases(evil, texts=[evil, "plain"])]
    run.gate[0]["setting"] = run.gate[0]["failed"][0] = evil
    run.training |= {evil: evil, "best": {"name": evil, "value": 80.0, "step": 3, "stage": evil}}
    run.recipe |= {"name": evil, "data": {"texts": [evil], evil: evil}}
    return run


@pytest.fixture
def pages(tmp_path: Path) -> Callable[[str], list[Structure]]:
    """The report of a run, and its comparison with another, with one text wherever a text may stand."""

    def both(text: str) -> list[Structure]:
        for name, run in (("a", spoiled(text)), ("b", spoiled(text).model_copy(update={"seed": 99}))):
            (tmp_path / name).mkdir(exist_ok=True)
            run.write(tmp_path / name)
            said = [[text, 0.9], ["x", 0.1]]
            (tmp_path / name / MISTAKES_FILE).write_text(json.dumps([{"text": text, "gold": [text], "teacher": said, "student": said}]))
            lines = [{**line, "stage": text, "terms": {text: 1.0}} for line in make_metrics(lines=20) if "loss" in line]
            (tmp_path / name / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        write_report(tmp_path / "a", tmp_path / "a.html")
        write_comparison([tmp_path / "a", tmp_path / "b"], tmp_path / "ab.html")
        return [Structure((tmp_path / name).read_text(encoding="utf-8")) for name in ("a.html", "ab.html")]

    return both


@pytest.mark.parametrize("evil", EVIL)
def test_a_page_keeps_its_structure(pages: Callable[[str], list[Structure]], evil: str) -> None:
    for plain, other in zip(pages("harmless"), pages(evil), strict=True):
        assert other.tags == plain.tags
        assert any(other.title == plain.title.replace("harmless", text) for text in (evil, evil.replace("/", " ")))  # run, or task
        assert other.drawn | plain.drawn <= DRAWING and other.attributes | plain.attributes <= ATTRIBUTES


@pytest.mark.parametrize("evil", EVIL)
def test_a_card_keeps_its_front_matter_and_its_table(tmp_path: Path, evil: str) -> None:
    def card(text: str) -> ModelCard:
        records = [record.model_dump() for record in spoiled(text).records]
        write_card(tmp_path, name=text, teacher=text, records=records, kind=EMBED)
        return ModelCard.load(tmp_path / "README.md")

    plain, other = card("harmless"), card(evil)
    front = (tmp_path / "README.md").read_text(encoding="utf-8").split("\n---\n")[0].removeprefix("---\n")
    assert set(yaml.safe_load(front)) == set(plain.data.to_dict()) == set(other.data.to_dict())
    assert (other.data.tags, other.data.model_name) == (plain.data.tags, evil)
    lines = [text.splitlines() for text in (plain.text, other.text)]
    assert len(lines[0]) == len(lines[1])
    for before, after in zip(*lines, strict=True):  # as many cells, and no markup of the text's own
        bars, own = before.count("|"), after.replace("\\\\", "").replace("\\|", "")
        assert own.count("|") == bars
    assert "<" not in other.text.replace("\\<", "").replace("<br>", "")
