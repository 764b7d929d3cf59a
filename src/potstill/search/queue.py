"""A queue of trials in a database, shared by every process that opens it.

Each process takes the next waiting trial. A trial whose process died is failed and replaced by a new one with the same settings.
All of it goes through Optuna's public interface.
"""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Any, Literal

import optuna
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from potstill.errors import PotstillError
from potstill.search.database import LOST, PAUSE, shown_url

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=ExperimentalWarning)

HEARTBEAT = 5  # seconds between two signs of life of a trial
GRACE = 45  # seconds without one after which its process counts as dead
SETUP = 30  # seconds that another process may take from one trial to the next while it fills a new queue
BOUND, READY = "bound to", "ready"  # attributes of a study
BEAT = "beat"  # attribute of a trial: the number of its signs of life
PLACE = "place"  # attribute of a trial: the how manieth it is of those that the queue was filled with
WHY = "why"  # attribute of a failed trial: the reason; one without is lost and gets a replacement
INSTEAD = "instead of"  # attribute of a trial: the numbers of those that it replaces, the last of them the one that was lost
WORKER = "worker"  # attribute of a trial: the name of what took it, where that has one
DIED = "worker died"  # attribute of a trial that was lost with its worker
KEPT = ("keys", "role", "last")  # attributes of a trial that its replacement has too
ANOTHER = "choose another --out, and with --storage another name (--set name=…)"  # a study is found by the recipe's name
Run = Callable[[optuna.Trial], float | Sequence[float]]


class TrialFailed(Exception):
    """A trial that cannot be scored: the queue goes on without it. Its text says why."""


class Queue:
    """Trials that wait, run, or are done, under one name in one database.

    A trial is lost where it failed without a reason: its process was interrupted, or died. Whichever process sees that adds a
    replacement. Two may do so at once: only the first replacement of a trial counts, and the others are never shown or run.

    Args:
        storage: the database.
        name: the name of the queue in it.
        bound: a digest of what the trials are about. A queue of the same name about something else is refused.
        waiting: (parameters, attributes) of each trial, for a queue that is new.
        directions: of each value of a trial.
        pruner: what says that a trial is to end early; None: no trial is.

    Attributes:
        joined: whether the queue was there already.
        study: the queue as Optuna has it.

    Raises:
        PotstillError: the queue is about something else.
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
        self._storage = storage
        self._beats: dict[int, tuple[int | None, float]] = {}  # number of a trial → its last sign of life, when it was first seen here
        pruner = pruner or optuna.pruners.NopPruner()
        try:
            self.study = optuna.create_study(storage=storage, study_name=name, directions=list(directions), pruner=pruner)
            self.joined = False
        except DuplicatedStudyError:
            self.study = optuna.load_study(storage=storage, study_name=name, pruner=pruner)
            self.joined = True
            self._wait_until_filled()
        found = self.study.user_attrs
        if found.get(BOUND, bound) != bound or (READY in found and BOUND not in found):
            place = shown_url(storage.url)
            raise PotstillError(place, f"holds the search {name!r} of another recipe or another space", f"go on with those, or {ANOTHER}")
        if READY not in found:
            self._fill(bound, waiting)

    def _wait_until_filled(self) -> None:
        """Wait until another process has filled a new queue; where it adds nothing for SETUP seconds, it was killed."""
        there, end = -1, 0.0
        while READY not in self.study.user_attrs:
            now = len(self.study.get_trials(deepcopy=False))
            if now != there:
                there, end = now, time.monotonic() + SETUP
            if time.monotonic() > end:
                return
            time.sleep(PAUSE)

    def _fill(self, bound: str, waiting: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> None:
        """Add the trials that are not there yet. Two processes may do so at once: only the first trial of a place counts."""
        self.study.set_user_attr(BOUND, bound)
        there = {trial.user_attrs.get(PLACE, trial.number) for trial in self.study.get_trials(deepcopy=False)}
        for number, (parameters, attributes) in enumerate(waiting):
            if number not in there:
                self.study.enqueue_trial(parameters, user_attrs=attributes | {PLACE: number})
        self.study.set_user_attr(READY, True)

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Read the trials.

        Args:
            *states: only those in one of these states; none: all.

        Returns:
            The trials by number, without a second replacement of a trial and without a second one of a place.
        """
        found, seen = [], set()
        for trial in self.study.get_trials(deepcopy=False):
            stands_for = (trial.user_attrs.get(PLACE), trial.user_attrs.get(INSTEAD, [None])[-1])
            if stands_for == (None, None) or stands_for not in seen:
                found.append(trial)
                seen.add(stands_for)
        return [trial for trial in found if not states or trial.state in states]

    def left(self) -> list[FrozenTrial]:
        """Read the trials that are not done: those that wait or run, and those that are lost and not replaced yet."""
        trials = self.trials()
        replaced = {number for trial in trials for number in trial.user_attrs.get(INSTEAD, [])}
        return [
            trial
            for trial in trials
            if not trial.state.is_finished()
            or (trial.state == TrialState.FAIL and WHY not in trial.user_attrs and trial.number not in replaced)
        ]

    def heartbeats(self) -> list[tuple[int, str, int | None]]:
        """Read what changes every few seconds while a process works here.

        Returns:
            (number, state, number of signs of life) of each trial.
        """
        return [(trial.number, trial.state.name, trial.user_attrs.get(BEAT)) for trial in self.trials()]

    @property
    def started(self) -> bool:
        """Whether any trial was taken yet."""
        return any(trial.state != TrialState.WAITING for trial in self.trials())

    def work(
        self,
        run: Run,
        sampler: Callable[[int], optuna.samplers.BaseSampler],
        look: Callable[[], None] = lambda: None,
        worker: str = "",
    ) -> None:
        """Run trials until all are done, here and in every other process.

        Whatever `run` raises beside TrialFailed and Optuna's TrialPruned loses its trial, so that it will be replaced, and comes
        through.

        Args:
            run: a trial → its value or values. TrialPruned and TrialFailed end the trial.
            sampler: the number of a trial → what draws its parameters.
            look: called after each trial, and again and again while those of others are waited for.
            worker: a name by which `put_back` finds the trial that this call was at.
        """
        while True:
            look()
            left = self.left()
            if not left:
                return
            for trial in left:
                self._mend(trial)
            taken = self._take(left, sampler)
            if taken is None:
                time.sleep(PAUSE)
            else:
                if worker:
                    taken.set_user_attr(WORKER, worker)
                self._run(taken, run)

    def put_back(self, worker: str, give_up: str = "") -> bool:
        """Lose the trial that a worker was at when it died, so that it is replaced without waiting for its signs of life to end.

        Args:
            worker: the name that `work` was given.
            give_up: why a trial fails for good whose worker has died before, in the trial that it replaces; "": it never does.

        Returns:
            Whether it was at one.
        """
        found = False
        study = self._storage.get_study_id_from_name(self.study.study_name)
        all_trials = self.study.get_trials(deepcopy=False)
        for trial in self.trials(TrialState.RUNNING):
            if trial.user_attrs.get(WORKER) != worker:
                continue
            found = True
            own = optuna.Trial(self.study, self._storage.get_trial_id_from_study_id_trial_number(study, trial.number))
            with suppress(UpdateFinishedTrialError):  # another process was faster
                own.set_user_attr(DIED, True)
                if give_up and any(DIED in all_trials[number].user_attrs for number in trial.user_attrs.get(INSTEAD, [])):
                    own.set_user_attr(WHY, give_up)
                self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        return found

    def _mend(self, trial: FrozenTrial) -> None:
        """Replace a trial that is lost; fail one whose process is dead, so that it is lost."""
        if trial.state == TrialState.FAIL:
            attributes = {key: trial.user_attrs[key] for key in KEPT if key in trial.user_attrs}
            attributes[INSTEAD] = [*trial.user_attrs.get(INSTEAD, []), trial.number]
            same = optuna.trial.create_trial(
                state=TrialState.WAITING,
                params=trial.params,
                distributions=trial.distributions,
                user_attrs=attributes,
                system_attrs=trial.system_attrs,  # in them are the parameters that it was enqueued with
            )
            self.study.add_trial(same)
        elif trial.state == TrialState.RUNNING and self._silent(trial):
            with suppress(UpdateFinishedTrialError):  # another process was faster
                self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)

    def _silent(self, trial: FrozenTrial) -> bool:
        """Whether a trial gave no sign of life for too long, by this process's clock: those of two machines may differ."""
        beat, now = trial.user_attrs.get(BEAT), time.monotonic()
        if trial.number not in self._beats or self._beats[trial.number][0] != beat:
            self._beats[trial.number] = (beat, now)
        return now - self._beats[trial.number][1] > GRACE

    def _take(self, left: Sequence[FrozenTrial], sampler: Callable[[int], optuna.samplers.BaseSampler]) -> optuna.Trial | None:
        """Take a trial that waits. Study.ask would take the last one too early, and make a new one where none waits."""
        study = self._storage.get_study_id_from_name(self.study.study_name)
        for trial in left:
            if trial.state != TrialState.WAITING or (trial.user_attrs.get("last") and len(left) > 1):
                continue
            number = self._storage.get_trial_id_from_study_id_trial_number(study, trial.number)
            with suppress(UpdateFinishedTrialError):  # another process took it and is through already
                if self._storage.set_trial_state_values(number, TrialState.RUNNING):
                    self.study.sampler = sampler(trial.number)
                    return optuna.Trial(self.study, number)
        return None

    def _run(self, trial: optuna.Trial, run: Run) -> None:
        values: float | Sequence[float] | None = None
        state = TrialState.FAIL
        try:
            with _alive(trial):
                values = run(trial)
            state = TrialState.COMPLETE
        except optuna.TrialPruned:
            state = TrialState.PRUNED
        except TrialFailed as failed:
            with suppress(UpdateFinishedTrialError):
                trial.set_user_attr(WHY, str(failed))
        except UpdateFinishedTrialError:
            pass  # this process was thought dead, and another has the trial's replacement
        finally:
            with suppress(UpdateFinishedTrialError):  # as above, since tell looked
                self.study.tell(trial, values, state=state, skip_if_finished=True)


def first_number(trial: FrozenTrial) -> int:
    """The number that a trial would have if none had been lost: of two that score the same, a kill must not decide which is chosen."""
    return int(trial.user_attrs.get(INSTEAD, [trial.number])[0])


@contextmanager
def _alive(trial: optuna.Trial) -> Iterator[None]:
    """Give signs of life of a trial within the block."""
    stop = Event()

    def beat() -> None:
        for count in itertools.count(1):
            if stop.wait(HEARTBEAT):
                return
            try:
                trial.set_user_attr(BEAT, count)
            except UpdateFinishedTrialError:
                return
            except LOST:
                continue  # the next one may reach it; if none does, the trial's own writes will say so

    trial.set_user_attr(BEAT, 0)
    thread = Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
