from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from potstill.machine.parallel import in_parallel
from potstill.machine.precision import autocast
from potstill.machine.torch_threads import on_all_cores


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_the_order_of_the_items(threads: int) -> None:
    held = threading.Event()

    def work(number: int) -> int:
        if threads > 1 and number == 0:
            held.wait(10)  # the first one ends last
        elif number == 3:
            held.set()
        return number * number

    assert list(in_parallel(work, range(40), threads)) == [number * number for number in range(40)]


def test_as_many_run_at_once_and_each_thread_begins_once() -> None:
    began: list[int] = []
    together = threading.Barrier(3)
    list(in_parallel(lambda _: together.wait(10), range(9), 3, lambda: began.append(threading.get_ident())))
    assert len(began) == len(set(began)) == 3


def test_little_is_ahead_of_whoever_takes_it() -> None:
    asked = []

    def items() -> Iterator[int]:
        for number in range(100):
            asked.append(number)
            yield number

    results = in_parallel(lambda number: number, items(), 2)
    assert next(results) == 0 and len(asked) <= 6
    results.close()  # type: ignore[attr-defined]
    assert len(asked) <= 6


@pytest.mark.parametrize("threads", [1, 2])
def test_an_exception_comes_in_its_place(threads: int) -> None:
    def work(number: int) -> float:
        return 1 / (number - 3)

    found = []
    with pytest.raises(ZeroDivisionError):
        for result in in_parallel(work, range(1000), threads):
            found.append(result)
    assert len(found) == 3


def test_torch_s_threads_are_shared_autocast_holds_and_both_are_as_they_were() -> None:
    before = torch.get_num_threads()
    weight = torch.nn.Parameter(torch.ones(4, 4))
    torch.set_num_threads(4)
    try:
        with torch.no_grad(), autocast(torch.device("cpu"), torch.bfloat16):
            found = list(on_all_cores(lambda _: (torch.get_num_threads(), (weight @ weight).dtype), range(2)))
        assert found == [(2, torch.bfloat16)] * 2 and torch.get_num_threads() == 4
        assert list(on_all_cores(lambda _: (torch.get_num_threads(), (weight @ weight).dtype), range(9))) == [(1, torch.float32)] * 9
        fresh = []
        thread = threading.Thread(target=lambda: fresh.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert fresh == [4] and torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)
