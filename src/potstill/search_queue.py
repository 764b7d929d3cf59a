"""A queue of trials in a database, shared by every process that opens it: each takes the next one, and what a dead one held."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any, Literal

import optuna
import sqlalchemy
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from potstill.errors import PotstillError

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=ExperimentalWarning)

HEARTBEAT = 5  # seconds between two signs of life of a trial
GRACE = 45  # seconds without one after which it is given to somebody else
SETUP = 30  # seconds that another process may take to fill a new queue
PAUSE = 0.5
BOUND, READY = "bound to", "ready"  # attributes of a study
INSTEAD = "instead of"  # attribute of a trial: the numbers of those that it replaces, the last of them the one that ended
ANOTHER = "choose another --out, and with --storage another name (--set name=…)"  # a study is found by the recipe's name
KEPT = ("keys", "role", "last")  # attributes of a trial that the one in its place has too
Run = Callable[[optuna.Trial], float | Sequence[float]]


class Spoilt(Exception):
    """A trial that cannot be scored: the queue goes on without it. Its text says why."""


@contextmanager
def connected(url: str) -> Iterator[RDBStorage]:
    """The database behind `url`; whatever goes wrong with it within the block is one line.

    Raises:
        PotstillError: no such database, no driver for it, or it is lost.
    """
    shown = _shown(url)
    try:
        storage = _open(url)
    except ImportError as error:
        raise PotstillError(
            shown, f"has no driver here ({error.__cause__ or error})", "install it, for PostgreSQL by pip install 'psycopg[binary]'"
        ) from error
    except (sqlalchemy.exc.SQLAlchemyError, StorageInternalError, RuntimeError, OSError) as error:
        raise PotstillError(shown, f"cannot be reached ({_first_line(error)})", _reach(url)) from error
    try:
        yield storage
    except (sqlalchemy.exc.SQLAlchemyError, StorageInternalError) as error:
        raise PotstillError(
            shown, f"was lost ({_first_line(error.__cause__ or error)})", "the same command with --resume goes on"
        ) from error
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _open(url: str) -> RDBStorage:
    parsed = sqlalchemy.engine.make_url(url)
    local = parsed.get_backend_name() == "sqlite"
    if local and parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(5):
        try:
            return RDBStorage(
                url,
                # SQLite lets one process write at a time; the others wait for it.
                engine_kwargs={"connect_args": {"timeout": 60}} if local else {"pool_pre_ping": True},
                heartbeat_interval=HEARTBEAT,
                grace_period=GRACE,
                heartbeat_stale_trial_callback=again,
            )
        except (sqlalchemy.exc.DBAPIError, AssertionError) as error:  # two processes make the tables at once
            met = isinstance(error, (sqlalchemy.exc.IntegrityError, AssertionError)) or "already exists" in str(error)
            if not met or attempt == 4:
                raise
            time.sleep(PAUSE)
    raise AssertionError


def _first_line(error: BaseException) -> str:
    text = str(getattr(error, "orig", None) or error) or type(error).__name__
    return text.strip().splitlines()[0]


def _shown(url: str) -> str:
    """The address without its password."""
    try:
        return sqlalchemy.engine.make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        return "--storage"


def _reach(url: str) -> str:
    return "check the path" if url.startswith("sqlite") else "check the address and that the server runs"


def again(study: optuna.Study, trial: FrozenTrial) -> None:
    """Put the same settings into the queue once more, unless that is done: whoever does it may die before it is told."""
    if trial.number in _replaced(study.get_trials(deepcopy=False)):
        return
    attributes = {key: trial.user_attrs[key] for key in KEPT if key in trial.user_attrs}
    attributes[INSTEAD] = [*trial.user_attrs.get(INSTEAD, []), trial.number]
    study.enqueue_trial(trial.system_attrs.get("fixed_params", {}) | trial.params, user_attrs=attributes)


def _replaced(trials: Sequence[FrozenTrial]) -> set[int]:
    return {number for trial in trials for number in trial.user_attrs.get(INSTEAD, [])}


def _unfinished(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return [trial for trial in trials if not trial.state.is_finished()]


def _lost(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    known = _replaced(trials)
    return [trial for trial in trials if trial.state == TrialState.FAIL and "why" not in trial.user_attrs and trial.number not in known]


class Queue:
    """Trials that wait, run, or are done, under one name in one database.

    Args:
        bound: a digest of what the trials are about; a queue of the same name about something else is refused.
        waiting: (parameters, attributes) of each trial, for a queue that is new.

    Attributes:
        joined: whether it was there already.

    Raises:
        PotstillError: it is about something else, or was left half filled.
    """

    def __init__(
        self,
        storage: RDBStorage,
        name: str,
        bound: str,
        waiting: Sequence[tuple[dict[str, Any], dict[str, Any]]],
        directions: Sequence[Literal["maximize", "minimize"]] = ("maximize",),
        pruner: optuna.pruners.BasePruner | None = None,
    ) -> None:
        self.storage = storage
        pruner = pruner or optuna.pruners.NopPruner()
        try:
            self.study = optuna.create_study(storage=storage, study_name=name, directions=list(directions), pruner=pruner)
            self.joined = False
        except DuplicatedStudyError:
            self.study = optuna.load_study(storage=storage, study_name=name, pruner=pruner)
            self.joined = True
            self._require_same(name, bound)
            return
        self.study.set_user_attr(BOUND, bound)
        for parameters, attributes in waiting:
            self.study.enqueue_trial(parameters, user_attrs=attributes)
        self.study.set_user_attr(READY, True)

    def _require_same(self, name: str, bound: str) -> None:
        place, end = _shown(self.storage.url), time.monotonic() + SETUP
        while not self.study.user_attrs.get(READY):
            if time.monotonic() > end:
                raise PotstillError(place, f"the search {name!r} in it was never set up whole", ANOTHER)
            time.sleep(PAUSE)
        if self.study.user_attrs.get(BOUND) != bound:
            raise PotstillError(place, f"holds the search {name!r} of another recipe or another space", f"go on with those, or {ANOTHER}")

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=states or None)

    def life(self) -> list[tuple[int, str, str]]:
        """What changes every few seconds while somebody works here: the state of each trial, and its last sign of life."""
        with self.storage.engine.connect() as connection:
            rows = connection.execute(sqlalchemy.text("select trial_id, heartbeat from trial_heartbeats"))
            beats = {row.trial_id: str(row.heartbeat) for row in rows}
        return [(trial.number, trial.state.name, beats.get(trial._trial_id, "")) for trial in self.trials()]

    @property
    def started(self) -> bool:
        return any(trial.state != TrialState.WAITING for trial in self.trials())

    def work(self, run: Run, sampler: Callable[[int], optuna.samplers.BaseSampler], look: Callable[[], None] = lambda: None) -> None:
        """Run trials until none waits and none runs anywhere.

        Args:
            run: a trial → its value, or values; optuna's TrialPruned and `Spoilt` end a trial, anything else that it
                raises puts the trial back and comes through.
            sampler: the number of a trial → what draws its parameters.
            look: called after each trial, and while others' are waited for.
        """
        while True:
            look()
            optuna.storages.fail_stale_trials(self.study)
            trial = self._next(sampler)
            if trial is not None:
                self._run(trial, run)
            elif self._whole():
                return
            else:
                time.sleep(PAUSE)

    def _whole(self) -> bool:
        """Whether all is done. A trial that failed without a reason and was not put back is put back: whoever failed it died first."""
        trials = self.trials()  # one reading for both questions: between two of them a trial may go from one to the other
        if not _lost(trials):
            return not _unfinished(trials)
        time.sleep(PAUSE)  # they may be about to
        for trial in _lost(self.trials()):
            again(self.study, trial)
        return False

    def _next(self, sampler: Callable[[int], optuna.samplers.BaseSampler]) -> optuna.Trial | None:
        """Take a trial that waits. Study.ask would make a new one where another process took the last."""
        trials = self.trials()
        unfinished = _unfinished(trials)
        for trial in unfinished:
            if trial.state != TrialState.WAITING or (trial.user_attrs.get("last") and (len(unfinished) > 1 or _lost(trials))):
                continue
            self.storage.record_heartbeat(trial._trial_id)  # before: one without any is never given to another
            if self._claim(trial._trial_id):
                self.study.sampler = sampler(trial.number)
                return optuna.Trial(self.study, trial._trial_id)
        return None

    def _claim(self, trial: int) -> bool:
        """Whether this process is the one that takes a waiting trial.

        In one statement: optuna reads the state and then writes it, and SQLite lets two processes read before one writes.
        """
        taken = sqlalchemy.text("update trials set state = 'RUNNING', datetime_start = :now where trial_id = :id and state = 'WAITING'")
        taken = taken.bindparams(sqlalchemy.bindparam("now", datetime.now(), sqlalchemy.DateTime), id=trial)
        with self.storage.engine.begin() as connection:
            return bool(connection.execute(taken).rowcount)

    def _run(self, trial: optuna.Trial, run: Run) -> None:
        values: float | Sequence[float] | None = None
        try:
            with self._alive(trial._trial_id):
                values = run(trial)
            state = TrialState.COMPLETE
        except optuna.TrialPruned:
            state = TrialState.PRUNED
        except Spoilt as spoilt:
            trial.set_user_attr("why", str(spoilt))
            state = TrialState.FAIL
        except UpdateFinishedTrialError:  # this process was thought dead, and another has the trial
            return
        except BaseException:
            again(self.study, self.storage.get_trial(trial._trial_id))  # first: a kill between the two must not lose it
            self.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
            raise
        with suppress(UpdateFinishedTrialError):  # as above, since tell looked
            self.study.tell(trial, values, state=state, skip_if_finished=True)

    @contextmanager
    def _alive(self, trial: int) -> Iterator[None]:
        """Signs of life within the block."""
        stop = Event()

        def beat() -> None:
            while not stop.wait(HEARTBEAT):
                try:
                    self.storage.record_heartbeat(trial)
                except (sqlalchemy.exc.SQLAlchemyError, StorageInternalError):
                    continue  # the next one may reach it; if none does, the trial's own writes will say so

        thread = Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            self.storage.remove_session()
