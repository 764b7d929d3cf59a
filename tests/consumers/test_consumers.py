"""The page of consumers is the one of what was found, with the lines as they are today. `make consumers` tries them."""

from __future__ import annotations

import json

from consumers.consumers import CONSUMERS, FP32, INT8, PAGE, RESULTS, snippet_of, write_page
from consumers.texts import LONG, TEXTS
from potstill.deploy.snippets import HEAD_SNIPPETS, SNIPPETS


def test_the_page_is_made_of_what_was_found():
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert PAGE.read_text(encoding="utf-8") == write_page(results)
    assert set(results["rows"]) <= set(CONSUMERS) and len(results["rows"]) > 15
    for name, row in results["rows"].items():
        assert row["fp32"] <= FP32 and row.get("int8", 0) <= INT8 and ("int8" in row) == snippet_of(CONSUMERS[name]).quantized


def test_every_snippet_of_another_library_is_tried():
    assert {consumer.snippet for consumer in CONSUMERS.values()} == set(SNIPPETS | HEAD_SNIPPETS) - {"potstill"}
    assert len(TEXTS) == 20 == len(set(TEXTS.values())) and len(TEXTS[LONG].split()) == 600
