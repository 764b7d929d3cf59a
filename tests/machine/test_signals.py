"""A signal that comes within the block is felt at its end, by whoever took it before; each in a process of its own."""

from __future__ import annotations

import subprocess
import sys

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


def said(code: str, *arguments: object) -> str:
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("number", [2, 15])
def test_a_signal_waits_for_the_end_of_the_block(number: int) -> None:
    assert said(HELD, number) == "all of it\nthen the signal True\n"


def test_in_another_thread_signals_are_left_alone() -> None:
    assert said(ELSEWHERE) == "True\n"
