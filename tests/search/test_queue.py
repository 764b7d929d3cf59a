"""A queue of trials: each is run once, by one process, whatever happens to the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from helpers.postgresql import server
from potstill.errors import PotstillError
from potstill.search.best import _best
from potstill.search.database import connected
from potstill.search.queue import INSTEAD, Queue, TrialFailed, first_number


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """The URL of a database of PostgreSQL."""
    with server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/queue.db"
        return
    url = request.getfixturevalue("postgresql")
    yield url
    for name in optuna.get_all_study_names(url):
        optuna.delete_study(study_name=name, storage=url)


def open_queue(storage: RDBStorage, waiting: list[tuple[dict[str, Any], dict[str, Any]]], name: str = "q") -> Queue:
    """A queue about nothing in particular."""
    return Queue(storage, name, "about", waiting)


def work(queue: Queue, run: Callable[[optuna.Trial], float]) -> None:
    """Work as a process does."""
    queue.work(run, lambda number: optuna.samplers.RandomSampler(seed=number))


def keep(done: list[Any], trial: optuna.Trial) -> float:
    """Run a trial: its number and what it draws go to `done`."""
    done.append((trial.number, trial.suggest_float("x", 0, 9)))
    return 0.0


@pytest.fixture
def slow_writes() -> Iterator[None]:
    """A database that takes its time between what a transaction reads and what it writes."""

    def wait(connection: Any, cursor: Any, statement: str, *more: Any) -> None:
        if statement.startswith("UPDATE"):
            time.sleep(0.05)

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", wait)
    yield
    sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", wait)


def test_each_trial_goes_to_one_process_and_the_last_one_comes_last(database, slow_writes):
    together = Barrier(2)
    done: list[Any] = []

    def process() -> None:
        with connected(database) as storage:
            together.wait()
            queue = open_queue(storage, [({"x": number}, {"last": number == 0}) for number in range(8)])
            together.wait()
            work(queue, partial(keep, done))

    with ThreadPoolExecutor(2) as pool:
        for worker in [pool.submit(process) for _ in range(2)]:
            worker.result()
    assert sorted(done) == [(number, number) for number in range(8)] and done[-1] == (0, 0)


def test_an_interrupted_trial_is_run_again_with_what_it_drew(database):
    with connected(database) as storage:
        queue = open_queue(storage, [({}, {"role": "base"}), ({"x": 0.25}, {}), ({"x": 0.5}, {"last": True})])
        drawn: list[Any] = []
        kept = []

        def interrupted(draws: bool, trial: optuna.Trial) -> float:
            if draws:
                keep(drawn, trial)
            raise KeyboardInterrupt

        def whole(trial: optuna.Trial) -> float:
            kept.append((trial.user_attrs.get("role"), trial.user_attrs.get(INSTEAD)))
            return keep(drawn, trial)

        for draws in (True, False, True):  # trial 0, trial 1 before it drew, and the one in the place of 0
            with pytest.raises(KeyboardInterrupt):
                work(queue, partial(interrupted, draws))
        work(queue, whole)
        first = drawn[0][1]
        assert drawn == [(0, first), (3, first), (4, 0.25), (5, first), (2, 0.5)]
        assert kept == [(None, [1]), ("base", [0, 3]), (None, None)]
        assert not queue.left() and len(queue.trials(TrialState.COMPLETE)) == 3


def test_a_trial_that_cannot_be_scored_is_not_run_again(database):
    with connected(database) as storage:
        queue = open_queue(storage, [({"x": 1}, {}), ({"x": 2}, {})])
        done: list[Any] = []

        def run(trial: optuna.Trial) -> float:
            keep(done, trial)
            if trial.number == 0:
                raise TrialFailed("out of memory")
            raise optuna.TrialPruned

        work(queue, run)
        work(queue, run)
        assert done == [(0, 1), (1, 2)]
        assert [(trial.state, trial.user_attrs.get("why")) for trial in queue.trials()] == [
            (TrialState.FAIL, "out of memory"),
            (TrialState.PRUNED, None),
        ]


def test_a_database_of_an_earlier_version_goes_on(database, monkeypatch):
    """One trial is done, one was lost and replaced, one was running when its process was killed, one waits."""
    with connected(database) as storage:
        study = optuna.create_study(storage=storage, study_name="q", direction="maximize")
        study.set_user_attr("bound to", "about")
        for x in range(4):
            study.enqueue_trial({"x": x}, user_attrs={"keys": ["x"]})
        study.set_user_attr("ready", True)
        for state in (TrialState.COMPLETE, TrialState.FAIL, None):
            trial = study.ask()
            trial.suggest_float("x", 0, 9)
            if state is not None:
                study.tell(trial, 0.0 if state == TrialState.COMPLETE else None, state=state)
        study.enqueue_trial({"x": 1}, user_attrs={"keys": ["x"], "instead of": [1]})

        monkeypatch.setattr("potstill.search.queue.GRACE", 1)
        done: list[Any] = []
        queue = open_queue(storage, [])
        assert queue.joined and queue.started
        work(queue, partial(keep, done))
        assert done == [(3, 3), (4, 1), (5, 2)]


def test_of_two_replacements_one_is_run(database):
    """Two processes saw at once that trial 0 was lost."""
    with connected(database) as storage:
        queue = open_queue(storage, [({"x": 1}, {})])
        queue.study.tell(queue.study.ask(), state=TrialState.FAIL)
        for _ in range(2):
            queue.study.enqueue_trial({"x": 1}, user_attrs={"instead of": [0]})
        done: list[Any] = []
        work(queue, partial(keep, done))
        assert done == [(1, 1)] and [trial.number for trial in queue.trials()] == [0, 1]


@pytest.mark.parametrize(("heartbeat", "numbers"), [(0.1, [0]), (60, [0, 1])])
def test_a_process_keeps_its_trial_as_long_as_it_gives_signs_of_life(database, monkeypatch, heartbeat, numbers):
    """One that gives none counts as dead. If it is not, then its result comes too late and is dropped, without an error."""
    monkeypatch.setattr("potstill.search.queue.HEARTBEAT", heartbeat)
    monkeypatch.setattr("potstill.search.queue.GRACE", 1)
    started = Event()
    done: list[Any] = []

    def slow(trial: optuna.Trial) -> float:
        keep(done, trial)
        started.set()
        time.sleep(3)
        trial.set_user_attr("late", True)
        return 1.0

    def process(run: Callable[[optuna.Trial], float]) -> None:
        with connected(database) as storage:
            work(open_queue(storage, []), run)

    with connected(database) as storage, ThreadPoolExecutor(1) as pool:
        queue = open_queue(storage, [({"x": 1}, {})])
        other = pool.submit(process, slow)
        started.wait()
        work(queue, partial(keep, done))
        other.result()
        assert [number for number, _ in done] == numbers
        (complete,) = queue.trials(TrialState.COMPLETE)
        assert complete.number == numbers[-1] and complete.user_attrs.get("late") == (True if numbers == [0] else None)


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.mark.parametrize("step", range(6))
def test_a_queue_that_was_left_half_filled_is_filled_by_the_next_process(database, monkeypatch, step):
    """Killed after each of its writes: the study made, what it is about, three trials, and that it is ready."""
    monkeypatch.setattr("potstill.search.queue.SETUP", 0.2)
    monkeypatch.setattr("potstill.search.queue.PAUSE", 0.01)
    writes = iter(range(6))
    waiting: list[tuple[dict[str, Any], dict[str, Any]]] = [({"x": number}, {"role": "base"}) for number in range(3)]

    def killed(function: Callable[..., Any], *given: Any, **options: Any) -> Any:
        found = function(*given, **options)
        if next(writes) == step:
            raise Killed
        return found

    with connected(database) as storage, monkeypatch.context() as patch:
        study = optuna.Study
        patch.setattr(optuna, "create_study", partial(killed, optuna.create_study))
        for name in ("set_user_attr", "enqueue_trial"):
            method = getattr(study, name)
            patch.setattr(study, name, lambda self, *given, method=method, **options: killed(method, self, *given, **options))
        with pytest.raises(Killed):
            open_queue(storage, waiting)
    with connected(database) as storage:
        queue = open_queue(storage, waiting)
        assert queue.joined and not queue.started
        done: list[Any] = []
        work(queue, partial(keep, done))
        assert [x for _, x in done] == [0, 1, 2] and len(queue.trials()) == 3
        again = open_queue(storage, waiting)
        assert not again.left() and len(again.trials()) == 3
        with pytest.raises(PotstillError, match="of another recipe or another space"):
            Queue(storage, "q", "about something else", waiting)


def test_two_that_fill_a_queue_at_once_make_each_trial_once(database, monkeypatch):
    monkeypatch.setattr("potstill.search.queue.SETUP", 0.2)
    monkeypatch.setattr("potstill.search.queue.PAUSE", 0.01)
    with connected(database) as storage:
        optuna.create_study(storage=storage, study_name="q", directions=["maximize"])  # all that the killed one came to
    together = Barrier(2)

    def process() -> list[Any]:
        done: list[Any] = []
        with connected(database) as storage:
            together.wait()
            work(open_queue(storage, [({"x": number}, {}) for number in range(5)]), partial(keep, done))
        return done

    with ThreadPoolExecutor(2) as pool:
        done = [trial for worker in [pool.submit(process) for _ in range(2)] for trial in worker.result()]
    assert sorted(x for _, x in done) == list(range(5))


def test_of_trials_that_score_the_same_a_kill_does_not_decide_which_is_chosen(database):
    with connected(database) as storage:
        queue = open_queue(storage, [({"x": number}, {}) for number in range(3)])

        def interrupted(trial: optuna.Trial) -> float:
            raise KeyboardInterrupt

        for _ in range(2):  # the first trial, and the second one
            with pytest.raises(KeyboardInterrupt):
                work(queue, interrupted)
        work(queue, partial(keep, []))
        assert [first_number(trial) for trial in queue.trials(TrialState.COMPLETE)] == [2, 0, 1]
        assert _best(queue).params == {"x": 0}


def test_a_trial_whose_worker_died_is_put_back_once(database):
    """Whether the trial in its place was itself put in the place of one that was only interrupted, or whose death was forgiven."""
    with connected(database) as storage:
        queue = open_queue(storage, [({"x": 1}, {})])
        done: list[Any] = []

        def interrupted(trial: optuna.Trial) -> float:
            raise KeyboardInterrupt

        def dies(worker: str) -> None:
            """Take a trial and never be heard of again."""
            with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr(queue.study, "tell", lambda *given, **options: None)
                queue.work(interrupted, lambda number: optuna.samplers.RandomSampler(seed=number), worker=worker)

        dies("a")
        assert queue.trials()[0].state == TrialState.RUNNING
        assert not queue.put_back("b", "twice")  # another one's death
        assert queue.trials()[0].state == TrialState.RUNNING
        assert queue.put_back("a", "twice")
        with pytest.raises(KeyboardInterrupt):
            work(queue, interrupted)  # lost without a death
        dies("c")
        queue.put_back("c")  # of what is never given up
        assert len(queue.left()) == 1
        dies("d")
        queue.put_back("d", "twice")
        work(queue, partial(keep, done))
        assert not done and not queue.left()
        (failed,) = [trial for trial in queue.trials() if "why" in trial.user_attrs]
        assert failed.user_attrs["why"] == "twice" and failed.user_attrs[INSTEAD] == [0, 1, 2]
