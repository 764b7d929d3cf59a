"""A signal that comes within the block is felt at its end, by whoever took it before."""

from __future__ import annotations

import signal
import threading

import pytest

from potstill.machine.signals import uninterrupted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_end_of_the_block(number: int) -> None:
    before = signal.signal(number, signal.default_int_handler)
    done = []
    try:
        with pytest.raises(KeyboardInterrupt), uninterrupted():
            signal.raise_signal(number)
            done.append("all of it")
        assert done and signal.getsignal(number) is signal.default_int_handler
        with uninterrupted():
            pass  # nothing came, nothing is raised
    finally:
        signal.signal(number, before)


def test_in_another_thread_signals_are_left_alone() -> None:
    taken = []

    def work() -> None:
        with uninterrupted():
            taken.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert taken == [before]
