"""Texts of any length for the tiny encoder, and an exported folder to write into."""

from __future__ import annotations

import random

import pytest


@pytest.fixture(scope="session")
def texts() -> list[str]:
    draw = random.Random(0)
    return [" ".join(draw.choice("the river and village rivers 42 , x".split()) for _ in range(draw.randint(1, 30))) for _ in range(40)]
