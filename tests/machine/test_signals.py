"""A signal that comes within the block is felt at its end, by whoever took it before; each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HELD = """
import signal
import sys
from potstill.machine.signals import uninterrupted

number = signal.Signals(int(sys.argv[1]))
signal.signal(number, signal.default_int_handler)
with uninterrupted():
    pass  # nothing comes, nothing is raised
try:
    with uninterrupted():
        signal.raise_signal(number)
        print("all of it")
except KeyboardInterrupt:
    print("then the signal", signal.getsignal(number) is signal.default_int_handler)
"""
ELSEWHERE = """
import signal
import threading
from potstill.machine.signals import uninterrupted

before = signal.getsignal(signal.SIGINT)  # a job in the background of a shell ignores it

def work():
    with uninterrupted():
        print(signal.getsignal(signal.SIGINT) == before)

thread = threading.Thread(target=work)
thread.start()
thread.join()
"""
WITHIN = """
import signal
import sys
import time
from potstill.machine.signals import interrupt

sys.path.insert(0, sys.argv[2])
number = signal.Signals(int(sys.argv[1]))
signal.signal(number, interrupt)
try:
    try:
        import outer
        time.sleep(60)
    finally:
        time.sleep(0.3)
        print("cleared up")
except KeyboardInterrupt:
    print("imported", "outer" in sys.modules)
try:
    signal.raise_signal(number)
except KeyboardInterrupt:
    print("at once")
"""


def said(code: str, *arguments: object) -> str:
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("number", [2, 15])
def test_a_signal_waits_for_the_end_of_the_block(number: int) -> None:
    assert said(HELD, number) == "all of it\nthen the signal True\n"


def test_in_another_thread_signals_are_left_alone() -> None:
    assert said(ELSEWHERE) == "True\n"


@pytest.mark.parametrize("number", [2, 15])
def test_signals_wait_for_the_end_of_an_import_and_come_as_one(number: int, tmp_path: Path) -> None:
    (tmp_path / "outer.py").write_text("import inner\nprint('all of it')\n")
    twice = f"os.kill(os.getpid(), {number})\n" * 2
    inner = f"import os, time\n{twice}for _ in range(30):\n    time.sleep(0.01)\nprint('goes on')\n"
    (tmp_path / "inner.py").write_text(inner)
    assert said(WITHIN, number, tmp_path) == "goes on\nall of it\ncleared up\nimported True\nat once\n"
